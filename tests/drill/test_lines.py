"""The judge of the witnesses' lines: whatever may happen to a line is seen, and nothing else."""

import pytest

from supervisor.drill.lines import Lines, judged, of_folder
from supervisor.drill.witness import COUNT, line


def said(*places):
    return [line("web.0", run, number, 20) for run, number in places]


GOOD = said((1, 1), (1, 2), (1, 3), (3, 1), (3, 2))
COUNTS = {1: 3, 3: 2}


def without(number):
    return GOOD[:number] + GOOD[number + 1 :]


@pytest.mark.parametrize(
    ("lines", "found"),
    [
        (GOOD, Lines(5)),
        (without(0), Lines(4, lost=1)),
        (without(1), Lines(4, lost=1)),
        (without(2), Lines(4, lost=1)),
        (GOOD[:3], Lines(3, lost=2)),
        ([], Lines(0, lost=5)),
        ([*GOOD, GOOD[4]], Lines(5, doubled=1)),
        ([*GOOD, GOOD[0]], Lines(5, doubled=1)),
        ([GOOD[0], GOOD[0], *GOOD[1:]], Lines(5, doubled=1)),
        ([*GOOD, GOOD[0][:20] + b"\n"], Lines(5, torn=1)),
        ([*GOOD, GOOD[0].replace(b"x", b"y", 1)], Lines(5, torn=1)),
        ([*GOOD[:4], GOOD[4].rstrip()], Lines(4, lost=1, torn=1)),
        ([GOOD[0].rstrip() + GOOD[1], *GOOD[2:]], Lines(3, lost=2, torn=1)),
        ([GOOD[1], GOOD[0], *GOOD[2:]], Lines(4, lost=1, doubled=1)),
        ([*GOOD, b"\n"], Lines(5, torn=1)),
        ([*GOOD, *said((3, 3))], Lines(6)),  # killed before it could count that one
        ([*GOOD, line("web.1", 3, 3, 20)], Lines(5, torn=1)),  # in somebody else's file
    ],
)
def test_what_happened_to_a_line_is_seen(lines, found):
    assert judged("web.0", lines, COUNTS) == found


def test_rotated_files_are_read_from_the_oldest_on(tmp_path):
    logs = tmp_path / "log" / "web"
    logs.mkdir(parents=True)
    (logs / "0.000001.log").write_bytes(b"".join(GOOD[:2]))
    (logs / "0.000002.log").write_bytes(b"".join(GOOD[2:4]))
    (logs / "0.log").write_bytes(GOOD[4])
    (logs / "1.log").write_bytes(b"of another replica\n")
    counts = [0, 3, 0, 2]
    (tmp_path / "counts.web.0").write_bytes(b"".join(map(COUNT.pack, counts)))
    assert of_folder(str(tmp_path), str(tmp_path / "log")) == Lines(5)

"""What services print that could harm those who read along, or those who print as well."""

import contextlib
import os
import pty
import signal
import time

import pytest

from supervisor.core.spec import Log, LogFormat
from supervisor.logs.follow import Choice, show
from supervisor.logs.tail import Tail
from supervisor.unix import process
from tests.logs.house import LIMIT, content, memory, numbered, print_some


@pytest.fixture
def written(house):
    house.start_writer()
    return house


def printing(house, name, text, log):
    """Fork a service that prints text without a pause; return its pid."""
    fd = house.relay.open(name, 1, log)

    def main():
        while True:
            os.write(fd, text)

    return process.fork("printer", main, (fd,))


def round_trips(house, fd, count=60):
    """Return how long it takes from a service's write to the file, each time, in order."""
    took = []
    with contextlib.closing(Tail(str(house.log_dir / "web/0.log"))) as tail:
        for number in range(count):
            began = time.monotonic()
            os.write(fd, b"beat %d\n" % number)
            while not tail.lines():
                assert time.monotonic() - began < LIMIT
                house.poller.wait(0.0005)
            took.append(time.monotonic() - began)
    return sorted(took)


NOISE = {
    "lines": b"y" * 99 + b"\n",
    "junk": bytes(range(256)) * 250,
    "no newline": b"x" * 65_536,
}


@pytest.mark.parametrize("noise", NOISE)
def test_f56_f60_f63_noise_at_full_speed_neither_delays_nor_tears_a_neighbours_lines(
    written, noise
):
    text = NOISE[noise] * max(65_536 // len(NOISE[noise]), 1)
    pids = [
        printing(written, f"noise/{number}", text, Log(max_size=2_000_000, max_files=2))
        for number in range(2)
    ]
    before = memory(written.pid)
    fd = written.relay.open("web/0", 1, Log())
    try:
        written.until(lambda: len(written.paths("noise/1")) == 2)
        took = round_trips(written, fd)
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
    written.end("web/0")
    assert written.lines("web/0") == [b"beat %d" % number for number in range(60)]
    assert took[len(took) // 2] < 0.1
    assert memory(written.pid) - before < 16 << 20


@pytest.mark.soak
def test_f56_a_line_of_200_mb_is_written_in_pieces_and_costs_no_memory(written):
    before = memory(written.pid)
    fd = written.relay.open("web/0", 1, Log(max_size=50_000_000, max_files=99))
    for _ in range(200):
        written.write(fd, b"x" * 1_000_000)
    written.end("web/0")
    assert sum(content(path).count(b"x") for path in written.paths("web/0")) == 200_000_000
    assert memory(written.pid) - before < 16 << 20


def test_f59_escapes_are_in_the_file_as_they_came_and_on_a_terminal_they_steer_nothing(written):
    evil = b"\x1b[2J\x1b]0;gotcha\x07\x9b31m\rroot# "
    for number, form in enumerate(LogFormat):
        written.print(f"web/{number}", evil + b"\n", log=Log(format=form))
    assert evil + b"\n" == written.text("web/2")
    ours, theirs = pty.openpty()
    paths = {f"web/{n}": str(written.log_dir / f"web/{n}.log") for n in range(3)}
    show(paths, Choice(), theirs, False, print)
    shown = os.read(ours, 65_536)
    for fd in (ours, theirs):
        os.close(fd)
    assert shown.count(b"gotcha") == 3
    assert not {b"\x1b", b"\x07", b"\x9b"} & {shown[at : at + 1] for at in range(len(shown))}
    assert shown.count(b"\r") == shown.count(b"\r\n")


def test_s15_a_service_that_owns_its_log_directory_cannot_have_a_rotation_write_elsewhere(
    written, tmp_path
):
    other = tmp_path / "elsewhere"
    other.mkdir()
    fd = written.relay.open("web/0", 1, Log(max_size=1000, max_files=99))
    print_some(written, fd, 0, 200)
    written.until(lambda: written.text("web/0").endswith(numbered(199, 200)))
    assert len(written.paths("web/0")) > 2
    (written.log_dir / "web").rename(tmp_path / "old")
    (written.log_dir / "web").symlink_to(other)
    print_some(written, fd, 200, 400)
    written.until(lambda: written.troubles)
    assert os.listdir(other) == []
    (written.log_dir / "web").unlink()
    (tmp_path / "old").rename(written.log_dir / "web")
    written.end("web/0")
    assert written.lines("web/0") == numbered(0, 400).split(b"\n")[:-1]

"""What bytes become lines, and where files end: tables, and any way of cutting the same words."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.logs.formats import CONTINUES, UNFINISHED, Batch, Place, Rules, render, stamp
from tests.logs.house import STAMP, numbered

NOW = 1_795_356_763_123_456
STAMPED = b"2026-11-22T14:12:43.123456Z "


def written(chunks, rules, place=None):
    """Return the files that the chunks become, and the place at the end."""
    place = place or Place()
    files = [b""]
    for chunk in chunks:
        pieces, place = render(chunk, Batch(place, rules, NOW))
        files[-1] += b"".join(map(bytes, pieces[0]))
        files += [b"".join(map(bytes, piece)) for piece in pieces[1:]]
    return files, place


def test_a_stamp_is_rfc_3339_utc_with_microseconds():
    assert stamp(NOW) + b" " == STAMPED
    assert stamp(0) == b"1970-01-01T00:00:00.000000Z"


@pytest.mark.parametrize(
    ("data", "column", "text", "at"),
    [
        (b"a\n", 0, b"%sa\n", 0),
        (b"a\nb", 0, b"%sa\n%sb", 1),
        (b"c\n", 1, b"c\n", 0),
        (b"cd", 1, b"cd", 3),
        (b"\n", 0, b"%s\n", 0),
        (b"\n\n", 1, b"\n%s\n", 0),
    ],
)
def test_each_line_begins_with_a_stamp_once(data, column, text, at):
    files, place = written([data], Rules(), Place(column=column))
    assert files == [text.replace(b"%s", STAMPED)]
    assert place.column == at


@pytest.mark.parametrize(
    ("chunks", "lines"),
    [
        ([b"12345\n"], [b"12345\n"]),
        ([b"123456\n"], [b"12345" + CONTINUES, b"6\n"]),
        ([b"12345", b"\n"], [b"12345\n"]),
        ([b"12345", b"6\n"], [b"12345" + CONTINUES, b"6\n"]),
        (
            [b"a\n1234567890ab\nb\n"],
            [b"a\n", b"12345" + CONTINUES, b"67890" + CONTINUES, b"ab\nb\n"],
        ),
    ],
)
def test_f56_a_line_longer_than_max_line_is_written_in_pieces(chunks, lines):
    files, _ = written(chunks, Rules(format="raw", max_line=5))
    assert files == [b"".join(lines)]


def test_f57_an_open_line_is_ended_with_a_mark():
    pieces, place = render(b"", Batch(Place(size=3, column=3), Rules(), NOW, closing=True))
    assert pieces == [(UNFINISHED,)]
    assert place == Place(size=3 + len(UNFINISHED))


@pytest.mark.parametrize(
    ("place", "data", "files"),
    [
        (Place(), b"aaa\nbbb\nccc\n", [b"aaa\nbbb\n", b"ccc\n"]),
        (Place(size=8), b"aaa\n", [b"", b"aaa\n"]),
        (Place(size=6), b"aaa\n", [b"aaa\n"]),
        (Place(size=6, column=2), b"aaaaaa\nbb\n", [b"aaaaaa\n", b"bb\n"]),
        (Place(), b"aaaaaaaaaaaaaaa\nbb\n", [b"aaaaaaaaaaaaaaa\n", b"bb\n"]),
        (Place(size=4), b"aaaaaaaaaaaaaaa\nbb", [b"", b"aaaaaaaaaaaaaaa\n", b"bb"]),
    ],
)
def test_f54_files_end_with_a_line_and_at_their_size(place, data, files):
    assert written([data], Rules(format="raw", max_size=10), place)[0] == files


@given(
    lines=st.lists(st.binary(max_size=40).map(lambda line: line.replace(b"\n", b".")), max_size=40),
    cuts=st.lists(st.integers(0, 2000), max_size=12),
    max_size=st.integers(1, 600),
    max_line=st.integers(1, 50),
)
def test_f54_however_words_are_cut_into_batches_the_lines_are_the_same(
    lines, cuts, max_size, max_line
):
    words = b"".join(line + b"\n" for line in lines)
    cuts = [0, *sorted(min(cut, len(words)) for cut in cuts), len(words)]
    chunks = [words[a:b] for a, b in itertools.pairwise(cuts) if a < b]
    files, place = written(chunks, Rules(max_size=max_size, max_line=max_line))
    assert place.index == len(files)
    assert place.size == len(files[-1])
    assert all(file.endswith(b"\n") for file in files if file)
    for file in files:
        assert file.rfind(b"\n", 0, -1) < max_size, "a line was begun beyond the size"
    text = b"".join(files)
    bare = b"".join(STAMP.sub(b"", line, count=1) for line in text.splitlines(keepends=True))
    assert bare.replace(CONTINUES, b"") == words or CONTINUES in words


def test_a_batch_always_becomes_the_same_pieces():
    batch = Batch(Place(3, 500, 7), Rules(max_size=1000, max_line=15), NOW)
    data = numbered(0, 200)
    assert render(data, batch) == render(data, batch)

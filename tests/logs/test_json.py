"""Lines as JSON objects: valid, whole, with nothing made up and nothing left out."""

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.core.spec import Log, LogFormat
from supervisor.logs.formats import Batch, Place, Rules, render
from supervisor.logs.paint import stamp_of, text_of
from tests.logs.house import numbered

NOW = 1_795_356_763_123_456
TIME = "2026-11-22T14:12:43.123456Z"
JSON = Log(format=LogFormat.JSON)


def written(chunks, *, closed=True, **rules):
    """Return the files that the chunks become, the run ended behind them."""
    place, files = Place(), [b""]
    rules = Rules(format="json", **rules)
    batches = [(chunk, False) for chunk in chunks]
    for chunk, closing in (*batches, (b"", True)) if closed else batches:
        if closing and not place.column:
            break
        pieces, place = render(chunk, Batch(place, rules, NOW, closing, ("web/0", 3)))
        files[-1] += b"".join(map(bytes, pieces[0]))
        files += [b"".join(map(bytes, piece)) for piece in pieces[1:]]
        assert (place.index, place.size) == (len(files), len(files[-1]))
    return files


def objects(files):
    """Return the objects in the files, each of which must end with a whole one."""
    assert all(file.endswith(b"\n") for file in files if file)
    return [json.loads(line) for file in files for line in file.splitlines()]


def texts(lines):
    """Return the lines as they were before they were cut into pieces."""
    whole = [""]
    for line in lines:
        whole[-1] += line["text"]
        if "continues" not in line:
            whole.append("")
    return whole[:-1]


def test_each_line_is_an_object_with_time_service_replica_run_and_text():
    (line,) = objects(written([b'say "hi"\\\t\x1b[1m\0\r\n']))
    assert line == {
        "time": TIME,
        "service": "web",
        "replica": 0,
        "run": 3,
        "text": 'say "hi"\\\t\x1b[1m\0\r',
    }


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ("grün 😀".encode(), "grün 😀"),
        (b"a\xff\xfeb", "a\\xff\\xfeb"),
        (b"\xe2\x82", "\\xe2\\x82"),
        (b"\xed\xa0\x80", "\\xed\\xa0\\x80"),
        (b"\x7f\xc2\x9b", "\x7f\x9b"),
    ],
)
def test_f58_what_is_no_utf_8_stands_as_escapes_however_it_was_cut(data, text):
    for cut in range(1, len(data)):
        assert texts(objects(written([data[:cut], data[cut:] + b"\n"]))) == [text]


def test_f56_a_long_line_is_cut_between_characters_and_marked():
    lines = objects(written(["€€€€\nx\n".encode()], max_line=4))
    assert [line["text"] for line in lines] == ["€", "€", "€€", "x"]
    assert ["continues" in line for line in lines] == [True, True, False, False]


def test_f57_the_last_line_of_a_run_is_an_object_too():
    (line,) = objects(written([b"end\xe2"]))
    assert (line["text"], line["unfinished"]) == ("end\\xe2", True)


@given(
    lines=st.lists(st.binary(max_size=40).map(lambda line: line.replace(b"\n", b".")), max_size=30),
    cuts=st.lists(st.integers(0, 2000), max_size=12),
    max_size=st.integers(1, 900),
    max_line=st.integers(4, 50),
)
def test_however_words_are_cut_into_batches_the_objects_are_the_same(
    lines, cuts, max_size, max_line
):
    words = b"".join(line + b"\n" for line in lines)
    cuts = [0, *sorted(min(cut, len(words)) for cut in cuts), len(words)]
    chunks = [words[a:b] for a, b in itertools.pairwise(cuts) if a < b]
    found = objects(written(chunks, max_size=max_size, max_line=max_line))
    if all(len(line) <= max_line for line in lines):
        assert texts(found) == [line.decode("utf-8", "backslashreplace") for line in lines]
    assert objects(written(chunks, max_line=max_line)) == found


def test_a_batch_always_becomes_the_same_objects():
    rules = Rules(format="json", max_size=1000, max_line=15)
    batch = Batch(Place(3, 500, 7, json=True, rest=b"\xe2"), rules, NOW, source=("web/0", 1))
    assert render(numbered(0, 200), batch) == render(numbered(0, 200), batch)


def test_the_real_writer_writes_them_and_ends_what_a_dead_one_left_open(house):
    house.start_writer()
    fd = house.relay.open("web/0", 1, JSON)
    house.write(fd, b"one\nh\xc3")
    house.until(lambda: house.text("web/0").endswith(b'"h'))
    house.kill_writer()
    house.start_writer()
    house.write(fd, b"\xa4lf")
    house.until(lambda: house.text("web/0").endswith("hälf".encode()))
    house.kill_writer()
    house.relay.end("web/0", 1)
    house.start_writer()
    house.end("web/0")
    house.print("web/0", b"text\n", run=2)
    *lines, last = house.text("web/0").splitlines()
    assert [json.loads(line)["text"] for line in lines] == ["one", "hälf"]
    assert text_of(last) == b"text"


def test_a_format_that_is_changed_in_the_middle_of_a_line_makes_two_pieces_of_it():
    place, text = Place(), b""
    for form, chunk in (("text", b"on"), ("json", b"e t\xc3"), ("raw", b"wo"), ("json", b"\n")):
        pieces, place = render(chunk, Batch(place, Rules(format=form), NOW, source=("web/0", 3)))
        text += b"".join(map(bytes, pieces[0]))
    head = f'{{"time":"{TIME}","service":"web","replica":0,"run":3,"text":"'
    assert text.decode().splitlines() == [
        f"{TIME} on [keepd: line continues]",
        head + r'e t\\xc3","continues":true}',
        "wo [keepd: line continues]",
        head + '"}',
    ]


def test_a_format_that_is_changed_while_a_run_goes_on_holds_from_then_on(house):
    house.start_writer()
    fd = house.relay.open("web/0", 1, Log())
    house.write(fd, b"one\n")
    house.until(lambda: house.text("web/0").endswith(b"one\n"))
    house.relay.change("web/0", JSON)

    def is_object():
        house.write(fd, b"two\n")
        house.hear(0.01)
        return house.text("web/0").endswith(b'"two"}\n')

    house.until(is_object)
    house.end("web/0")
    assert {text_of(line) for line in house.text("web/0").splitlines()} == {b"one", b"two"}


def test_readers_find_time_and_text_in_every_format():
    (line,) = written([b"hello \xff\n"])[0].splitlines()
    assert (stamp_of(line), text_of(line)) == (TIME.encode(), b"hello \\xff")
    line = TIME.encode() + b' {"a": 1}'
    assert (stamp_of(line), text_of(line)) == (TIME.encode(), b'{"a": 1}')
    for odd in (b"", b"plain", b'{"time":"x"}', b'{"time":"\xff', b"2026"):
        assert (stamp_of(odd), text_of(odd)) == (b"", odd)

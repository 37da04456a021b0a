"""A service that says too much in a second: each line is in its log, or counted there exactly."""

import collections
import json
import random
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.core.spec import Log, LogFormat
from supervisor.logs.formats import Batch, Loss, Place, Rules, render
from supervisor.logs.paint import stamp_of, text_of
from tests.logs.house import numbered, pieces

SUPPRESSED = re.compile(rb"\[keepd: suppressed ([\d,]+) lines\]")
NOW = 1_795_356_763_000_000


def accounted(texts, printed):
    """Return how many were suppressed; each line printed is there, in order, or counted."""
    at = suppressed = 0
    for text in texts:
        if told := SUPPRESSED.fullmatch(text):
            count = int(told[1].replace(b",", b""))
            suppressed += count
            at += count
        else:
            assert text == printed[at], at
            at += 1
    assert at == len(printed)
    return suppressed


@given(
    lines=st.lists(st.sampled_from((b"", b"a", b"bb", b"cccc")), max_size=30),
    cuts=st.lists(st.integers(0, 90)),
    pauses=st.lists(st.sampled_from((0, 0, 0, 400_000, 2_000_000, -1_500_000)), min_size=99),
    form=st.sampled_from(("text", "json", "raw")),
    rate=st.integers(1, 4),
)
def test_no_second_has_more_lines_than_the_rate_and_the_others_are_counted(
    lines, cuts, pauses, form, rate
):
    rules, place, now, text = Rules(form, rate=rate), Place(), NOW, b""
    begun = collections.Counter()
    words = b"".join(line + b"\n" for line in lines)
    for data, pause in zip([*pieces(words, cuts), b""], pauses, strict=False):
        now += pause
        batch = Batch(place, rules, now, not data, ("web/0", 1))
        was_open = place.column > 0
        files, place = render(data, batch)
        new = b"".join(bytes(part) for piece in files for part in piece)
        shown = [line for line in new.splitlines(keepends=True) if not SUPPRESSED.search(line)]
        begun[now // 1_000_000] += max(len(shown) - was_open, 0)
        text += new
    assert place.quota.muted == 0
    written = text.split(b"\n")[:-1]
    accounted(written if form == "raw" else map(text_of, written), lines)
    assert min(pauses) < 0 or max(begun.values()) <= rate  # a clock may come back to a second
    if form == "json":
        assert all("text" in json.loads(line) for line in written)


def test_the_rest_of_a_suppressed_line_is_suppressed_and_the_rest_of_a_written_one_is_not():
    rules, place, text = Rules("raw", rate=1), Place(), b""
    for data, second in ((b"on", 0), (b"e\ntw", 0), (b"o", 2), (b"\nthree\n", 2), (b"four\n", 3)):
        files, place = render(data, Batch(place, rules, NOW + second * 1_000_000))
        text += b"".join(bytes(part) for piece in files for part in piece)
    assert text == b"one\n[keepd: suppressed 1 lines]\nthree\nfour\n"


def test_what_is_suppressed_is_told_though_nothing_more_is_printed(house):
    house.start_writer()
    fd = house.relay.open("web/0", 1, Log(rate=50))
    house.write(fd, numbered(0, 1000))
    house.until(lambda: SUPPRESSED.search(house.text("web/0")) if house.paths("web/0") else None)
    house.hear(0.02)
    assert house.is_open("web/0", 1)
    house.until(lambda: accounted_so_far(house) == 1000)
    house.end("web/0")


def accounted_so_far(house):
    lines = house.lines("web/0")
    told = [int(found[1].replace(b",", b"")) for found in map(SUPPRESSED.fullmatch, lines) if found]
    return len(lines) - len(told) + sum(told)


@pytest.mark.parametrize("form", [LogFormat.TEXT, LogFormat.JSON])
def test_the_count_is_exact_whoever_is_killed_meanwhile(house, form):
    dice = random.Random(3)
    log = Log(rate=700, format=form, max_size=20_000, max_files=999)
    house.start_writer()
    fd = house.relay.open("web/0", 1, log)
    for first in range(0, 40_000, 1000):
        text = numbered(first, first + 1000)
        while text:
            size = dice.choice((100, 3000, 30000))
            house.write(fd, text[:size])
            text = text[size:]
            house.hear(dice.choice((0, 0, 0.005)))
        house.kill_writer()
        house.start_writer()
    house.end("web/0")
    lines = house.text("web/0").split(b"\n")[:-1]
    assert all(map(stamp_of, lines))
    printed = numbered(0, 40_000).split(b"\n")[:-1]
    assert accounted(map(text_of, lines), printed) > 20_000


@pytest.mark.parametrize("form", ["text", "json", "raw"])
@pytest.mark.parametrize("more", [b"and ended\n", b""])
@pytest.mark.parametrize("loss", [Loss(), Loss(3, 30)])
def test_a_line_that_is_open_while_records_are_suppressed_is_ended_once_and_marked(
    form, more, loss
):
    rules, place, text = Rules(form, rate=2), Place(), b""
    for data, now, records in (
        (b"a\nbegun", NOW, False),
        (b'{"message":"x"}\n' * 4, NOW + 1, True),
        (more, NOW + 1_000_000, False),
    ):
        lost = loss if not data or data == more else Loss()
        batch = Batch(place, rules, now, not data, ("web/0", 1), lost, records)
        files, place = render(data, batch)
        text += b"".join(bytes(part) for piece in files for part in piece)
    lines = text.split(b"\n")[:-1]
    texts = lines if form == "raw" else [text_of(line) for line in lines]
    assert all(json.loads(line) for line in lines if form == "json")
    assert all(stamp_of(line) for line in lines if form != "raw")
    dropped = b"begun" if form == "json" else b"begun [keepd: 3 lines (30 bytes) dropped]"
    assert texts[1] == (dropped if loss.lines else b"begun [keepd: line continues]")
    assert [text for text in texts if SUPPRESSED.fullmatch(text)] == [
        b"[keepd: suppressed 4 lines]"
    ]
    assert texts[-1:] == [more[:-1]] if more else True

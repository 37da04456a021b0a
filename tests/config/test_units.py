"""Durations and sizes have units, and are read as they are written."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.config import units


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        *(("200ms", 0.2), ("30s", 30), ("1m", 60), ("1h30m", 5400), ("2d", 172_800)),
        *(("0s", 0), ("1.5s", 1.5), ("1m500ms", 60.5), ("1d1h1m1s1ms", 90_061.001)),
    ],
)
def test_a_duration_has_units(text, seconds):
    assert units.seconds(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text", ["", "30", "s", "30 s", "-1s", "1s1m", "1m1m", "1e3s", "٣s", "1s\n"]
)
def test_what_is_no_duration(text):
    assert units.seconds(text) is None


@pytest.mark.parametrize(
    ("text", "count"),
    [("64KiB", 65_536), ("50MB", 50_000_000), ("0B", 0), ("1.5GB", 1_500_000_000), ("1TiB", 2**40)],
)
def test_a_size_has_a_unit(text, count):
    assert units.size(text) == count


@pytest.mark.parametrize("text", ["", "50", "MB", "50mb", "50 MB", "-1B", "1KB1B", "1kib"])
def test_what_is_no_size(text):
    assert units.size(text) is None


@pytest.mark.parametrize(
    ("text", "likely"),
    [
        *(("30", "30s"), ("1.5", "1.5s"), ("5 sec", "5s"), ("2 hours", "2h"), ("10 S", "10s")),
        *(("3 days", "3d"), ("200 MS", "200ms"), ("1 minute", None), ("soon", None)),
    ],
)
def test_a_likely_duration_is_found(text, likely):
    assert units.like_duration(text) == likely


@pytest.mark.parametrize(
    ("text", "likely"),
    [
        *(("65536", "64KiB"), ("50000000", "50MB"), ("50", "50MB"), ("50mb", "50MB")),
        *(("50 MB", "50MB"), ("64k", "64KB"), ("64kib", "64KiB"), ("many", None), ("٣", None)),
    ],
)
def test_a_likely_size_is_found(text, likely):
    assert units.like_size(text) == likely


@given(st.integers(0, int(units.LONGEST * 1000)))
def test_a_duration_is_read_as_it_is_written(millis):
    written = units.written_duration(millis / 1000)
    assert units.seconds(written) == pytest.approx(millis / 1000)
    assert re.search(units.DURATION, written)


@given(st.integers(0, units.LARGEST))
def test_a_size_is_read_as_it_is_written(count):
    written = units.written_size(count)
    if len(written.rstrip("BKMGTi")) <= 15:
        assert units.size(written) == count


@given(st.text())
def test_no_text_is_too_strange_for_units(text):
    for read in (units.seconds, units.size):
        value = read(text)
        assert value is None or value >= 0
    likely = units.like_duration(text)
    assert likely is None or units.seconds(likely) is not None
    likely = units.like_size(text)
    assert likely is None or units.size(likely) is not None

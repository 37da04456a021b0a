"""The writer is killed, in its code and at random: every line once, whole and in order."""

import contextlib
import os
import random
import resource
import signal
import sys

import pytest

from supervisor.core.spec import Log, LogFormat, OnFull
from supervisor.logs.paint import stamp_of, text_of
from supervisor.records import replace
from tests.logs.fire import Load, under_fire
from tests.logs.house import House, numbered
from tests.logs.test_trouble import accounted

UNFINISHED = b" [keepd: no newline at the end]"
CONTINUES = b" [keepd: line continues]"
RECORD = b'{"level":"ERROR","message":"x"}\n'
ROOMS = ("supervisor/logs/", "supervisor/ipc/relay")
# What changes nothing: any death in it is like one before it.
PURE = tuple(f"supervisor/logs/{name}" for name in ("formats", "structured", "rate", "objects"))
LINES = 24


def dying(steps, main):
    """Return main, but SIGKILLed by itself before line number `steps` of the log path's code."""

    def trace(frame, event, _):
        nonlocal steps
        name = frame.f_code.co_filename
        if any(room in name for room in PURE) or not any(room in name for room in ROOMS):
            return None
        if event == "line":
            steps -= 1
            if steps == 0:
                os.kill(os.getpid(), signal.SIGKILL)
        return trace

    def traced():
        sys.settrace(trace)
        return main()

    return traced


class Seen:
    """What readers who keep the files open, like `tail -f`, have seen so far."""

    def __init__(self, paths):
        self._files = []
        for path in paths:
            with contextlib.suppress(FileNotFoundError):  # compressed meanwhile
                file = path.open("rb")
                self._files.append((file, file.read()))
                file.seek(0)

    def must_still_hold(self):
        for file, text in self._files:
            with file:
                assert file.read().startswith(text), "something was taken back"


def story(house, log):
    """Two runs of one replica, each in the FIFO with an unfinished last line."""
    for run, first in ((1, 0), (2, LINES)):
        text = numbered(first, first + LINES) + b"end"
        house.write(house.relay.open("web/0", run, log), text)
        if log.records:
            wire = os.open(house.relay.records("web/0", run, None), os.O_RDWR)
            house.write(wire, RECORD * LINES + RECORD[:11])
            os.close(wire)
        house.relay.end("web/0", run)


def expected(log):
    lines = numbered(0, 2 * LINES).split(b"\n")[:-1]
    ends = [b"end" + UNFINISHED]
    if log.records:  # they come behind what was printed before the writer was there
        ends = [b"end" + CONTINUES, *[b"ERROR: x"] * LINES, b'{"level":"E' + UNFINISHED]
    return [*lines[:LINES], *ends, *lines[LINES:], *ends]


def texts(house):
    lines = house.text("web/0").split(b"\n")
    assert lines.pop() == b""
    assert all(stamp_of(line) for line in lines)
    return [text_of(line) for line in lines]


def dies_at(root, steps, log):
    """Tell whether the writer died at that step; what is in the files then is right anyhow."""
    house = House(root)
    try:
        story(house, log)
        house.start_writer(lambda main: dying(steps, main))
        house.until(lambda: not house.alive() or not house.is_open("web/0", 2))
        died = not house.alive()
        seen = Seen(house.paths("web/0"))
        if died:
            house.reap()
            house.start_writer()
        house.until(lambda: not house.is_open("web/0", 2))
        seen.must_still_hold()
        found = house.lines("web/0") if log.format is LogFormat.TEXT else texts(house)
        whole = expected(log)
        assert found == (whole if log.max_files > 1 else whole[-len(found) :]), f"step {steps}"
        return died
    finally:
        house.close()


def die_everywhere(tmp_path, log, first, stride):
    steps = first
    while True:
        root = tmp_path / str(steps)
        root.mkdir()
        if not dies_at(root, steps, log):
            break
        steps += stride
    assert steps > 200


MANY_FILES = Log(max_size=700, max_files=99)
MILLION = Log(max_size=1_000_000, max_files=99)
JSON = Log(max_size=2500, max_files=99, format=LogFormat.JSON)
PACKED = Log(max_size=700, max_files=99, compress=True)
ONE_FILE = Log(max_size=700, max_files=1)
RECORDS = Log(max_size=700, max_files=99, records=True)
ALL = [MANY_FILES, ONE_FILE, JSON, PACKED, RECORDS]


@pytest.mark.parametrize("log", ALL)
def test_a_writer_that_dies_in_its_code_loses_doubles_and_tears_nothing(tmp_path, log):
    die_everywhere(tmp_path, log, first=3, stride=41)


@pytest.mark.soak
@pytest.mark.parametrize("log", ALL)
def test_a_writer_that_dies_at_any_line_of_its_code_does_no_harm(tmp_path, log):
    die_everywhere(tmp_path, log, first=1, stride=1)


@pytest.mark.parametrize("packed", [False, True])
def test_a_writer_killed_again_and_again_writes_every_line_once_whole_and_in_order(house, packed):
    log = Log(max_size=100_000, max_files=99, compress=packed)
    load = Load(services=10, lines=10_000, log=log)
    assert under_fire(house, load, lambda dice: dice.uniform(0, 0.01)) >= 40
    for name in load.names:
        assert house.lines(name) == numbered(0, load.lines).split(b"\n")[:-1]
        assert all(path.stat().st_size < 100_100 for path in house.paths(name))
        assert len(house.paths(name)) > 3


@pytest.mark.soak
@pytest.mark.parametrize("packed", [False, True])
def test_a_million_lines_of_fifty_services_survive_a_writer_killed_100_ms_after_it_is_back(
    house, packed
):
    log = replace(MILLION, compress=packed)
    load = Load(services=50, lines=20_000, log=log, bursts=40, width=150, limit=600)
    assert under_fire(house, load, lambda _: 0.1) >= 50
    for name in load.names:
        assert house.lines(name) == numbered(0, load.lines, load.width).split(b"\n")[:-1]
        assert all(path.stat().st_size < 1_000_300 for path in house.paths(name))
        assert len(house.paths(name)) > 1


@pytest.mark.soak
def test_a_million_lines_are_there_or_counted_when_writers_that_find_no_room_are_killed(house):
    log = Log(max_size=100_000, max_files=9999, on_full=OnFull.DROP, format=LogFormat.RAW)
    load = Load(services=20, lines=50_000, log=log, bursts=20, limit=600)
    dice = random.Random(6)

    def short_of_room(main):
        most = dice.choice((30_000, 70_000, 1 << 30))
        return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (most, 1 << 30)) or main()

    assert under_fire(house, load, lambda dice: dice.uniform(0, 0.1), short_of_room) >= 50
    lost = sum(accounted(house.text(name), numbered(0, load.lines)) for name in load.names)
    assert 1000 < lost < 900_000

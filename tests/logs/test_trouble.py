"""What others do to the log directory, and a disk that is full for a while: nothing is lost."""

import contextlib
import ctypes
import errno
import json
import os
import random
import re
import resource
import shutil
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.core.spec import Log, LogFormat, OnFull
from supervisor.logs.formats import Batch, Loss, Place, Rules, render
from tests.logs.house import House, memory, numbered, print_some, short_of_descriptors

RAW = Log(format=LogFormat.RAW)
CLONE_NEWNS, MS_REC_PRIVATE = 0x00020000, 0x4000 | 1 << 18


@pytest.fixture
def written(house):
    house.start_writer()
    return house


def said(house, name):
    return house.text(name) if house.paths(name) else b""


@pytest.mark.parametrize("what", ["web", "."])
def test_what_is_printed_after_the_log_directory_was_deleted_is_in_the_one_made_anew(written, what):
    fd, other = (written.relay.open(f"web/{number}", 1, RAW) for number in (0, 1))
    print_some(written, fd, 0, 3000)
    os.write(other, b"before\n")
    written.until(lambda: said(written, "web/1") == b"before\n")
    shutil.rmtree(written.log_dir / what)
    print_some(written, fd, 3000, 9000)
    os.write(other, b"after\n")
    written.end("web/0")
    written.end("web/1")
    text = written.text("web/0")
    assert text.endswith(numbered(3000, 9000))
    assert numbered(0, 9000).endswith(text)
    assert written.text("web/1") == b"after\n"
    written.relay.say("of keepd")
    assert written.finish() == 0
    assert written.lines("keepd")[-1:] == [b"of keepd"]


def test_a_log_that_is_deleted_again_and_again_has_all_that_was_printed_since(written):
    fd = written.relay.open("web/0", 1, RAW)
    for first in range(0, 20_000, 1000):
        print_some(written, fd, first, first + 900)
        written.until(
            lambda first=first: said(written, "web/0").endswith(numbered(first + 899, first + 900))
        )
        written.paths("web/0")[0].unlink()
        print_some(written, fd, first + 900, first + 1000)
        written.until(
            lambda first=first: said(written, "web/0") == numbered(first + 900, first + 1000)
        )
    assert written.troubles == []


def test_a_log_directory_that_was_moved_away_is_made_anew_and_locked(written, tmp_path):
    fd = written.relay.open("web/0", 1, RAW)
    print_some(written, fd, 0, 1000)
    written.until(lambda: said(written, "web/0") == numbered(0, 1000))
    moved = tmp_path / "moved"
    written.log_dir.rename(moved)
    count = 1000

    def goes_on():
        nonlocal count
        print_some(written, fd, count, count + 100)
        count += 100
        return said(written, "web/0")

    written.until(goes_on)
    written.end("web/0")
    assert (moved / "web/0.log").read_bytes() + written.text("web/0") == numbered(0, count)
    (tmp_path / "other").mkdir()
    other = House(tmp_path / "other")
    other.log_dir = written.log_dir
    try:
        other.start_writer()
        other.hear(0.1)
        assert other.relay.writer_pid is None
    finally:
        other.close()


class SmallDisk:
    """A house whose writer sees a tmpfs of 3 MB as the log directory, in a mount namespace."""

    def __init__(self, house):
        self.house = house
        self._inside = house.log_dir
        house.start_writer(self._mounted)
        house.until(lambda: house.relay.writer_pid)
        house.log_dir = Path(f"/proc/{house.pid}/root{self._inside}")

    def _mounted(self, main):
        libc = ctypes.CDLL(None, use_errno=True)

        def mounted():
            for done in (
                libc.unshare(CLONE_NEWNS),
                libc.mount(b"", b"/", None, MS_REC_PRIVATE, None),
                libc.mount(b"x", bytes(self._inside), b"tmpfs", 0, b"size=3m"),
            ):
                assert done == 0, os.strerror(ctypes.get_errno())
            return main()

        return mounted

    def fill(self):
        path = self.house.log_dir / "filler"
        with contextlib.suppress(OSError), path.open("wb", buffering=0) as file:
            while file.write(b"x" * 4096):
                pass

    def free(self):
        (self.house.log_dir / "filler").unlink()


FULL = pytest.mark.parametrize("seconds", [0, pytest.param(5, marks=pytest.mark.soak)])


@FULL
def test_f51_f52_f53_a_full_disk_makes_a_service_wait_and_nothing_is_lost(house, seconds):
    disk = SmallDisk(house)
    before = memory(house.pid)
    fd = house.relay.open("web/0", 1, RAW)
    house.write(fd, numbered(0, 100))
    house.until(lambda: said(house, "web/0") == numbered(0, 100))
    disk.fill()
    os.set_blocking(fd, False)
    text, at = numbered(100, 90_000), 0
    with contextlib.suppress(BlockingIOError):
        while at < len(text):
            at += os.write(fd, text[at : at + 5000])
            house.poller.wait(0)
    house.until(lambda: house.troubles)
    assert at < len(text), "the service did not have to wait"
    assert os.strerror(errno.ENOSPC) in house.troubles[0]
    house.hear(seconds)
    assert len(house.troubles) == 1
    disk.free()
    house.write(fd, text[at:])
    house.end("web/0")
    assert said(house, "web/0") == numbered(0, 90_000)
    assert memory(house.pid) - before < 8 << 20
    assert house.troubles[1:] == ["the log of web/0 is written again"]


DROPPED = re.compile(rb"\[keepd: ([\d,]+) lines \(([\d,]+) bytes\) dropped\]")
DROP = Log(format=LogFormat.RAW, on_full=OnFull.DROP)


def accounted(text, printed):
    """Return how many lines were dropped; each that was printed is there, in order, or counted."""
    at = lost = 0
    for line in text.split(b"\n")[:-1]:
        if told := DROPPED.search(line):
            begun = line[: max(told.start() - 1, 0)]  # of a line whose end was dropped
            assert printed.startswith(begun, at)
            at += len(begun)
            lines, size = (int(figure.replace(b",", b"")) for figure in told.groups())
            dropped = printed[at : at + size]
            assert (dropped.count(b"\n"), len(dropped)) == (lines, size)
            assert dropped.endswith(b"\n")
            at += size
            lost += lines
        else:
            assert printed.startswith(line + b"\n", at), (at, line)
            at += len(line) + 1
    assert at == len(printed)
    return lost


def flood(house, fd, text):
    """Print text, and tell whether the service had to wait, seconds at most."""
    os.set_blocking(fd, False)
    waited = 0.0
    while text:
        began = time.monotonic()
        try:
            text = text[os.write(fd, text[:5000]) :]
        except BlockingIOError:
            house.poller.wait(0.005)
            waited += time.monotonic() - began
    return waited


@FULL
def test_f51_f52_with_drop_a_service_never_waits_for_a_full_disk_and_the_loss_is_counted(
    house, seconds
):
    disk = SmallDisk(house)
    before = memory(house.pid)
    fd = house.relay.open("web/0", 1, DROP)
    house.write(fd, numbered(0, 100))
    house.until(lambda: said(house, "web/0") == numbered(0, 100))
    disk.fill()
    end, count = time.monotonic() + seconds, 400_000
    flood(house, fd, numbered(100, count))
    while time.monotonic() < end:
        flood(house, fd, numbered(count, count + 1000))
        count += 1000
        house.hear(0.05)
    house.hear(0.05)
    assert "; dropping what it prints and trying again every second" in house.troubles[0]
    disk.free()
    house.until(lambda: DROPPED.search(said(house, "web/0")))
    house.write(fd, numbered(count, count + 1000))
    house.end("web/0")
    assert accounted(said(house, "web/0"), numbered(0, count + 1000)) > 200_000
    assert said(house, "web/0").endswith(numbered(count, count + 1000))
    assert memory(house.pid) - before < 8 << 20


@pytest.mark.parametrize("steps", [40, pytest.param(1000, marks=pytest.mark.soak)])
def test_the_loss_is_counted_right_whoever_is_killed_meanwhile(written, steps):
    """The disk is full and has room again, and the writer is killed in between, at any instant."""
    dice = random.Random(2)
    fd, printed = written.relay.open("web/0", 1, DROP), b""
    for step in range(steps):
        written.until(lambda: written.relay.writer_pid == written.pid)
        limit = len(said(written, "web/0")) + 5000 if step % 2 else resource.RLIM_INFINITY
        resource.prlimit(written.pid, resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
        text = numbered(step * 1000, step * 1000 + 1000)
        while text:
            size = dice.choice((100, 3000, 30000))
            written.write(fd, text[:size])
            printed += text[:size]
            text = text[size:]
            written.hear(dice.choice((0, 0, 0.005)))
        written.kill_writer()
        written.start_writer()
    written.end("web/0")
    assert accounted(said(written, "web/0"), printed) > 100


def test_what_later_runs_print_is_dropped_too_and_nothing_is_left_of_it(written):
    (written.log_dir / "web").write_bytes(b"in the way")
    for run in range(1, 6):
        fd = written.relay.open("web/0", run, DROP)
        flood(written, fd, numbered(run * 1000, run * 1000 + 1000))
        written.relay.end("web/0", run)
        written.hear(0.02)
    (written.log_dir / "web").unlink()
    written.until(lambda: not any(written.is_open("web/0", run) for run in range(1, 6)))
    accounted(said(written, "web/0"), numbered(1000, 6000))
    assert written.finish() == 0
    assert os.listdir(written.run_dir / "inflight") == ["notes"]


@given(
    before=st.binary(max_size=30),
    lost=st.binary(min_size=1, max_size=30),
    after=st.lists(st.binary(min_size=1, max_size=30), max_size=4),
    form=st.sampled_from(("text", "json", "raw")),
)
def test_a_notice_of_a_loss_is_a_line_and_the_lines_around_it_are_whole(before, lost, after, form):
    rules, place, text = Rules(format=form), Place(), b""
    loss = Loss().and_also(lost)
    batches = [(before, Loss(), False)] if before else []
    for data, known, closing in (*batches, *((a, loss, False) for a in after), (b"", loss, True)):
        pieces, place = render(data, Batch(place, rules, 10**15, closing, ("web/0", 1), known))
        text += b"".join(bytes(part) for piece in pieces for part in piece)
    assert place.column == 0
    assert place.told == (loss.lines, loss.size)
    assert text.endswith(b"\n")
    (told,) = DROPPED.findall(text)
    rest = b"".join(after)
    torn = 0 if lost.endswith(b"\n") else rest.find(b"\n") + 1 or len(rest)
    assert int(told[1]) == len(lost) + torn
    assert int(told[0]) == (lost + rest[:torn]).count(b"\n")
    if form == "json":
        assert all("text" in json.loads(line) for line in text.splitlines())


SMALL = Log(format=LogFormat.RAW, max_size=2000, max_files=99)


@contextlib.contextmanager
def in_the_way(house):
    """Have a file where the directory of the logs was."""
    logs, away = house.log_dir / "web", house.log_dir / "away"
    logs.rename(away)
    logs.write_bytes(b"in the way")
    yield
    logs.unlink()
    away.rename(logs)


@pytest.mark.parametrize("trouble", [in_the_way, lambda house: short_of_descriptors(house, 1)])
def test_rotated_files_are_not_written_over_after_trouble_with_the_first_look(written, trouble):
    written.print("web/0", numbered(0, 2000), log=SMALL)
    written.print("other/0", b"so the one before is forgotten\n")
    written.kill_writer()
    written.start_writer()
    written.until(lambda: written.relay.writer_pid == written.pid)
    with trouble(written):
        fd = written.relay.open("web/0", 2, SMALL)
        written.until(lambda: written.troubles)
    written.write(fd, numbered(2000, 4000))
    written.end("web/0", 2)
    assert written.text("web/0") == numbered(0, 4000)


def test_a_writer_that_is_left_alone_writes_what_all_runs_have_said(written):
    (written.log_dir / "web").write_bytes(b"in the way")
    for run in range(1, 9):
        os.write(written.relay.open("web/0", run, RAW), b"of run %d\n" % run)
        written.relay.end("web/0", run)
    last, fds = written.run_dir / "fifo/web/0.8", Path(f"/proc/{written.pid}/fd")
    written.until(lambda: last in [fd.readlink() for fd in fds.iterdir() if fd.is_symlink()])
    (written.log_dir / "web").unlink()
    written.relay.close()
    code = written.reap()
    written.__post_init__()
    assert code == 0
    assert written.text("web/0") == b"".join(b"of run %d\n" % run for run in range(1, 9))


@pytest.mark.parametrize("which", [0, 1], ids=["a stream that goes on", "one that begins"])
def test_files_in_a_log_directory_that_comes_into_the_place_of_ours_are_not_written_over(
    written, tmp_path, which
):
    """A volume, say, that is mounted late, and has the logs of the days before."""
    fd = written.relay.open("web/0", 1, SMALL)
    written.write(fd, b"now\n")
    written.until(lambda: said(written, "web/0") == b"now\n")
    old, volume = written.log_dir / "web", tmp_path / "volume"
    (volume / "web").mkdir(parents=True)
    for number in range(1, 9):
        (volume / f"web/{which}.{number:06}.log").write_bytes(b"old %d\n" % number)
    written.log_dir.rename(tmp_path / "away")
    volume.rename(written.log_dir)
    assert old.is_dir()
    if which:
        written.print("web/1", numbered(0, 2000), log=SMALL)
    else:
        until_moved = time.monotonic() + 2
        while not (written.log_dir / "web/0.log").exists():
            assert time.monotonic() < until_moved
            written.write(fd, b"now\n")
            written.hear(0.05)
        written.write(fd, numbered(0, 2000))
        written.end("web/0")
    text = written.text(f"web/{which}")
    assert text.startswith(b"".join(b"old %d\n" % number for number in range(1, 9)))
    assert text.endswith(numbered(0, 2000))

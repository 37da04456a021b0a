"""What others do to the log directory, and a disk that is full for a while: nothing is lost."""

import contextlib
import ctypes
import errno
import os
import shutil
from pathlib import Path

import pytest

from supervisor.core.spec import Log, LogFormat
from supervisor.unix.process import whole
from tests.logs.house import House, numbered

RAW = Log(format=LogFormat.RAW)
CLONE_NEWNS, MS_REC_PRIVATE = 0x00020000, 0x4000 | 1 << 18


@pytest.fixture
def written(house):
    house.start_writer()
    return house


def said(house, name):
    return house.text(name) if house.paths(name) else b""


def print_some(house, fd, first, last):
    for at in range(first, last, 100):
        house.write(fd, numbered(at, at + 100))
        house.hear(0.001)


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


def memory(pid):
    """Return the most memory that a process has ever had, in bytes."""
    (line,) = [x for x in whole(f"/proc/{pid}/status").split(b"\n") if x.startswith(b"VmHWM")]
    return int(line.split()[1]) << 10


def test_f51_f52_f53_a_full_disk_makes_a_service_wait_and_nothing_is_lost(house):
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
    disk.free()
    house.write(fd, text[at:])
    house.end("web/0")
    assert said(house, "web/0") == numbered(0, 90_000)
    assert memory(house.pid) - before < 8 << 20
    assert house.troubles[1:] == ["the log of web/0 is written again"]

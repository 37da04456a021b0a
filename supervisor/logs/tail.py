"""Reading one stream's log files back: the last lines, and on from there over every rotation.

A file that has been numbered keeps its name until it is removed, and numbers only grow: so the
next file is always known, however many rotations happen between two looks. Nothing here writes,
waits, or trusts a name to be still the file that it was.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import re
from collections.abc import Iterable, Iterator

from . import gzipped
from .files import listed, rotated_name, rotated_number
from .paint import stamp_of

_BLOCK = 65_536
_CHUNK = 262_144
_ENOUGH = 1000  # lines without a time, to say that there are none with one
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC

Pattern = re.Pattern[bytes]


class Tail:
    """One stream, read from a position on, as (number its file has or will get, offset).

    Without one it begins after the last whole line there is; (0, 0) is the oldest. The file need
    not exist yet. What is read are whole lines, without their ends.
    """

    def __init__(self, path: str, since: tuple[int, int] | None = None) -> None:
        self._path = path
        self._folder, name = os.path.split(path)
        self._stem = name.removesuffix(".log")
        self._fd = -1
        self._partial = b""
        self.lost = 0  # files that were removed before they could be read
        # The number of the file that is read, be it the one it will get.
        self._index = since[0] - 1 if since else max(self._numbers(), default=0)
        if self._advance():
            size = os.fstat(self._fd).st_size
            if since is None:
                offset = size - len(next(_backwards(self._fd, size), b""))
            else:
                offset = min(since[1], size) if self._index == since[0] else 0
            os.lseek(self._fd, offset, os.SEEK_SET)

    def lines(self) -> list[bytes]:
        """Return lines that have come since the last call; a bounded number, [] for none."""
        chunk = self._read()
        *lines, self._partial = (self._partial + chunk).split(b"\n")
        while chunk and not lines:
            chunk = self._read()
            *lines, self._partial = (self._partial + chunk).split(b"\n")
        return lines

    def rest(self) -> bytes:
        """Return, and forget, what has been read of a line that has no end yet."""
        rest, self._partial = self._partial, b""
        return rest

    def behind(self) -> int:
        """Return how many bytes are there to be read."""
        if self._is_current():
            return os.fstat(self._fd).st_size - os.lseek(self._fd, 0, os.SEEK_CUR)
        size = 0
        if self._fd >= 0:
            size = os.fstat(self._fd).st_size - os.lseek(self._fd, 0, os.SEEK_CUR)
        later = [number for number in self._numbers() if number > self._index]
        with contextlib.suppress(OSError):  # not there: it has just been rotated, say
            size += os.stat(self._path).st_size
        return size + sum(map(self._size, later))

    def skip(self, keep: int) -> int:
        """Pass over lines until about `keep` bytes are left; return how many were passed."""
        skipped, left = 0, self.behind()
        self._partial = b""
        while left > keep and (chunk := self._read(min(left - keep, _CHUNK))):
            left -= len(chunk)
            skipped += chunk.count(b"\n")
            self._partial = (self._partial + chunk).rpartition(b"\n")[2]
        return skipped

    def last(
        self, count: int | None, wanted: Pattern | None = None, since: bytes = b""
    ) -> list[bytes]:
        """Return the last lines before the place that is read from; `count` None: all of them.

        With `wanted`, only lines in which it is found; with `since`, a time as stamp_of() has it,
        only lines of that time or later: one without a time is of the time of the line before.
        """
        found: list[bytes] = []
        lines = dated(self._earlier(), since) if since else self._earlier()
        for line in lines:
            if count is not None and len(found) >= count:
                break
            if wanted is None or wanted.search(line):
                found.append(line)
        found.reverse()
        return found

    def has_times(self) -> bool:
        """Tell whether the lines before the place that is read from tell when they were written.

        True also where there are none.
        """
        lines = list(itertools.islice(self._earlier(), _ENOUGH))
        return not lines or any(map(stamp_of, lines))

    def close(self) -> None:
        """Close the file; nothing is read any more."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _read(self, most: int = _CHUNK) -> bytes:
        """Return what comes next, of this file or the ones after it; b"" for nothing now."""
        while True:
            moved = not self._is_current()  # asked first: nothing is added after a rotation
            chunk = os.read(self._fd, most) if self._fd >= 0 else b""
            if chunk or not moved or not self._advance():
                return chunk

    def _is_current(self) -> bool:
        if self._fd < 0:
            return False
        ours = os.fstat(self._fd)
        if ours.st_size < os.lseek(self._fd, 0, os.SEEK_CUR):
            os.lseek(self._fd, 0, os.SEEK_SET)  # somebody has emptied it
        try:
            return os.path.samestat(os.stat(self._path), ours)
        except FileNotFoundError:
            return False

    def _advance(self) -> bool:
        """Open the file after the one that has been read to its end; tell whether there is one."""
        while later := [number for number in self._numbers() if number > self._index]:
            fd, ours = self._rotated(later[0])
            if self._fd >= 0 and not ours:
                self.lost += later[0] - self._index - (fd >= 0)
            if fd >= 0:
                self._take(fd, later[0])
                return True
            self._index = later[0]  # removed since the look, or ours under a number not foreseen
        fd = self._opened(f"{self._stem}.log")
        numbers = self._numbers()
        if fd < 0:
            return False
        if numbers and numbers[-1] > self._index:
            os.close(fd)  # rotated since the look
            return self._advance()
        if self._is_ours(fd):
            os.close(fd)  # not moved away yet: nothing comes after it
            return False
        self._take(fd, (numbers[-1] if numbers else self._index) + 1)
        return True

    def _rotated(self, number: int) -> tuple[int, bool]:
        """Return the descriptor of a rotated file, -1 for none; whether it is what we read."""
        name = rotated_name(self._stem, number)
        fd = self._opened(name)
        if fd >= 0 and not self._is_ours(fd):
            return fd, False
        if fd < 0:
            fd = self._opened(name + gzipped.SUFFIX)
            if fd < 0:
                return -1, False
            if not self._was_ours(fd):
                return _unpacked(fd), False
        os.close(fd)
        return -1, True

    def _size(self, number: int) -> int:
        """Return how much there is in a rotated file that is not the one we read."""
        name = rotated_name(self._stem, number)
        fd = self._opened(name)
        if fd >= 0:
            size = 0 if self._is_ours(fd) else os.fstat(fd).st_size
        elif (fd := self._opened(name + gzipped.SUFFIX)) >= 0:
            size = 0 if self._was_ours(fd) else gzipped.size(fd)
        else:
            return 0
        os.close(fd)
        return size

    def _was_ours(self, fd: int) -> bool:
        """Tell whether what we read is in that compressed file now."""
        return self._fd >= 0 and gzipped.inode(fd) == os.fstat(self._fd).st_ino

    def _is_ours(self, fd: int) -> bool:
        return self._fd >= 0 and os.path.samestat(os.fstat(fd), os.fstat(self._fd))

    def _take(self, fd: int, index: int) -> None:
        self.close()
        self._fd, self._index = fd, index

    def _opened(self, name: str) -> int:
        try:
            return os.open(os.path.join(self._folder, name), _READ)
        except OSError:  # not there, or not to be read
            return -1

    def _numbers(self) -> list[int]:
        try:
            names = listed(self._folder)
        except OSError:
            return []
        known = (rotated_number(name) for name in names)
        return sorted({found[1] for found in known if found and found[0] == self._stem})

    def _earlier(self) -> Iterator[bytes]:
        """Yield the lines before our place, the latest first."""
        if self._fd < 0:
            return
        yield from _lines_backwards(self._fd, os.lseek(self._fd, 0, os.SEEK_CUR))
        for number in reversed(self._numbers()):
            fd = self._rotated(number)[0] if number < self._index else -1
            if fd >= 0:
                try:
                    yield from _lines_backwards(fd, os.fstat(fd).st_size)
                finally:
                    os.close(fd)


def dated(lines: Iterable[bytes], since: bytes) -> Iterator[bytes]:
    """Yield the lines of that time or later of those that are given, the latest first."""
    undated: list[bytes] = []
    for line in lines:
        stamp = stamp_of(line)
        if not stamp:
            undated.append(line)
            continue
        if stamp < since:
            return
        yield from undated
        undated.clear()
        yield line


def _unpacked(fd: int) -> int:
    """Return what is compressed there, -1 if it cannot be read; `fd` is closed."""
    try:
        return gzipped.unpack(fd)
    except OSError:
        return -1
    finally:
        os.close(fd)


def _backwards(fd: int, end: int) -> Iterator[bytes]:
    """Yield the parts of a file between its newlines, the last one first (b"" if it ends so)."""
    rest = b""
    while end > 0:
        begin = max(end - _BLOCK, 0)
        rest, *parts = (os.pread(fd, end - begin, begin) + rest).split(b"\n")
        yield from reversed(parts)
        end = begin
    yield rest


def _lines_backwards(fd: int, end: int) -> Iterator[bytes]:
    parts = _backwards(fd, end)
    last = next(parts)
    if last:
        yield last
    if end > 0:
        yield from parts

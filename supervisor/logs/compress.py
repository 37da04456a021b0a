"""Rotated files are compressed by a child of the log writer, the least urgent process there is.

One at a time. It may be killed at any instant: a compressed file gets its name when it is whole,
and only then the plain one is removed; what was left half done is removed and done again. A lock
on the plain file keeps two children, of a writer that was killed and of the next, from each other.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import signal
import stat
import time
from collections.abc import Callable

from supervisor.ipc.filelock import is_locked
from supervisor.unix import process
from supervisor.unix.poller import Poller

from . import gzipped
from .files import LogDirectory, rotated_name, rotated_number, split_id

_AGAIN = 1.0  # seconds after one was killed
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_MAKE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_HALF_DONE = gzipped.SUFFIX + "~"


class Compressor:
    """The streams that have something to be compressed, and the child that does it."""

    def __init__(self, poller: Poller, top: LogDirectory, trouble: Callable[[str], None]) -> None:
        self._poller = poller
        self._top = top
        self._trouble = trouble
        self._wanted: dict[str, None] = {}
        self._stream = ""  # whose files the child compresses
        self._pid = 0
        self._pidfd = -1
        self._due = 0.0

    def want(self, stream: str) -> None:
        """Have the rotated files of a stream compressed, when it is its turn."""
        self._wanted[stream] = None
        self.go_on()

    def limit(self) -> float | None:
        """Return in how many seconds to go on; None: somebody will tell."""
        if not self._wanted or self._pid:
            return None
        return max(self._due - time.monotonic(), 0.0)

    def go_on(self) -> None:
        """Start with the next stream, if it is time and nothing else is being compressed."""
        if not self._wanted or self._pid or time.monotonic() < self._due:
            return
        self._stream = stream = next(iter(self._wanted))
        del self._wanted[stream]
        parent, top = os.getpid(), self._top

        def compress() -> int:
            process.end_with(parent)
            os.nice(19)
            return _compress(top, stream)

        try:
            self._pid = process.fork("gzip", compress, (top.fileno(),))
            self._pidfd = os.pidfd_open(self._pid)
        except OSError as error:
            self._failed(error.strerror or str(error))
            self._end()
            return
        self._poller.watch(self._pidfd, self._ended, select.EPOLLIN)

    def close(self) -> None:
        """Stop compressing, and leave nothing half done."""
        self._wanted.clear()
        if self._pid:
            self._end()
            with contextlib.suppress(OSError):
                _clear(self._top, self._stream)

    def _end(self) -> None:
        if self._pid:
            os.kill(self._pid, signal.SIGKILL)  # our own child, unreaped
            self._reap()

    def _reap(self) -> int:
        if self._pidfd >= 0:
            self._poller.forget(self._pidfd)
            os.close(self._pidfd)
        _, status = os.waitpid(self._pid, 0)
        self._pid, self._pidfd = 0, -1
        return os.waitstatus_to_exitcode(status)

    def _ended(self, _: int) -> None:
        code = self._reap()
        if code < 0:
            self._failed(f"killed by signal {-code}; trying again")
        elif code:
            self._trouble(f"cannot compress the log of {self._stream}: {os.strerror(code)}")
        self.go_on()

    def _failed(self, why: str) -> None:
        self._trouble(f"cannot compress the log of {self._stream}: {why}")
        self._wanted[self._stream] = None
        self._due = time.monotonic() + _AGAIN


def _compress(top: LogDirectory, stream: str) -> int:
    """Compress the rotated files of a stream, the oldest first; return an error number or 0."""
    name, stem = split_id(stream)
    try:
        _clear(top, stream)
        directory = top.open(name, make=False)
        found = map(rotated_number, os.listdir(directory))
        numbers = {known[1] for known in found if known and known[0] == stem}
        for number in sorted(numbers):
            _compress_one(directory, rotated_name(stem, number))
    except OSError as error:
        return error.errno or 1
    return 0


def _compress_one(directory: int, name: str) -> None:
    """Compress a file, unless it is done, being done, or not a file of its own."""
    try:
        source = os.open(name, _READ, dir_fd=directory)
    except FileNotFoundError:
        return
    try:
        fcntl.flock(source, fcntl.LOCK_EX | fcntl.LOCK_NB)
        known = os.fstat(source)  # with the lock: who had it before may have removed the file
        if stat.S_ISREG(known.st_mode) and known.st_nlink == 1:
            _replace(directory, name, source, known)
    except BlockingIOError:
        return
    finally:
        os.close(source)


def _replace(directory: int, name: str, source: int, known: os.stat_result) -> None:
    target, half_done = name + gzipped.SUFFIX, name + _HALF_DONE
    out = os.open(half_done, _MAKE, 0o600, dir_fd=directory)
    try:
        gzipped.pack(source, out)
        os.fchmod(out, stat.S_IMODE(known.st_mode))
        os.utime(out, ns=(known.st_atime_ns, known.st_mtime_ns))
        os.rename(half_done, target, src_dir_fd=directory, dst_dir_fd=directory)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(half_done, dir_fd=directory)
        raise
    finally:
        os.close(out)
    try:
        os.unlink(name, dir_fd=directory)
    except FileNotFoundError:  # more than are kept, meanwhile: it must not come back
        with contextlib.suppress(FileNotFoundError):
            os.unlink(target, dir_fd=directory)


def _clear(top: LogDirectory, stream: str) -> None:
    """Remove what was left half done of a stream, unless somebody is still at it."""
    name, stem = split_id(stream)
    directory = top.open(name, make=False)
    try:
        for entry in os.listdir(directory):
            plain = entry.removesuffix(_HALF_DONE)
            known = rotated_number(plain) if plain != entry else None
            if known and known[0] == stem and not _is_locked(directory, plain):
                os.unlink(entry, dir_fd=directory)
    finally:
        os.close(directory)


def _is_locked(directory: int, name: str) -> bool:
    try:
        fd = os.open(name, _READ, dir_fd=directory)
    except OSError:
        return False
    try:
        return is_locked(fd)
    finally:
        os.close(fd)

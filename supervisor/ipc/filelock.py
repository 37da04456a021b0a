"""A lock between processes that the kernel releases with its holder.

It is flock(2) on a descriptor opened for the purpose: however the holder ends, the next one gets
it, and nothing has to be tidied up. It never believes what stands in a file, and a forked child
never shares its parent's lock: it begins without it.
"""

from __future__ import annotations

import fcntl
import os
import select
import time
import weakref
from typing import Self

_FIRST_LOOK = 0.001
_LAST_LOOK = 0.05


class FileLock:
    """An exclusive lock on a file, which is made if need be, or on a directory that is there.

    One holder a FileLock: acquiring it twice without a release is a RuntimeError. The file is
    left behind, empty; removing it while others wait for it would let two of them in.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = os.fspath(path)
        self._fd = -1
        os.register_at_fork(after_in_child=_Forked(self))

    @property
    def held(self) -> bool:
        """Tell whether this process holds the lock through this object."""
        return self._fd >= 0

    def acquire(self, timeout: float | None = None) -> bool:
        """Wait at most `timeout` seconds (None: for ever); tell whether the lock is ours now.

        OSError if the path cannot be opened.
        """
        if self.held:
            raise RuntimeError(f"cannot lock {self._path} twice")
        fd = self._open()
        try:
            if self._wait(fd, timeout):
                self._fd, fd = fd, -1
        finally:
            if fd >= 0:
                os.close(fd)
        return self.held

    def release(self) -> None:
        """Let the next one in; RuntimeError if the lock is not held."""
        if not self.held:
            raise RuntimeError(f"cannot release {self._path}: it is not locked")
        fd, self._fd = self._fd, -1
        fcntl.flock(fd, fcntl.LOCK_UN)  # not by closing: a child may have the descriptor still
        os.close(fd)

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def _open(self) -> int:
        try:
            return os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except IsADirectoryError:
            return os.open(self._path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def _wait(self, fd: int, timeout: float | None) -> bool:
        if timeout is None:
            fcntl.flock(fd, fcntl.LOCK_EX)
            return True
        end = time.monotonic() + timeout
        look = _FIRST_LOOK
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                left = end - time.monotonic()
                if left <= 0:
                    return False
                select.select((), (), (), min(look, left))  # flock(2) itself knows no limit
                look = min(2 * look, _LAST_LOOK)
            else:
                return True

    def forked(self) -> None:
        """Begin without the lock in a child: it is the parent's, and closing does not free it."""
        if self.held:
            fd, self._fd = self._fd, -1
            os.close(fd)


def is_locked(fd: int) -> bool:
    """Return whether somebody else has the lock of an open file."""
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    fcntl.flock(fd, fcntl.LOCK_UN)
    return False


class _Forked:
    """Tells a lock, if there still is one, that it finds itself in a child."""

    def __init__(self, lock: FileLock) -> None:
        self._lock = weakref.ref(lock)

    def __call__(self) -> None:
        lock = self._lock()
        if lock is not None:
            lock.forked()

"""What a stream may drop when it cannot be written: taken out of its pipe, counted, forgotten.

As a batch, what is dropped goes through a file, so that whoever comes after a death in the middle
counts it, and counts it once: while the file is empty `loss` holds, else `loss_before` and what
is in the file.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable

from supervisor.records import replace

from .notes import Slot

_OPEN = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW


class Drain:
    """The drain of one stream; its file is made when something is dropped."""

    def __init__(self, slot: Slot, folder: int, name: str) -> None:
        """Complete what a predecessor has left; OSError."""
        self._slot = slot
        self._folder = folder
        self._names = (name + "~", name + "~~")  # of what was printed, and of records
        self._fds = [-1, -1]
        self.loss = slot.loss
        try:
            for which, each in enumerate(self._names):
                with contextlib.suppress(FileNotFoundError):
                    self._fds[which] = os.open(each, _OPEN, dir_fd=folder)
                    if size := os.fstat(self._fds[which]).st_size:
                        self.loss = slot.loss_before
                        self._count(size, which)
        except BaseException:
            self.close()
            raise

    def discard(self, take: Callable[[int], int | None], *, records: bool) -> int | None:
        """Forget what take(file) moves into the file; return its answer: a length. OSError."""
        if self._fds[records] < 0:
            flags, name = _OPEN | os.O_CREAT, self._names[records]
            self._fds[records] = os.open(name, flags, 0o600, dir_fd=self._folder)
        self._slot.loss_before = self.loss
        size = take(self._fds[records])
        if size:
            self._count(size, records)
        return size

    def forget(self) -> None:
        """Remove the files: all that was dropped is told."""
        for fd, name in zip(self._fds, self._names, strict=True):
            if fd >= 0:
                os.unlink(name, dir_fd=self._folder)
        self.close()

    def close(self) -> None:
        """Close the files and leave them as they are."""
        for which, fd in enumerate(self._fds):
            if fd >= 0:
                os.close(fd)
                self._fds[which] = -1

    def _count(self, size: int, which: int) -> None:
        loss, fd = self.loss.and_also(os.pread(self._fds[which], size, 0)), self._fds[which]
        if which:  # nothing of what is printed is torn by it
            loss = replace(loss, torn=self.loss.torn)
        self.loss = self._slot.loss = loss
        os.ftruncate(fd, 0)

"""What a stream may drop when it cannot be written: taken out of its pipe, counted, forgotten.

As a batch, what is dropped goes through a file, so that whoever comes after a death in the middle
counts it, and counts it once: while the file is empty `loss` holds, else `loss_before` and what
is in the file.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable

from .notes import Slot

_OPEN = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW


class Drain:
    """The drain of one stream; its file is made when something is dropped."""

    def __init__(self, slot: Slot, folder: int, name: str) -> None:
        """Complete what a predecessor has left; OSError."""
        self._slot = slot
        self._folder = folder
        self._name = name
        self._fd = -1
        self.loss = slot.loss
        with contextlib.suppress(FileNotFoundError):
            self._fd = os.open(name, _OPEN, dir_fd=folder)
            if size := os.fstat(self._fd).st_size:
                self.loss = slot.loss_before
                self._count(size)

    def discard(self, take: Callable[[int], int | None]) -> int | None:
        """Forget what take(file) moves into the file; return its answer: a length. OSError."""
        if self._fd < 0:
            self._fd = os.open(self._name, _OPEN | os.O_CREAT, 0o600, dir_fd=self._folder)
        self._slot.loss_before = self.loss
        size = take(self._fd)
        if size:
            self._count(size)
        return size

    def forget(self) -> None:
        """Remove the file: all that was dropped is told."""
        if self._fd >= 0:
            self.close()
            os.unlink(self._name, dir_fd=self._folder)

    def close(self) -> None:
        """Close the file and leave it as it is."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _count(self, size: int) -> None:
        self.loss = self._slot.loss = self.loss.and_also(os.pread(self._fd, size, 0))
        os.ftruncate(self._fd, 0)

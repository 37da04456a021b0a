"""A mutex between processes out of flock(2), for where the C library has no robust one.

The kernel takes it from whoever dies, as it does with every flock; a mark in shared memory, which
a holder leaves when it does not come to its end, tells the next one. Each acquisition opens the
memory anew, because a descriptor shared over a fork would share the lock as well. What a thread
leaves behind that ends, or whose signal handler raises in the middle, is kept from the others of
its process.
"""

from __future__ import annotations

import errno
import threading
import time

from .filelock import FileLock
from .memory import PAGE, Memory

_MARK, _RECOVERED = 0, 1  # words


class FlockMutex(FileLock):
    """What RobustMutex is, at three times its price: see SharedMutex for what the calls return."""

    def __init__(self, *, recursive: bool) -> None:
        self._take(Memory("lock", PAGE), recursive)

    def _take(self, memory: Memory, recursive: bool) -> None:
        super().__init__(f"/proc/self/fd/{memory.fd}")
        self._memory, self._recursive = memory, recursive
        self._threads = threading.Lock()
        self._owner = self._depth = 0

    def trylock(self) -> int:
        """Take it if it is free."""
        if self._owner == threading.get_ident():
            self._depth += self._recursive
            return 0 if self._recursive else errno.EDEADLK
        return self._entered(0.0) if self._threads.acquire(blocking=False) else errno.EBUSY

    def lock(self, code: int, end: float | None) -> int:
        """Go on from what trylock said until `end` on CLOCK_MONOTONIC; 0, EBUSY or EDEADLK."""
        if code != errno.EBUSY:
            return code
        if end is None:
            self._threads.acquire()
            return self._entered(None)
        left = max(0.0, end - time.monotonic())
        if not self._threads.acquire(timeout=left):
            return errno.EBUSY
        return self._entered(max(0.0, end - time.monotonic()))

    def _entered(self, limit: float | None) -> int:
        """Take the file, as the one thread of this process that may; `limit` is in seconds."""
        taken = False
        try:
            taken = self.acquire(limit)
        finally:
            if not taken:
                self._threads.release()
        if not taken:
            return errno.EBUSY
        self._owner, self._depth = threading.get_ident(), 1
        words = self._memory.words
        words[_RECOVERED] += words[_MARK]
        words[_MARK] = 1
        return 0

    def unlock(self) -> int:
        """Let it go."""
        if self._owner != threading.get_ident():
            return errno.EPERM
        self._depth -= 1
        if not self._depth:
            self._memory.words[_MARK] = 0
            self._owner = 0
            self.release()
            self._threads.release()
        return 0

    def mine(self) -> bool:
        """Tell whether this thread holds it."""
        return self._owner == threading.get_ident()

    def locked(self) -> bool:
        """Tell whether anybody who lives holds it."""
        if not self._memory.words[_MARK] or self.held:
            return self.held
        look = FileLock(f"/proc/self/fd/{self._memory.fd}")
        free = look.acquire(timeout=0)
        if free:
            look.release()
        return not free

    def abandon(self) -> None:
        """Let it go if this thread holds it, in whatever state an exception has left it."""
        if self.mine():
            self.unlock()

    @property
    def recovered(self) -> int:
        """How often it was taken over from a holder who died."""
        return self._memory.words[_RECOVERED]

    def forked(self) -> None:
        """Begin without it in a child: neither this process nor its threads have it."""
        super().forked()
        self._threads = threading.Lock()
        self._owner = self._depth = 0

    def __getstate__(self) -> tuple[Memory, bool]:
        return self._memory, self._recursive

    def __setstate__(self, state: tuple[Memory, bool]) -> None:
        self._take(*state)

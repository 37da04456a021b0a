"""Messages of bytes between any number of processes, in a ring of shared memory, with waiting.

Whoever is killed at whatever instruction, the others go on, and what has been accepted is handed
out exactly once. Here it is decided when there is nothing to take, or no room, and then slept. No
kernel pipe, no thread and no name takes part.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from queue import Empty, Full
from typing import TypeVar

from .gate import BusyError, Gate, under
from .ledger import COUNT, DONE, HEAD, JOURNAL, NEED, TAIL
from .mutex import spins

T = TypeVar("T")

_LOOKS = 150  # at the ring before sleeping: some 9 us, in which most answers come


class Ring(Gate):
    """A Gate at which one waits. Whoever holds one may be forked, or send it while spawning."""

    _looks = spins(_LOOKS)

    def put(self, data: bytes | memoryview, tag: int = 0, limit: float | None = None) -> int:
        """Put a message, waiting for room at most `limit` seconds (None: for ever).

        Return its number. Full after that time; ValueError if it could never fit; MemoryError and
        OSError as offer().
        """
        need = (len(data) + 15) >> 3
        if need >= self.cap:
            raise ValueError(f"cannot put {len(data)} bytes into a queue of {self.cap * 8 - 16}")
        end = _end(limit)
        try:
            while not (number := self.offer(data, tag, limit)):
                if self._left(limit) or not self._both(lambda: self._full(need), limit):
                    continue
                limit = _rest(end)
                if limit == 0:
                    raise Full
                self.room.wait(limit)
        except BusyError:
            raise Full from None
        return number

    def get(self, limit: float | None, slot: int | None = None) -> tuple[bytes, int]:
        """Take a message with its tag, waiting at most `limit` seconds; Empty after that."""
        return self.when_some(lambda left: self.take(left, slot), limit)

    def when_some(self, act: Callable[[float | None], T | None], limit: float | None) -> T:
        """Return what `act` returns, once there is something; Empty after `limit` seconds."""
        end = _end(limit)
        try:
            while (found := act(limit)) is None:
                if self._came(limit) or not self._both(self._empty, limit):
                    continue
                limit = _rest(end)
                if limit == 0:
                    raise Empty
                self.some.wait(limit)
        except BusyError:
            raise Empty from None
        return found

    def _both(self, act: Callable[[], bool], limit: float | None) -> bool:
        return under(self.consumers, lambda: under(self.producers, act, limit), limit)

    def _came(self, limit: float | None) -> bool:
        """Look for a while whether a message comes."""
        words = self.words
        if limit != 0:
            for _ in range(self._looks):
                if words[TAIL] != words[HEAD]:
                    return not words[JOURNAL]
        return False

    def _left(self, limit: float | None) -> bool:
        """Look for a while whether a message is taken."""
        words = self.words
        head = words[HEAD]
        if limit != 0:
            for _ in range(self._looks):
                if words[HEAD] != head:
                    return not words[JOURNAL]
        return False

    def _empty(self) -> bool:
        """Tell whether it is empty, and take `some` down then. Under both mutexes."""
        self.complete()
        words = self.words
        if words[TAIL] != words[HEAD]:
            return False
        self.some.down()
        self.rewind_if_far()
        return True

    def _full(self, need: int) -> bool:
        """Tell whether there is no room, and take `room` down then. Under both mutexes."""
        self.complete()
        words = self.words
        if self.maxsize and self.count() >= self.maxsize:
            self.room.down()
            return True
        if words[TAIL] == words[HEAD] and not self.fits(need):
            self.rewind()
        if self.fits(need) or self.straighten(need):
            return False
        words[NEED] = 1  # before: from here on, the next who takes something puts it up
        self.room.down()
        return True

    def unfinished(self) -> int:
        """Return how many messages were accepted and not yet done with."""
        return ((self.words[TAIL] >> 32) - self.words[DONE]) & COUNT

    def done(self, before_last: Callable[[], None]) -> None:
        """Count one as done with; call `before_last` first if it is the last one.

        ValueError if there is none.
        """

        def act() -> None:
            if not (left := self.unfinished()):
                raise ValueError("task_done() called too many times")
            if left == 1:
                before_last()
            self.words[DONE] = self.words[DONE] + 1 & COUNT

        under(self.consumers, act, None)


def _end(limit: float | None) -> float | None:
    return None if limit is None else time.monotonic() + max(0.0, limit)


def _rest(end: float | None) -> float | None:
    return None if end is None else max(0.0, end - time.monotonic())

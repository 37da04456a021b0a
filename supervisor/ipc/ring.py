"""Messages of bytes between any number of processes, in a ring of shared memory, with waiting.

Whoever is killed at whatever instruction, the others go on, and what has been accepted is handed
out exactly once. Here it is decided when there is nothing to take, or no room, and then slept. No
kernel pipe, no thread and no name takes part.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from queue import Empty, Full
from typing import TypeVar

from .gate import CLAIM, BusyError, Gate, ReenteredError, await_mutex, under
from .ledger import COUNT, DONE, DOWN, FAR, HEAD, MOVED, NEED, PLACE, RESERVED, STATE, TAIL, WARM
from .memory import Flag
from .mutex import SharedMutex, spins

T = TypeVar("T")

_LOOKS = 150  # at the ring before sleeping: some 9 us, in which most answers come
_VAIN = 4  # after so many looks in vain there are none, until the count reaches _AGAIN
_AGAIN = 64
_YIELDS = 4


class Ring(Gate):
    """A Gate at which one waits. Whoever holds one may be forked, or send it while spawning."""

    def _use(self, producers: SharedMutex, consumers: SharedMutex, some: Flag, room: Flag) -> None:
        super()._use(producers, consumers, some, room)
        self._looks, self._vain = spins(_LOOKS), 0

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
            while not (tail := self.offer(data, tag, limit)):
                if self._left(limit) or not self._both(lambda: self._full(need), limit):
                    continue
                limit = _rest(end)
                if limit == 0:
                    raise Full
                self.room.wait(limit)
        except BusyError:
            raise Full from None
        return tail >> 32 | CLAIM

    def get(self, limit: float | None, slot: int | None = None) -> tuple[bytes, int]:
        """Take a message with its tag, waiting at most `limit` seconds; Empty after that."""
        return self.when_some(lambda left: self.take(left, slot), limit)

    def when_some(self, act: Callable[[float | None], T | None], limit: float | None) -> T:
        """Return what `act` returns, once there is something; Empty after `limit` seconds."""
        end, words = _end(limit), self.words
        try:
            while words[TAIL] == words[HEAD] or (found := act(limit)) is None:
                if self._came(limit) or not self._nothing(limit):
                    continue
                limit = _rest(end)
                if limit == 0:
                    raise Empty
                if self.some.wait(limit):
                    self._yields()
        except BusyError:
            raise Empty from None
        return found

    def _both(self, act: Callable[[], bool], limit: float | None) -> bool:
        return under(self.consumers, lambda: under(self.producers, act, limit), limit)

    def _came(self, limit: float | None) -> bool:
        """Look for a while whether a message comes: but seldom, where that has not helped lately.

        It does not help where the other side has no CPU of its own.
        """
        if limit == 0 or self._vain > _VAIN:
            self._vain = (self._vain + 1) % _AGAIN
            return False
        words = self.words
        for _ in range(self._looks):
            if words[TAIL] != words[HEAD]:
                self._vain = 0
                return not words[STATE] & MOVED
        self._vain += 1
        return False

    def _left(self, limit: float | None) -> bool:
        """Look for a while whether a message is taken."""
        words = self.words
        head = words[HEAD]
        if limit == 0 or words[STATE] & MOVED:
            return False
        return any(words[HEAD] != head for _ in range(self._looks))

    def _yields(self) -> None:
        """Let a producer go on who was interrupted between his signal and his store."""
        words = self.words
        for _ in range(_YIELDS):
            if words[TAIL] != words[HEAD]:
                return
            os.sched_yield()

    def _nothing(self, limit: float | None) -> bool:
        """Tell whether it is empty, and take `some` down then. In as few calls as can be."""
        words = self.words
        far = words[TAIL] & PLACE > FAR or words[RESERVED] > 2 * WARM
        if far or words[STATE] & MOVED:
            return self._both(self._tidied, limit)
        try:
            if code := self.producers.trylock():
                await_mutex(self.producers, code, limit)
            empty = words[TAIL] == words[HEAD]  # only producers could change that
            if empty:
                words[DOWN] = 1  # before: whoever puts something in is to know
                self.some.down()
            self.producers.unlock()
        except ReenteredError:
            raise
        except BaseException:
            self.producers.abandon()
            raise
        return empty

    def _tidied(self) -> bool:
        """Do the same, and begin anew at place 0. Under both mutexes."""
        self.complete()
        if self.words[TAIL] != self.words[HEAD]:
            return False
        self.words[DOWN] = 1
        self.some.down()
        self.rewind()
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
        words[STATE] |= NEED  # before: from here on, the next who takes something puts it up
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

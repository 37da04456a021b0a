"""One try to put a message into a ring of shared memory, or to take one: what must be safe.

Two words make it so: TAIL and HEAD each hold a count and a place, and one store of 8 bytes accepts
or takes a message. A mutex keeps producers apart and another one consumers; both pass on when their
holder dies, and nothing has to be repaired but a move that the ledger has written down. Two flags
tell sleepers that there may be a message, or room:

    not empty => `some` is up       put up before the store to TAIL, down under the producers' mutex
    not full  => `room` is up       put up before the store to HEAD, down under both

so that no death can lose a wake-up. Where `some` is known to be up nobody puts it up again: DOWN is
set before it is taken down, and cleared after it was put up. A mutex is let go on every way out,
also when a signal handler raises between the call that took it and the next line. Nothing here
waits for a message or room.
"""

from __future__ import annotations

import _thread
import errno
import os
import sys
import time
from collections.abc import Callable
from typing import Any, TypeVar

from .flock import FlockMutex
from .ledger import (
    BASE,
    COUNT,
    DOWN,
    HEAD,
    LEASE,
    MASK,
    MOVED,
    PLACE,
    RESERVED,
    STATE,
    STEP,
    TAIL,
    WARM,
    WRAP,
    Ledger,
)
from .memory import Flag
from .mutex import SIZE, RobustMutex, SharedMutex, robust

T = TypeVar("T")

RAW = 1 << 62  # a tag: the message is the object
CLAIM = 1 << 32  # marks a number as one: that of the first message after 2**32 others is 0
_LENGTH = RAW - 1
_GRACE = 0.05  # seconds that a call which must not wait waits for a mutex all the same
_AHEAD = 1 << 18  # words that a producer is ahead when it lets consumers run, lest pages go cold
_ORDERED = os.uname().machine in {
    "x86_64",
    "amd64",
}  # others see stores in the order they were made


class BusyError(Exception):
    """A mutex was held for longer than the caller would wait."""


class ReenteredError(RuntimeError):
    """A signal handler or a finalizer uses the queue that its own thread is in the middle of."""


def _order() -> None:
    """Let what was stored and loaded before be seen before what comes: a release, an acquire."""
    lock = _thread.allocate_lock()
    lock.acquire()
    lock.release()
    lock.acquire()


def await_mutex(mutex: SharedMutex, code: int, limit: float | None) -> None:
    """Go on from what trylock said; BusyError after `limit` seconds."""
    end = None if limit is None else time.monotonic() + max(limit, _GRACE)
    code = mutex.lock(code, end)
    if code == errno.EDEADLK:
        raise ReenteredError("cannot use the queue: this thread is in the middle of using it")
    if code:
        raise BusyError


def under(mutex: SharedMutex, act: Callable[[], T], limit: float | None) -> T:
    """Return what `act` returns while the mutex is held; BusyError if it cannot be had in time."""
    try:
        if code := mutex.trylock():
            await_mutex(mutex, code, limit)
    except ReenteredError:
        raise
    except BaseException:
        mutex.abandon()
        raise
    try:
        result = act()
        mutex.unlock()
    except BaseException:
        mutex.abandon()
        raise
    return result


class Gate(Ledger):
    """The two ends of a ring of `nbytes` bytes, for at most `maxsize` messages (0: what fits).

    `slots` is for those who hand out work: a consumer that names its slot leaves the number of the
    message that it takes there, before it takes it, so that its death can be traced to the message.
    """

    ordered = _ORDERED

    def __init__(self, maxsize: int, nbytes: int, slots: int = 0) -> None:
        if sys.maxsize < MASK >> 1:
            raise OSError(errno.ENOTSUP, "cannot make a queue: its words need a 64-bit machine")
        super().__init__(nbytes, slots)
        self.maxsize = max(0, maxsize)
        self._use(*self._mutexes(), Flag(up=False), Flag(up=True))

    def _mutexes(self) -> tuple[SharedMutex, SharedMutex]:
        if robust():
            return (
                RobustMutex(self.memory, 0, recursive=False),
                RobustMutex(self.memory, SIZE, recursive=False),
            )
        return FlockMutex(recursive=False), FlockMutex(recursive=False)

    def _use(self, producers: SharedMutex, consumers: SharedMutex, some: Flag, room: Flag) -> None:
        self.producers, self.consumers = producers, consumers
        self._enter_put, self._leave_put = producers.trylock, producers.unlock
        self._enter_get, self._leave_get = consumers.trylock, consumers.unlock
        self.some, self.room = some, room
        self._near = min(WARM, self.cap)

    def __getstate__(self) -> tuple[Any, ...]:
        both = self.producers, self.consumers
        return self.maxsize, self.memory, *both, self.some, self.room

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.maxsize, memory, *rest = state
        self._map(memory)
        self._use(*rest)

    @property
    def recovered(self) -> int:
        """How often a process died inside, and another one took over."""
        return self.producers.recovered + self.consumers.recovered

    def offer(self, data: bytes | memoryview, tag: int, limit: float | None) -> int:
        """Put a message if there is room; return the new TAIL, which is not 0, or 0.

        `limit` is how long to wait for the mutex, in seconds; BusyError after that. MemoryError
        and OSError if no pages can be had for it.
        """
        words = self.words
        size = len(data)
        need = (size + 15) >> 3
        try:
            if code := self._enter_put():
                await_mutex(self.producers, code, limit)
            tail, head = words[TAIL], words[HEAD]
            place, first, move = tail & PLACE, head & PLACE, need + STEP
            if self.maxsize or words[STATE] or not first <= place < self._near - need:
                if (at := self._room(tail, head, need)) < 0:
                    self._leave_put()
                    return 0
                move += at - place
                place = at
            if place + need > words[RESERVED]:
                self.reserve(place + need)
            words[BASE + place] = size | tag
            at = (BASE + place + 1) << 3
            self.map[at : at + size] = data
            if tail == head and words[DOWN]:
                self.some.up()
                words[DOWN] = 0
            if not self.ordered:
                _order()
            words[TAIL] = tail = (tail + move) & MASK  # accepted
            self._leave_put()
            if not 0 <= place - first < _AHEAD:
                os.sched_yield()
        except ReenteredError:
            raise
        except BaseException:
            self.producers.abandon()
            raise
        return tail

    def _room(self, tail: int, head: int, need: int) -> int:
        """Return the place for a message of so many words, -1: none, or a move to be completed."""
        most = self.maxsize
        if (most and ((tail >> 32) - (head >> 32)) & COUNT >= most) or self.words[STATE] & MOVED:
            return -1
        return self.placed(tail & PLACE, head & PLACE, need)

    def take(self, limit: float | None, slot: int | None = None) -> tuple[bytes, int] | None:
        """Take a message with its tag if there is one. `limit` and BusyError as for offer()."""
        words = self.words
        try:
            if code := self._enter_get():
                await_mutex(self.consumers, code, limit)
            head, tail, state = words[HEAD], words[TAIL], words[STATE]
            if head == tail or state & MOVED:
                self._leave_get()
                return None
            place = head & PLACE
            if not self.ordered:
                _order()
            if (length := words[BASE + place]) == WRAP:
                head -= place
                place, length = 0, words[BASE]
            size = length & _LENGTH
            at = (BASE + place + 1) << 3
            data = self.map[at : at + size]
            head = (head + STEP + ((size + 15) >> 3)) & MASK
            if slot is not None:
                words[LEASE + slot] = head >> 32 | CLAIM
            if state or self.maxsize:
                self._announce()
            if not self.ordered:
                _order()
            words[HEAD] = head  # taken
            self._leave_get()
        except ReenteredError:
            raise
        except BaseException:
            self.consumers.abandon()
            raise
        return data, length & RAW

    def _read(self, place: int) -> tuple[bytes, int, int]:
        """Return the bytes of the message at a place, its length and tag, and where it ends."""
        if not self.ordered:
            _order()
        length = self.words[BASE + place]
        if length == WRAP:
            place = 0
            length = self.words[BASE]
        size = length & _LENGTH
        at = (BASE + place + 1) << 3
        return self.map[at : at + size], length, place + ((size + 15) >> 3)

    def _announce(self) -> None:
        """Put `room` up if somebody may wait for it; before the store to HEAD."""
        words = self.words
        full = ((words[TAIL] >> 32) - (words[HEAD] >> 32)) & COUNT == self.maxsize
        if words[STATE] or full:
            self.room.up()  # before the word is cleared, lest a death in between be its loss
            words[STATE] = 0

    def take_many(self, limit: float | None, most: int) -> list[tuple[bytes, int]] | None:
        """Take up to `most` messages with one store; None if there is none. As take()."""
        return under(self.consumers, lambda: self._taken(most), limit)

    def _taken(self, most: int) -> list[tuple[bytes, int]] | None:
        words = self.words
        head, tail = words[HEAD], words[TAIL]
        if head == tail or words[STATE] & MOVED:
            return None
        found: list[tuple[bytes, int]] = []
        while head != tail and len(found) < most:
            data, length, end = self._read(head & PLACE)
            found.append((data, length & RAW))
            head = ((head >> 32) + 1 & COUNT) << 32 | end
        self._announce()
        if not self.ordered:
            _order()
        words[HEAD] = head
        return found

    def look(self, limit: float | None) -> tuple[bytes, int] | None:
        """Return what take() would, and leave it there."""
        return under(self.consumers, self._seen, limit)

    def _seen(self) -> tuple[bytes, int] | None:
        head = self.words[HEAD]
        if head == self.words[TAIL] or self.words[STATE] & MOVED:
            return None
        data, length, _ = self._read(head & PLACE)
        return data, length & RAW

    def lease(self, slot: int) -> int:
        """Return the number that the slot claims; it is taken if taken() has come as far. 0: none.

        One who is killed between its claim and its taking leaves a claim to a message that is
        still there, and that somebody else may take.
        """
        return self.words[LEASE + slot]

    def clear(self, slot: int) -> None:
        """Forget what the slot claims."""
        self.words[LEASE + slot] = 0

    def taken(self) -> int:
        """Return the number of the message that was taken last."""
        return self.words[HEAD] >> 32 | CLAIM

"""Where things stand in a ring's memory, and how it is filled, turned round and given back.

A message is a word with its length and tag, and its bytes, padded to whole words. Places are in
words, counted from BASE. What moves more than one word is written down first, so that whoever finds
it cut short completes it. Callers hold the mutex that is named with each method, or both.
"""

from __future__ import annotations

from .memory import PAGE, Memory

# Words: count << 32 | place. Far apart, as processors fetch cache lines in pairs.
TAIL, HEAD = 32, 48
STATE = 64  # NEED and MOVED, changed under the consumers' mutex
DONE = 65  # how many messages are done with, as task_done() has it
RESERVED = 66  # so many words of the ring have pages
TURN = 67  # the place from which the tail last turned back to 0
DOWN = 68  # not 0: `some` may be down; changed under the producers' mutex
NEED = 1  # a producer waits for bytes, not for a number of messages
MOVED = 2  # the move in the next words is to be completed
_J_TAIL, _J_HEAD, _J_AT, _J_WORD, _SCRATCH = 72, 73, 74, 75, 76
LEASE = 96  # a word for each slot
BASE = 1024
SLOTS = BASE - LEASE  # at most

COUNT = PLACE = (1 << 32) - 1
MASK = (1 << 64) - 1
STEP = 1 << 32
WRAP = MASK  # instead of a length: the next message is at place 0

WARM = 1 << 20  # words that may stay in use; beyond, the ring turns back early if there is room
FAR = 1 << 15  # words after which an empty ring begins anew
_GROWTH = 1 << 15  # words reserved at once, at most, beyond what is needed
_LEAST = 1 << 16  # bytes of a ring
_MOST = 8 << 32  # bytes: as far as a place reaches


class Ledger:
    """The memory of a ring of `nbytes` bytes, with `slots` words for leases.

    ValueError for sizes that cannot be, OSError or MemoryError if the memory cannot be had.
    """

    def __init__(self, nbytes: int, slots: int) -> None:
        if not _LEAST <= nbytes <= _MOST:
            raise ValueError(f"cannot make a queue of {nbytes} bytes: {_LEAST} to {_MOST} will do")
        if not 0 <= slots <= SLOTS:
            raise ValueError(f"cannot make {slots} slots: at most {SLOTS}")
        size = BASE * 8 + -(-nbytes // PAGE) * PAGE
        self._map(Memory("queue", size))
        self.words[DOWN] = 1
        self.memory.reserve(0, (LEASE + slots) * 8)

    def _map(self, memory: Memory) -> None:
        self.memory = memory
        self.words, self.map = memory.words, memory.map
        self.cap = memory.size // 8 - BASE

    def count(self) -> int:
        """Return how many messages there are; a number that was true at some instant."""
        words = self.words
        while True:
            head = words[HEAD]
            tail = words[TAIL]
            if head == words[HEAD]:
                return ((tail >> 32) - (head >> 32)) & COUNT

    def fits(self, need: int) -> bool:
        """Return whether a message of so many words has room. Under the producers' mutex."""
        place, head = self.words[TAIL] & PLACE, self.words[HEAD] & PLACE
        if place < head:
            return place + need < head
        return place + need < self.cap or need < head

    def placed(self, place: int, head: int, need: int) -> int:
        """Return where a message goes if the tail is at `place`, -1: nowhere.

        Under the producers' mutex. It turns back to 0 where the ring ends, or sooner, to stay on
        pages that are in use, if what is free there is much more than what is in the ring.
        """
        if place < head:
            return place if place + need < head else -1
        above = place + need < self.cap
        crowded = 2 * (place - head) > head or 4 * need > head
        if above and (place < WARM or crowded):
            return place
        if need >= head:
            return place if above else -1
        self.words[TURN] = place
        self.words[BASE + place] = WRAP
        if self.words[RESERVED] > 2 * max(place, WARM):
            self._trim(place + 1)
        return 0

    def reserve(self, end: int) -> None:
        """Reserve pages up to the place `end`. Under the producers' mutex.

        MemoryError or OSError if they cannot be had; nothing is kept then.
        """
        old = self.words[RESERVED]
        more = min(self.cap, _whole(max(end, old + min(old // 2, _GROWTH))))
        least = min(self.cap, _whole(end))
        for new in (more, least):
            try:
                self.memory.reserve((BASE + old) * 8, (BASE + new) * 8)
            except (MemoryError, OSError):
                self.memory.give_back((BASE + old) * 8, (BASE + new) * 8)
                if new == least:
                    raise
            else:
                self.words[RESERVED] = new
                return

    def _trim(self, end: int) -> None:
        """Give back all pages behind the place `end`, where nothing is. Producers' mutex."""
        old, new = self.words[RESERVED], _whole(end)
        if new < old:
            self.words[RESERVED] = new  # first: a page that is used has been reserved since
            self.memory.give_back((BASE + new) * 8, (BASE + old) * 8)

    def complete(self) -> None:
        """Complete the move that is written down, if there is one. Under both mutexes."""
        words = self.words
        if words[STATE] & MOVED:
            words[words[_J_AT]] = words[_J_WORD]
            words[TAIL], words[HEAD] = words[_J_TAIL], words[_J_HEAD]
            words[STATE] &= ~MOVED & MASK

    def _move(self, tail: int, head: int, at: int, word: int) -> None:
        words = self.words
        words[_J_TAIL], words[_J_HEAD], words[_J_AT], words[_J_WORD] = tail, head, at, word
        words[STATE] |= MOVED
        self.complete()

    def rewind(self) -> None:
        """Begin anew at place 0; the ring is empty. Under both mutexes."""
        start = self.words[TAIL] & ~PLACE
        self._move(start, start, _SCRATCH, 0)
        if self.words[RESERVED] > 2 * WARM:
            self._trim(WARM)

    def straighten(self, need: int) -> bool:
        """Make room of so many words by moving what stands before the head behind it all.

        Under both mutexes. False if that would not help. It undoes a turn that was too early.
        """
        words = self.words
        tail, head, turn = words[TAIL], words[HEAD], words[TURN]
        place = tail & PLACE
        if not 0 < place < head & PLACE or turn + place + need >= self.cap:
            return False
        if turn + place > words[RESERVED]:
            self.reserve(turn + place)
        source, target = BASE * 8 + 8, (BASE + turn) * 8 + 8
        self.map.move(target, source, place * 8 - 8)  # all but the first word, which marks the turn
        self._move((tail & ~PLACE) + turn + place, head, BASE + turn, words[BASE])
        return True


def _whole(end: int) -> int:
    """Return the end of the page in which the place `end` is."""
    return -(-end // (PAGE // 8)) * (PAGE // 8)

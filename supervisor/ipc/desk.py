"""What the workers of a pool say of themselves: a few words of shared memory for each seat.

A worker writes to its own seat only, and what it wrote last stands there after its death. Nobody
waits for anything here, and no word needs a lock.
"""

from __future__ import annotations

from typing import Any

from .memory import PAGE, Memory

# Whether its initializer has returned; the item in hand, from 1, and from bit 32 on how many are
# begun in a row with it, if several; since when, in ns.
BORN, ITEM, SINCE = 0, 1, 2
_WIDTH = 8  # words: a cache line for each seat


class Desk:
    """So many seats. OSError or MemoryError if the memory cannot be had."""

    def __init__(self, seats: int) -> None:
        size = -(-seats * _WIDTH * 8 // PAGE) * PAGE
        self._memory = Memory("pool", size)
        self._memory.reserve(0, size)
        self.words = self._memory.words

    def at(self, seat: int, what: int) -> int:
        """Return the place of a word."""
        return seat * _WIDTH + what

    def read(self, seat: int, what: int) -> int:
        """Return what the worker has written there."""
        return self.words[seat * _WIDTH + what]

    def clear(self, seat: int) -> None:
        """Prepare the seat for the next worker."""
        for what in (BORN, ITEM, SINCE):
            self.words[seat * _WIDTH + what] = 0

    def __getstate__(self) -> Any:  # noqa: ANN401 - pickle's business
        return self._memory

    def __setstate__(self, memory: Any) -> None:  # noqa: ANN401
        self._memory = memory
        self.words = memory.words

"""A sign of life without a wake-up: a moment that one process writes and another reads.

It is a page of memory that both share, forked as they are from one image.
"""

from __future__ import annotations

import mmap
import struct

_MOMENT = struct.Struct("=d")


class Beat:
    """The moment of the latest turn of somebody's loop (monotonic seconds); 0: none yet."""

    def __init__(self) -> None:
        self._page = mmap.mmap(-1, mmap.PAGESIZE)

    def reset(self) -> None:
        """Begin anew, for another process."""
        self.beat(0.0)

    def beat(self, now: float) -> None:
        """Write the moment."""
        _MOMENT.pack_into(self._page, 0, now)

    def latest(self) -> float:
        """Return the moment that was written last."""
        moment: float = _MOMENT.unpack_from(self._page)[0]
        return moment

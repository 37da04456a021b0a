"""What anchor and master tell each other without a wake-up, on a page of memory that both share.

The master writes when its loop has turned, the anchor which processes are its helpers, and either
that all is to end: what stands here is known to the other, whatever it is at.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Collection

_MOMENT = struct.Struct("=d")
_PIDS = struct.Struct("=8i")
_PIDS_AT = 64
_STOPPING_AT = 128


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

    def stop(self) -> None:
        """Write that all is to end, for every master to come as well."""
        self._page[_STOPPING_AT] = 1

    def stopping(self) -> bool:
        """Return whether all is to end."""
        return bool(self._page[_STOPPING_AT])

    def show(self, pids: Collection[int]) -> None:
        """Write the pids of the anchor's helpers, eight at most."""
        _PIDS.pack_into(self._page, _PIDS_AT, *(list(pids) + [0] * 8)[:8])

    def helpers(self) -> set[int]:
        """Return the pids of the anchor's helpers."""
        return set(_PIDS.unpack_from(self._page, _PIDS_AT)) - {0}

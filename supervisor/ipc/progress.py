"""A bar that moves as items of a pool's jobs are done with, whoever draws it.

What is drawn is the caller's: its errors are printed, and never reach the pool.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Iterator
from itertools import repeat
from typing import Any, TypeAlias

# An object with update(n), or what is called as tqdm is: (iterable, total=…), for a bar that
# has update(n) and close(), or for an iterator that moves on by one for each of its items.
Progress: TypeAlias = Any


def guarded(call: Callable[..., Any], *args: Any) -> Any:  # noqa: ANN401 - the user's
    """Return what the user's code returns; what it raises is printed, and None returned."""
    try:
        return call(*args)
    except Exception:  # noqa: BLE001 - the user's
        print("An exception in a callback of a pool is ignored:", file=sys.stderr)  # noqa: T201
        traceback.print_exc()
        return None


class Bar:
    """The progress of one job of `total` items (None: nobody knows yet)."""

    def __init__(self, progress: Progress, total: int | None) -> None:
        self._update: Callable[[int], object] | None = None
        self._close: Callable[[], object] | None = None
        self._ticks: Iterator[Any] = iter(())
        if hasattr(progress, "update") and not isinstance(progress, type):
            self._update = progress.update
        elif progress is not None:
            guarded(self._begin, progress, total)

    def _begin(self, progress: Progress, total: int | None) -> None:
        bar = progress(repeat(None) if total is None else repeat(None, total), total=total)
        self._update, self._close = getattr(bar, "update", None), getattr(bar, "close", None)
        if self._update is None:
            self._ticks = iter(bar)
            self._update = self._tick

    def _tick(self, count: int) -> None:
        for _ in range(count):
            next(self._ticks, None)

    def moved(self, count: int) -> None:
        """Tell that so many more items are done with."""
        if self._update is not None:
            guarded(self._update, count)

    def ended(self) -> None:
        """Tell that all are."""
        if self._update == self._tick:
            guarded(next, self._ticks, None)
        if self._close is not None:
            guarded(self._close)

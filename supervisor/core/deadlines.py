"""When replicas want to be told that time has passed: the soonest first.

Entries are never taken back: one that its replica does not wait for any more is passed over.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping

from .states import Service


class Deadlines:
    """The deadlines of these replicas."""

    def __init__(self, services: Mapping[str, Service]) -> None:
        self._services = services
        self._heap: list[tuple[float, str]] = []

    def __len__(self) -> int:
        """Return how many entries there are, outdated ones included."""
        return len(self._heap)

    def note(self, service: Service) -> None:
        """Remember its deadline, if it has one."""
        if service.deadline is not None:
            heapq.heappush(self._heap, (service.deadline, service.id))

    def first(self) -> float | None:
        """Return the soonest (monotonic seconds), or None."""
        while self._heap:
            when, key = self._heap[0]
            if self._waits(key, when):
                return when
            heapq.heappop(self._heap)
        return None

    def take(self, now: float) -> str | None:
        """Return the id of one that waits no longer, which is its entry's end; None: no more."""
        while self._heap and self._heap[0][0] <= now:
            when, key = heapq.heappop(self._heap)
            if self._waits(key, when):
                return key
        return None

    def _waits(self, key: str, when: float) -> bool:
        """Return whether the replica waits for just this instant."""
        return key in self._services and self._services[key].deadline == when

"""One epoll and the callbacks that belong to its descriptors.

It never blocks longer than it is told to, and never delivers news to somebody who has not asked
for it: an event that was read for a descriptor which has been forgotten, or closed and given out
anew, while the same batch was being delivered, is dropped.
"""

from __future__ import annotations

import select
import time
from collections.abc import Callable

Heard = Callable[[int], None]


class _Watch:
    """One call of watch(): its identity tells a reused descriptor number from the one before."""

    __slots__ = ("events", "heard")

    def __init__(self, heard: Heard, events: int) -> None:
        self.heard = heard
        self.events = events


class Poller:
    """Descriptors are watched until they are forgotten; forget them before they are closed."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._watches: dict[int, _Watch] = {}
        self._later: list[Callable[[], None]] = []
        self.heard_at = 0.0  # monotonic; all that had happened by then has been delivered

    def fileno(self) -> int:
        """Return a descriptor that is readable when wait() has something to deliver."""
        return self._epoll.fileno()

    def watch(self, fd: int, heard: Heard, events: int = select.EPOLLIN) -> None:
        """Call heard(event mask) whenever `fd` is ready; one watch a descriptor."""
        if fd in self._watches:
            self.forget(fd)
        self._epoll.register(fd, events)
        self._watches[fd] = _Watch(heard, events)

    def change(self, fd: int, events: int) -> None:
        """Wait for other events of a watched descriptor; 0 waits for errors and hang-up only."""
        watch = self._watches[fd]
        if watch.events != events:
            self._epoll.modify(fd, events)
            watch.events = events

    def forget(self, fd: int) -> None:
        """Watch `fd` no longer; an unknown descriptor is fine."""
        if self._watches.pop(fd, None) is not None:
            try:
                self._epoll.unregister(fd)
            except OSError:  # closed too early: the kernel has forgotten it already
                return

    def later(self, call: Callable[[], None]) -> None:
        """Call `call` once, when the batch that is being delivered is over; soon if there is none.

        So that work which is dear for each descriptor is done once for a thousand of them.
        """
        self._later.append(call)

    def wait(self, limit: float | None) -> None:
        """Wait at most `limit` seconds (None: for ever) and deliver one batch."""
        if self._later:
            limit = 0.0
        watches = self._watches
        self.heard_at = time.monotonic()
        ready = self._epoll.poll(limit)
        if not ready:  # also where we were stopped and continued meanwhile, whatever has happened
            self.heard_at = time.monotonic()
            ready = self._epoll.poll(0)
        batch = [(fd, mask, watches.get(fd)) for fd, mask in ready]
        for fd, mask, watch in batch:
            if watch is not None and watches.get(fd) is watch:
                watch.heard(mask)
        calls, self._later = self._later, []
        for call in calls:
            call()

    def close(self) -> None:
        """Let go of the epoll; the watched descriptors stay open."""
        self._watches.clear()
        self._later.clear()
        self._epoll.close()

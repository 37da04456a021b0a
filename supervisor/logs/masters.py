"""The writer's line to the master there is: the anchor hands over a new one when that dies."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time
from collections.abc import Callable
from typing import Any

from supervisor.ipc.pidfd import open_pidfd, send_signal
from supervisor.unix import kin, rights
from supervisor.unix.lines import LineConnection
from supervisor.unix.poller import Poller

STOPPED = 1.0  # seconds from the anchor's end on, after which a master that stands still is killed
HUNG = 30.0  # the same for one that does not come to its end
_GLANCE = 0.25


class Masters:
    """One master after the other, until they and the anchor are gone.

    heard(message) is called for what a master says, alone() when nobody is left.
    """

    def __init__(
        self,
        anchor: socket.socket,
        poller: Poller,
        heard: Callable[[dict[str, Any]], None],
        alone: Callable[[], None],
    ) -> None:
        self._anchor: socket.socket | None = anchor
        self._poller = poller
        self._heard = heard
        self._alone = alone
        self._line: LineConnection | None = None
        self._pid = 0
        self._alone_since = 0.0  # when the anchor ended
        poller.watch(anchor.fileno(), self._hear_anchor)

    @property
    def backlog(self) -> int:
        """Return how many bytes the master has not taken yet."""
        return self._line.backlog if self._line else 0

    def tell(self, message: dict[str, Any]) -> None:
        """Say it to the master there is; the next one asks itself for what it needs."""
        if self._line is not None:
            self._line.send(message)

    def patience(self) -> float | None:
        """Return the seconds until urge() is due, where a master has lost its anchor."""
        return _GLANCE if self._anchor is None and self._line is not None else None

    def urge(self) -> None:
        """KILL a master that could not even hear that the anchor is gone, and that all is to end.

        Its line is open: the number is still its own.
        """
        waited = time.monotonic() - self._alone_since
        if not self._pid or self.patience() is None or waited < STOPPED:
            return
        with contextlib.suppress(OSError):
            pidfd = open_pidfd(self._pid)
            seen = kin.stat(self._pid)
            if waited > HUNG or (seen is not None and seen.state in "Tt"):
                send_signal(pidfd, signal.SIGKILL)
            os.close(pidfd)

    def close(self) -> None:
        """Hear no more."""
        if self._line is not None:
            self._line.close()

    def _hear_anchor(self, _mask: int) -> None:
        assert self._anchor is not None
        text, fds = rights.receive(self._anchor)
        for fd in fds:
            self.close()
            sock = socket.socket(fileno=fd)
            self._line = LineConnection(sock, self._poller, self._heard, self._lost)
            self._pid = int((text or "").partition(" ")[2] or 0)
            self.tell({"hello": os.getpid()})
        if text == "":
            self._poller.forget(self._anchor.fileno())
            self._anchor.close()
            self._anchor, self._alone_since = None, time.monotonic()
            if self._line is None:
                self._alone()

    def _lost(self) -> None:
        self._line = None
        if self._anchor is None:
            self._alone()

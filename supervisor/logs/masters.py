"""The writer's line to the master there is: the anchor hands over a new one when that dies."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from typing import Any

from supervisor.unix import rights
from supervisor.unix.lines import LineConnection
from supervisor.unix.poller import Poller


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
        poller.watch(anchor.fileno(), self._hear_anchor)

    @property
    def backlog(self) -> int:
        """Return how many bytes the master has not taken yet."""
        return self._line.backlog if self._line else 0

    def tell(self, message: dict[str, Any]) -> None:
        """Say it to the master there is; the next one asks itself for what it needs."""
        if self._line is not None:
            self._line.send(message)

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
            self.tell({"hello": os.getpid()})
        if text == "":
            self._poller.forget(self._anchor.fileno())
            self._anchor.close()
            self._anchor = None
            if self._line is None:
                self._alone()

    def _lost(self) -> None:
        self._line = None
        if self._anchor is None:
            self._alone()

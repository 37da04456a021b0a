"""What the log writer knows of a stream: its runs in order, and who of them is read."""

from __future__ import annotations

import os
from collections import deque

from .formats import Rules
from .stream import Stream


class Run:
    """One run of a stream: its FIFO, and whether all of its processes have gone."""

    __slots__ = ("ended", "fd", "fifo", "number", "rules")

    def __init__(self, number: int, fifo: str, rules: Rules) -> None:
        self.number = number
        self.fifo = fifo
        self.rules = rules
        self.ended = False
        self.fd = -1

    def open(self) -> None:
        """Open the FIFO; it never ends then, whoever else has it open."""
        if self.fd < 0:
            self.fd = os.open(self.fifo, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)

    def close(self) -> None:
        """Close the FIFO; what is in it is kept as long as somebody else has it open."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


class Lane:
    """One stream and its runs in order: the first is read, the others wait for its end."""

    __slots__ = ("begun", "id", "retry_at", "runs", "stream")

    def __init__(self, name: str) -> None:
        self.id = name
        self.runs: deque[Run] = deque()
        self.stream: Stream | None = None
        self.begun = False  # the first run is being read
        self.retry_at = 0.0  # while something cannot be written

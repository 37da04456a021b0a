"""What the log writer knows of a stream: its runs in order, and who of them is read."""

from __future__ import annotations

import contextlib
import os
from collections import deque

from supervisor.ipc.relay import RelayQueue

from .formats import Rules
from .stream import Stream

LAST_TURNS = 8  # batches of a stream in a row: more than a pipe can hold


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

    def patience(self) -> float | None:
        """Return the seconds until it is to be told what is suppressed; None: nothing is."""
        return self.stream.patience() if self.stream and self.runs else None

    def begin_to_drop(self, queue: RelayQueue[str]) -> None:
        """Drop all of the runs that have ended, and have the one that goes on in the queue."""
        for run in self.runs:
            with contextlib.suppress(OSError):  # its FIFO is told of when it is its turn
                run.open()
                queue.add(self.id, run.fd)
                if not run.ended or run is self.runs[-1]:
                    return
                for _ in range(LAST_TURNS):
                    if not self.drop(queue):
                        break
            queue.remove(self.id)

    def drop(self, queue: RelayQueue[str]) -> int | None:
        """Drop what is there now; return how much, None if nothing."""
        assert self.stream is not None
        try:
            return self.stream.discard(lambda target: queue.splice(self.id, target))
        except OSError:  # the runtime directory is full as well: it has to wait
            queue.remove(self.id)
            return None

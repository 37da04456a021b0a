"""What the log writer knows of a stream: its runs in order, and who of them is read."""

from __future__ import annotations

import contextlib
import os
from collections import deque

from supervisor.ipc.relay import RelayQueue

from .formats import Rules
from .stream import Stream

_FIFO = os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW
_SIDE = "+"  # behind an id, which has no such sign: the key of its records
LAST_TURNS = 8  # batches of a run in a row: more than a pipe can hold


class Run:
    """One run of a stream: its FIFO, and whether all of its processes have gone."""

    __slots__ = ("ended", "fd", "fifo", "number", "records", "rules", "side")

    def __init__(self, number: int, fifo: str, rules: Rules) -> None:
        self.number = number
        self.fifo = fifo
        self.rules = rules
        self.ended = False
        self.fd = -1
        self.records = ""  # its FIFO for records, if it has one
        self.side = -1

    def open(self) -> None:
        """Open the FIFO; it never ends then, whoever else has it open."""
        if self.fd < 0:
            self.fd = os.open(self.fifo, _FIFO)
        if self.records and self.side < 0:
            with contextlib.suppress(FileNotFoundError):  # removed, with what was in it
                self.side = os.open(self.records, _FIFO)

    def close(self) -> None:
        """Close the FIFO; what is in it is kept as long as somebody else has it open."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1
        if self.side >= 0:
            os.close(self.side)
            self.side = -1


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

    def listen(self, queue: RelayQueue[str]) -> None:
        """Have the run that is read in the queue; OSError."""
        self.runs[0].open()
        self._add(queue, self.runs[0])

    def take_records(self, number: int, fifo: str, queue: RelayQueue[str]) -> None:
        """Know the FIFO for the records of a run that is open already; OSError: hear it anew."""
        for run in self.runs:
            if run.number == number:
                run.records = fifo
                if self.begun and run is self.runs[0] and self.id in queue:
                    self.listen(queue)
                    return
                with contextlib.suppress(OSError):  # tried again when it is its turn
                    run.open()

    def leave(self, queue: RelayQueue[str]) -> None:
        """Have no run in the queue."""
        queue.remove(self.id)
        queue.remove(self.id + _SIDE)

    def take(self, queue: RelayQueue[str]) -> int | None:
        """Write a batch of what is there now; return how much it was, None for nothing."""
        assert self.stream is not None
        taken = self.stream.write_batch(lambda target: queue.splice(self.id, target))
        if (side := self.id + _SIDE) in queue:
            more = self.stream.write_batch(lambda target: queue.splice(side, target), records=True)
            return (taken or 0) + (more or 0) or None
        return taken

    def _add(self, queue: RelayQueue[str], run: Run) -> None:
        if self.id not in queue:
            queue.add(self.id, run.fd)
        if run.side >= 0 and self.id + _SIDE not in queue:
            queue.add(self.id + _SIDE, run.side)

    def begin_to_drop(self, queue: RelayQueue[str]) -> None:
        """Drop all of the runs that have ended, and have the one that goes on in the queue."""
        for run in self.runs:
            with contextlib.suppress(OSError):  # its FIFO is told of when it is its turn
                run.open()
                self._add(queue, run)
                if not run.ended or run is self.runs[-1]:
                    return
                for _ in range(LAST_TURNS):
                    if not self.drop(queue):
                        break
            self.leave(queue)

    def drop(self, queue: RelayQueue[str]) -> int | None:
        """Drop what is there now; return how much, None if nothing."""
        assert self.stream is not None
        try:
            size = self.stream.discard(lambda target: queue.splice(self.id, target))
            if (side := self.id + _SIDE) in queue:
                more = self.stream.discard(lambda target: queue.splice(side, target), records=True)
                return (size or 0) + (more or 0) or None
        except OSError:  # the runtime directory is full as well: it has to wait
            self.leave(queue)
            return None
        return size


def lane_of(key: str) -> str:
    """Return the id of the lane whose key in the queue it is."""
    return key.removesuffix(_SIDE)

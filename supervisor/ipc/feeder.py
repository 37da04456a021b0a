"""Cuts the items of a job into tasks and submits them: here and now, or in a thread of its own.

The thread is for iterables that may be endless, and for jobs that are asked for without being
waited for; it begins with the first of them. What an iterable raises is its job's error.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from queue import SimpleQueue
from typing import Any, Protocol

from .flight import Call, Flight, Job, Task

_LOOK = 1.0  # seconds after which one who waits for room looks whether there is a pool at all
_SHORT = 32  # numbers that are pickled sooner than a range of them


class Fed(Job, Protocol):
    """A job whose items come one after the other."""

    def broken(self, at: int, error: BaseException) -> None:
        """Take the error of where the items come from: there are none from `at` on."""

    def complete(self, length: int) -> None:
        """Take the number of items."""

    def abandon(self, error: BaseException) -> None:
        """End with an error, whatever comes later."""


@dataclass(frozen=True, slots=True)
class Batch:
    """What is to be done with each item, so many of them in a task."""

    job: Fed
    kind: int
    func: Callable[..., Any]
    items: Iterable[Any]
    size: int


class Feeder:
    """Submits batches to a flight, until `over`."""

    def __init__(self, flight: Flight) -> None:
        self._flight = flight
        self.over = False
        self._batches: SimpleQueue[Batch | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self.fed = 0  # batches that were put off and are done with; asked for: see `put_off`
        self.put_off = 0

    @property
    def busy(self) -> bool:
        """Whether a batch that was put off is not yet submitted to its end."""
        return self.fed != self.put_off

    def later(self, batch: Batch) -> None:
        """Submit a batch in the thread."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="pool feeder", daemon=True)
            self._thread.start()
        self.put_off += 1
        self._batches.put(batch)

    def _run(self) -> None:
        while (batch := self._batches.get()) is not None:
            with contextlib.suppress(BaseException):  # its job has been told
                self.feed(batch)
            self.fed += 1
            batch = None
            self._flight.wake.up()

    def feed(self, batch: Batch, *, patient: bool = True) -> None:
        """Submit a batch; if not `patient`, without waiting for room."""
        base = 0
        try:
            call = Call.of(batch.kind, batch.func)
            for part in _parts(batch.items, batch.size):
                if self.over:
                    return
                self._send(batch.job, call, base, part)
                base += len(part)
                while patient and self._flight.crowded and not self.over:
                    self._flight.space.wait(_LOOK)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - the user's iterable
            batch.job.broken(base, error)
        except BaseException as error:
            batch.job.abandon(error)
            raise
        else:
            batch.job.complete(base)

    def _send(self, job: Fed, call: Call, base: int, part: Sequence[Any]) -> None:
        try:
            data = call.packed(part)
        except Exception as error:  # noqa: BLE001 - the user's classes: their error is the answer
            job.failed(base, len(part), error)
        else:
            self._flight.submit(Task(job, base, call, data, len(part)))

    def end(self) -> None:
        """Feed no more; the thread ends when its iterable lets it."""
        self.over = True
        self._flight.space.set()
        self._batches.put(None)

    def join(self) -> None:
        """Wait for the thread, unless it is at an iterable that may never let it go."""
        if self._thread is not None and not self.busy:
            self._thread.join()


def _parts(items: Iterable[Any], size: int) -> Iterator[Sequence[Any]]:
    """Cut items into parts of a size; a long range stays one, which is small when pickled."""
    sliced = {list, tuple, range} if size > _SHORT else {list, tuple}
    if isinstance(items, Sequence) and type(items) in sliced:
        for start in range(0, len(items), size):
            yield items[start : start + size]
        return
    rest = iter(items)
    while part := tuple(islice(rest, size)):
        yield part

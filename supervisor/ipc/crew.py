"""The worker processes of a pool: one on each seat, born anew when it dies, ended with the pool.

They are children of the process that has the pool, and die with it. Death is a pidfd that can be
read; nothing is concluded from time passing. Only the manager's thread starts workers, but for the
first ones, which the main thread forks before there is any other.
"""

from __future__ import annotations

import select
import time
from dataclasses import dataclass

from .crash import Death
from .desk import BORN
from .flight import Flight
from .pidfd import wait
from .process import Process
from .worker import Terms, work

_GRACE = 5.0  # seconds from TERM to KILL
_BIRTHS = 20  # that may fail in a row before it is no use to go on


class Worker(Process):
    """A process that dies with the pool's, and is started without a warning: see Pool."""

    def _settle(self) -> None:
        self.die_with_parent = True


@dataclass(frozen=True, slots=True)
class Style:
    """How workers are made: by fork or spawn, and for what."""

    method: str
    terms: Terms


class Crew:
    """The workers of a Flight; their sentinels are kept registered with `poll`."""

    def __init__(self, flight: Flight, style: Style, poll: select.poll) -> None:
        self._flight, self._style, self._poll = flight, style, poll
        self.workers: list[Process] = []  # those that live, or are not buried yet
        self._seats: dict[int, Process] = {}
        self._by_sentinel: dict[int, int] = {}
        self._failed_births = 0

    @property
    def forks(self) -> bool:
        """Whether workers are forked from this process as it is."""
        return self._style.method == "fork"

    def fill(self, seats: int) -> None:
        """Have a worker on each of so many seats. OSError and others if one cannot be started."""
        for seat in range(seats):
            if seat not in self._seats:
                self._begin(seat)

    def _begin(self, seat: int) -> None:
        flight = self._flight
        worker = Worker(
            target=work,
            args=(seat, flight.tasks, flight.results, flight.desk, self._style.terms),
            daemon=True,
            start_method=self._style.method,
        )
        worker.name = worker.name.replace("Worker", "PoolWorker")
        try:
            worker.start()
        except Exception:
            self._failed_births += 1
            raise
        self._seats[seat] = worker
        self._by_sentinel[worker.sentinel] = seat
        self.workers.append(worker)
        self._poll.register(worker.sentinel, select.POLLIN)

    @property
    def hopeless(self) -> bool:
        """Whether one worker after the other has died before it was ready."""
        return self._failed_births >= _BIRTHS

    def hope(self) -> None:
        """Try anew."""
        self._failed_births = 0

    def seat_of(self, sentinel: int) -> int | None:
        """Return whose sentinel it is."""
        return self._by_sentinel.get(sentinel)

    def seats(self) -> list[int]:
        """Return the seats that are taken."""
        return list(self._seats)

    def bury(self, seat: int) -> Death:
        """Let go of a dead worker, whose seat is free then; return how it ended."""
        worker = self._seats.pop(seat)
        del self._by_sentinel[worker.sentinel]
        self._poll.unregister(worker.sentinel)
        worker.join()
        self._failed_births = 0 if self._flight.desk.read(seat, BORN) else self._failed_births + 1
        death = Death(worker.pid, worker.exitcode)
        self.workers.remove(worker)
        worker.close()
        return death

    def kill(self, seat: int) -> None:
        """Kill the worker on a seat; its death is heard as any other."""
        self._seats[seat].kill()

    def end(self) -> None:
        """End all workers: by TERM, and those that do not obey in time by KILL."""
        for worker in self._seats.values():
            worker.terminate()
        limit = time.monotonic() + _GRACE
        for worker in self._seats.values():
            if not wait(worker.sentinel, limit - time.monotonic()):
                worker.kill()
        for seat in self.seats():
            self.bury(seat)

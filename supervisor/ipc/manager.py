"""The thread that manages a pool: lands results, buries the dead, hires, and ends it all.

It waits on descriptors alone: results that have come, sentinels of workers, and its own flag. A
time plays a part only where the user has set a limit for tasks, or where no worker can be started.
It knows nothing of the Pool object, so that a pool that nobody has any more can be ended.
"""

from __future__ import annotations

import os
import select
import threading
import time
from multiprocessing import ProcessError
from multiprocessing.pool import CLOSE, RUN, TERMINATE

from .crash import Death, TaskCrashed
from .crew import Crew, Style
from .desk import SINCE
from .feeder import Feeder
from .flight import Flight, Hand
from .results import Jobs

_PAUSE = 0.1  # seconds before another try to start a worker


class Manager:
    """The works behind a pool of so many workers, on which one thread works."""

    def __init__(self, size: int, style: Style, max_retries: int, limit: float | None) -> None:
        self._size, self._limit = size, limit
        self.flight = Flight(size, max_retries)
        self.jobs = Jobs()
        self.feeder = Feeder(self.flight)
        self._poll = select.poll()
        for fd in (self.flight.results.some.fd, self.flight.wake.fd):
            self._poll.register(fd, select.POLLIN)
        self.crew = Crew(self.flight, style, self._poll)
        self.phase: str = RUN
        self.over = False
        self._crowded = self._resting = False  # a task waits for room; no worker can be started
        self._next_try = 0.0
        self._killed: dict[int, Hand] = {}  # by seat: what has run for too long
        self._begun = threading.Event()
        self._obstacle: BaseException | None = None
        self._last = Death(None, None)
        self.thread = threading.Thread(target=self._run, name="pool manager", daemon=True)

    def start(self) -> None:
        """Hire all workers and begin; raise what stands in the way.

        A worker dies with the thread that started it: the main thread, or the pool's own.
        """
        if self.crew.forks and threading.get_native_id() == os.getpid():
            try:
                self.crew.fill(self._size)
            except BaseException:
                self.crew.end()
                raise
            self._begun.set()
        self.thread.start()
        self._begun.wait()
        if self._obstacle is not None:
            raise self._obstacle

    def move(self, phase: str) -> None:
        """Go on to CLOSE or TERMINATE; never back."""
        if self.phase == RUN or phase == TERMINATE:
            self.phase = phase
        if phase == TERMINATE:
            self.feeder.end()
        self.flight.wake.up()

    def terminate(self) -> None:
        """End everything now. Returns when all workers are dead."""
        self.move(TERMINATE)
        if threading.current_thread() is not self.thread:
            self.thread.join()

    def _run(self) -> None:
        try:
            if not self._begun.is_set():
                self._hire_all()
            while self.phase == RUN or (self.phase == CLOSE and (self.jobs or self.feeder.busy)):
                self._turn()
            if self.phase == CLOSE:
                self._dismiss()
        except BaseException as error:
            self._obstacle = error
            raise
        finally:
            self._leave()

    def _hire_all(self) -> None:
        try:
            self.crew.fill(self._size)
        except Exception as error:  # noqa: BLE001 - raised in the thread that wants a pool
            self._obstacle = error
            self.phase = TERMINATE
        self._begun.set()

    def _turn(self) -> None:
        for fd, _ in self._poll.poll(self._hire()):
            self._heard(fd)
        self.flight.land()
        if self.flight.push() != self._crowded:
            self._crowded = not self._crowded
            room = self.flight.tasks.room.fd
            if self._crowded:
                self._poll.register(room, select.POLLIN)
            else:
                self._poll.unregister(room)

    def _heard(self, fd: int) -> None:
        if fd == self.flight.wake.fd:
            self.flight.wake.down()
        seat = self.crew.seat_of(fd)
        if seat is not None:
            self._last = self.crew.bury(seat)
            hand = self.flight.hand(seat)
            self.flight.land_all()
            overdue = self._killed.pop(seat, None)
            if hand is not None:
                self.flight.judge(hand, self._last, overdue)

    def _hire(self) -> float | None:
        """Fill the seats; return the milliseconds after which to look again, None: at any event."""
        now = time.monotonic()
        if self._resting and not len(self.flight):
            return _PAUSE * 1000
        self._resting = False
        if self.crew.hopeless and not self.crew.seats():
            self._give_up()
            return 0
        if now < self._next_try:
            return _PAUSE * 1000
        try:
            self.crew.fill(self._size)
        except OSError as error:
            self._obstacle = error
            self._next_try = now + _PAUSE
            return _PAUSE * 1000
        return self._overdue(now)

    def _give_up(self) -> None:
        """Fail what is in flight, and try anew when there is more."""
        text = f"cannot start a worker: {self._obstacle or self._last}"
        self._resting, self._obstacle = True, None
        self.crew.hope()
        self.flight.abandon(TaskCrashed(text, self._last, 0))

    def _overdue(self, now: float) -> float | None:
        """Kill whoever has been at one item for too long; return when to look again, in ms."""
        if self._limit is None:
            return None
        least = self._limit  # whatever begins later has as much
        for seat in self.crew.seats():
            hand = self.flight.claim(seat)
            since = self.flight.desk.read(seat, SINCE)
            if not hand.word or not self.flight.underway(hand.number) or seat in self._killed:
                continue
            left = since / 1e9 + self._limit - now
            if left > 0:
                least = min(least, left)
            elif self.flight.claim(seat) == hand:
                self._killed[seat] = hand
                self.crew.kill(seat)
        return least * 1000 + 1

    def _dismiss(self) -> None:
        """Let the workers go; whoever dies meanwhile has gone as well."""
        self.flight.dismiss(len(self.crew.seats()))
        while self.crew.seats() and self.phase == CLOSE:
            for fd, _ in self._poll.poll():
                self._heard(fd)
            self.flight.land()

    def _leave(self) -> None:
        self.feeder.end()
        self.feeder.join()
        self.crew.end()
        self.over = True
        self.jobs.abandon(ProcessError("cannot have the result: the pool was terminated"))

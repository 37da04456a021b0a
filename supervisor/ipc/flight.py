"""Tasks on their way: into the ring, in a worker's hand, and back as results.

Whoever submits a task puts it into the ring himself and never waits; what finds no room is put in
by the manager later, in order. Each message of the ring has a number, and what is in flight is
known by it before a worker can see it. A death is judged by what stands in shared memory then:
which messages have been taken, which of them each worker claims, and which item it had begun.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from queue import Empty, Full
from types import BuiltinFunctionType, FunctionType
from typing import Any, NamedTuple, Protocol

from .crash import Death, TaskCrashed, TaskTimeout
from .desk import ITEM, Desk
from .ledger import COUNT, TAIL
from .memory import Flag
from .pickling import dumps, loads
from .ring import Ring
from .worker import FAILED, LARGE, LEAVE, RESULT, TASK

_NBYTES = 1 << 30
_BATCH = 256  # results taken at once
_IN_VAIN = 3  # times a task may be taken without one of its items being begun
_NAMED = frozenset({FunctionType, BuiltinFunctionType, type})  # pickled by name alone


class Job(Protocol):
    """Who waits for the items of a task. Places are counted over all items of the job."""

    def returned(self, at: int, values: list[Any]) -> None:
        """Take what items returned."""

    def failed(self, at: int, count: int, error: BaseException) -> None:
        """Take the error of items."""


class Call(NamedTuple):
    """What is done with the items of a task: a kind, and the function by its name, if it has one.

    Without a name the function is pickled with the items, which may have much in common with it.
    """

    kind: int
    name: bytes
    func: Callable[..., Any]

    @classmethod
    def of(cls, kind: int, func: Callable[..., Any]) -> Call:
        """Return the call of a function; whatever its pickling raises is raised here."""
        return cls(kind, dumps(func) if type(func) in _NAMED else b"", func)

    def packed(self, items: Sequence[Any]) -> bytes:
        """Return what a worker needs beside the name."""
        return dumps(items if self.name else (self.func, items))


class Task(NamedTuple):
    """The items from `first` to before `end` of those in `data`, which begin at `base` in the job.

    `attempts` is how often the first of them was begun, `in_vain` how often none was.
    """

    job: Job
    base: int
    call: Call
    data: bytes
    end: int
    first: int = 0
    attempts: int = 0
    in_vain: int = 0

    def message(self) -> bytes:
        """Return it as a worker takes it."""
        kind, name, _ = self.call
        return b"".join((TASK.pack(self.first, self.end, kind, len(name)), name, self.data))

    def fail(self, first: int, error: BaseException) -> None:
        """Fail all items from that one on."""
        self.job.failed(self.base + first, self.end - first, error)


@dataclass(frozen=True, slots=True)
class Hand:
    """What a worker has in hand: a task by its number, and items of it, from 1 on (0: none)."""

    number: int
    word: int

    @property
    def items(self) -> range:
        """The items that are begun, counted from 0; empty if none is."""
        first = (self.word & COUNT) - 1
        return range(first, first + (self.word >> 32 or 1)) if self.word else range(0)


class Flight:
    """What is in flight between a pool and its workers on so many seats."""

    def __init__(self, seats: int, max_retries: int) -> None:
        self.tasks, self.results = Ring(0, _NBYTES, seats), Ring(0, _NBYTES)
        self.desk = Desk(seats)
        self.wake = Flag(up=False)  # the manager
        self.space = threading.Event()  # set while no task waits for room
        self.space.set()
        self._seats, self._max_retries = seats, max_retries
        self._pending: dict[int, Task] = {}
        self._waiting: deque[Task] = deque()
        self._putting = threading.Lock()

    def __len__(self) -> int:
        return len(self._pending) + len(self._waiting)

    @property
    def crowded(self) -> bool:
        """Whether tasks wait for room."""
        return bool(self._waiting)

    def submit(self, task: Task) -> None:
        """Send a task on its way. Never waits; what cannot be sent fails."""
        if self._waiting or not self._putting.acquire(blocking=False):
            self._wait(task)
            return
        try:
            if not self._offered(task):
                self._wait(task)
        finally:
            self._putting.release()

    def _wait(self, task: Task) -> None:
        self.space.clear()
        self._waiting.append(task)
        self.wake.up()

    def _offered(self, task: Task, *, ask: bool = False) -> bool:
        """Put a task into the ring if there is room; if `ask`, see to it that room is told."""
        ring = self.tasks
        number = (ring.words[TAIL] >> 32) + 1 & COUNT  # nobody else puts anything there
        self._pending[number] = task
        try:
            message = task.message()
            if ring.offer(message, 0, None) or (ask and ring.put(message, 0, 0.0)):
                return True
            del self._pending[number]
        except Full:
            del self._pending[number]
        except Exception as error:  # noqa: BLE001 - too large, or no memory
            del self._pending[number]
            task.fail(task.first, error)
            return True
        except BaseException:
            if ring.words[TAIL] >> 32 != number:
                self._pending.pop(number, None)
            raise
        return False

    def push(self) -> bool:
        """Put in what has waited for room; True if something still does. By the manager only."""
        if self._waiting:
            with self._putting:
                while self._waiting:
                    if not self._offered(self._waiting[0], ask=True):
                        return True
                    self._waiting.popleft()
        self.space.set()
        return False

    def dismiss(self, workers: int) -> None:
        """Tell so many workers to leave."""
        for _ in range(workers):
            self.tasks.put(LEAVE)

    def land(self) -> int:
        """Hand some of the results that have come to their jobs; return how many. Manager only."""
        try:
            found = self.results.when_some(self._some_results, 0.0)
        except Empty:
            return 0
        for data, _ in found:
            self._landed(data)
        return len(found)

    def _some_results(self, limit: float | None) -> list[tuple[bytes, int]] | None:
        return self.results.take_many(limit, _BATCH)

    def land_all(self) -> None:
        """Hand all results that have come by now to their jobs. By the manager only."""
        left = self.results.count()
        while left > 0:
            left -= self.land()

    def _landed(self, data: bytes) -> None:
        number, first, end, failed = RESULT.unpack_from(data)
        task = self._pending.get(number)
        if task is None:  # its worker was judged dead, or the pool has been ended
            return
        try:
            what = loads(
                data[RESULT.size :] if len(data) < LARGE else memoryview(data)[RESULT.size :]
            )
        except Exception as error:  # noqa: BLE001 - whatever the user's classes raise
            failed, what = FAILED, error
        if failed:
            del self._pending[number]
            task.fail(first, what)
        else:
            if end == task.end:
                del self._pending[number]
            else:
                self._pending[number] = task._replace(first=end, attempts=0)
            task.job.returned(task.base + first, what)

    def hand(self, seat: int) -> Hand | None:
        """Return what a dead worker has in hand, if it has taken something; leave its seat clear.

        A claim to a message that was not taken is void; and somebody else may have taken it since.
        Ask before its results are landed: who took a message claims it until its result is there.
        """
        taken = self.tasks.taken()
        claims = [self.tasks.lease(each) for each in range(self._seats)]
        claim, word = claims[seat], self.desk.read(seat, ITEM)
        self.tasks.clear(seat)
        self.desk.clear(seat)
        void = (taken - claim) & COUNT > COUNT >> 1
        if not claim or void or claims.count(claim) > 1:
            return None
        return Hand(claim & COUNT, word)

    def judge(self, hand: Hand, death: Death, overdue: Hand | None) -> None:
        """Let run again, or fail, what a worker had in hand: all its results have landed.

        `overdue`: what it was killed for, if it was killed for running too long.
        """
        task = self._pending.pop(hand.number, None)
        if task is None:
            return
        begun = hand.items
        if not begun or begun.start < task.first:
            self._not_begun(task, hand, death)
            return
        if begun.start > task.first:  # they had returned, but what they returned is lost
            self.submit(task._replace(end=begun.start, in_vain=0))
            task = task._replace(attempts=0)
        if begun.stop < task.end:
            self.submit(task._replace(first=begun.stop, attempts=0, in_vain=0))
        if overdue is not None and overdue != hand:  # begun in the instant before it was killed
            self._again(task, begun, task.attempts)
        elif task.attempts < self._max_retries:
            self._again(task, begun, task.attempts + 1)
        else:
            error = _crash(death, task.attempts + 1, timeout=overdue is not None)
            task.job.failed(task.base + begun.start, len(begun), error)

    def _again(self, task: Task, items: range, attempts: int) -> None:
        """Let each of these items run alone."""
        for item in items:
            self.submit(task._replace(first=item, end=item + 1, attempts=attempts, in_vain=0))

    def _not_begun(self, task: Task, hand: Hand, death: Death) -> None:
        in_vain = 0 if hand.word else task.in_vain + 1
        if in_vain <= _IN_VAIN:
            self.submit(task._replace(in_vain=in_vain))
            return
        text = f"{death} before it could begin the task, {in_vain} times"
        task.fail(task.first, TaskCrashed(text, death, 0))

    def claim(self, seat: int) -> Hand:
        """Return what the living worker on that seat claims and does, at some instant."""
        return Hand(self.tasks.lease(seat) & COUNT, self.desk.read(seat, ITEM))

    def underway(self, number: int) -> bool:
        """Tell whether a task has been sent and not come back."""
        return number in self._pending

    def abandon(self, error: BaseException) -> None:
        """Fail all that is in flight. By the manager only."""
        with self._putting:
            tasks = [*self._pending.values(), *self._waiting]
            self._pending.clear()
            self._waiting.clear()
        for task in tasks:
            task.fail(task.first, error)
        self.space.set()


def _crash(death: Death, attempts: int, *, timeout: bool) -> TaskCrashed:
    again = f", at attempt {attempts}" if attempts > 1 else ""
    if timeout:
        text = f"the task ran for longer than it may, and was killed{again}"
        return TaskTimeout(text, death, attempts)
    return TaskCrashed(f"{death} while it ran the task{again}", death, attempts)

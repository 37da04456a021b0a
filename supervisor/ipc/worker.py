"""A worker of a pool: takes a task, runs its items in order, hands over what they returned.

It may be killed at any instruction, and whoever looks then must be able to tell what it had in
hand: the task queue has its claim to a task since before the task was taken, and its seat the
number of the item since before that was begun. It waits for nothing but tasks, and for room.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.pool import ExceptionWithTraceback, MaybeEncodingError  # type: ignore[attr-defined]
from typing import Any, NamedTuple, TypeAlias

from .desk import BORN, ITEM, SINCE, Desk
from .pickling import dumps, loads
from .ring import Ring

# What a task does with each of its items. One by IMAP keeps what returned before an item failed.
APPLY, MAP, STARMAP, IMAP = range(4)

TASK = struct.Struct("=IIII")  # first of its items to be run, and the end; kind; bytes of its name
RESULT = struct.Struct("=IIII")  # number of the task; first and end of the items; FAILED or 0
FAILED = 1  # what follows is the error of all items of the task from the first one on
LEAVE = b""  # a task: the worker that takes it ends

_NUMBER = (1 << 32) - 1
LARGE = 1 << 14  # bytes that are not copied for convenience
_MANY = 1 << 10  # items of map() which are begun in rows, if as many before took no _HANDOVER
_ROW = 1 << 6  # which fails as a whole: then map() fails, whoever of them it was
_HANDOVER = 0.01  # seconds of work after which results are handed over


Func: TypeAlias = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Terms:
    """What a worker is hired for; `timed`: its items have a time limit."""

    initializer: Callable[..., object] | None
    initargs: tuple[Any, ...]
    maxtasks: int | None
    timed: bool


def work(seat: int, tasks: Ring, results: Ring, desk: Desk, terms: Terms) -> None:
    """Be the worker on that seat."""
    if terms.initializer is not None:
        terms.initializer(*terms.initargs)
    worker = Worker(seat, tasks, results, desk)
    worker.timed = terms.timed
    desk.words[desk.at(seat, BORN)] = 1
    done = 0
    while (terms.maxtasks is None or done < terms.maxtasks) and worker.task():
        done += 1


class Order(NamedTuple):
    """A task as it was taken: run the items from `first` to before `end`."""

    number: int
    first: int
    end: int
    kind: int
    func: Func
    items: Sequence[Any]


class Worker:
    """The loop of a worker, one task at a time."""

    timed = False

    def __init__(self, seat: int, tasks: Ring, results: Ring, desk: Desk) -> None:
        self._seat, self._tasks, self._results = seat, tasks, results
        self._words = desk.words
        self._item, self._since = desk.at(seat, ITEM), desk.at(seat, SINCE)
        self._runs = {MAP: self._map, STARMAP: self._starmap, IMAP: self._imap}
        self._known: dict[bytes, Func] = {}

    def task(self) -> bool:
        """Take a task and run it; False if it was the word to leave."""
        tasks, seat = self._tasks, self._seat
        self._words[self._item] = 0  # first: a claim without an item is to a task not begun
        data, _ = tasks.take(None, seat) or tasks.get(None, seat)
        if data == LEAVE:
            return False
        first, end, kind, size = TASK.unpack_from(data)
        number = tasks.lease(seat) & _NUMBER
        try:
            func, items = self._read(data, size)
        except Exception as error:  # noqa: BLE001 - whatever the user's classes raise
            self._hand_over((number, first, end, FAILED), error)
            return True
        order = Order(number, first, end, kind, func, items)
        if end - first == 1:
            self._one(order)
        else:
            self._chunk(order)
        return True

    def _read(self, data: bytes, size: int) -> tuple[Func, Sequence[Any]]:
        """Return the function and the items of a task, whose function's name has that size."""
        start = TASK.size + size
        given = loads(data[start:] if len(data) < LARGE else memoryview(data)[start:])
        if not size:
            return given  # type: ignore[no-any-return]
        name = data[TASK.size : start]
        func = self._known.get(name)
        if func is None:
            func = self._known[name] = loads(name)
        return func, given

    def _one(self, order: Order) -> None:
        number, first, end, _, func, items = order
        if self.timed:
            self._words[self._since] = time.monotonic_ns()
        self._words[self._item] = end
        given = items[first]
        try:
            if order.kind == APPLY:
                args, kwds = given
                value = func(*args, **kwds)
            else:
                value = func(*given) if order.kind == STARMAP else func(given)
        except Exception as error:  # noqa: BLE001 - the user's
            self._hand_over((number, first, end, FAILED), _traced(error))
        else:
            self._hand_over((number, first, end, 0), [value])

    def _chunk(self, order: Order) -> None:
        """Run the items in parts that grow while they are quick, so that little is ever in hand."""
        run, at, shown, size = self._runs[order.kind], order.first, order.first, 1
        done: list[Any] = []
        begun = time.monotonic()
        while at < order.end:
            part = (
                order.items[at : at + size]
                if at + size <= order.end
                else order.items[at : order.end]
            )
            if self.timed:
                self._words[self._since] = time.monotonic_ns()
            try:
                run(order.func, part, at, done)
            except Exception as error:  # noqa: BLE001 - the user's
                at = shown + len(done)
                if self._hand_over((order.number, shown, at, 0), done):
                    self._hand_over((order.number, at, order.end, FAILED), _traced(error))
                return
            at += len(part)
            if at == order.end or time.monotonic() - begun > _HANDOVER:
                if not self._hand_over((order.number, shown, at, 0), done):
                    return
                shown, size, begun, done = at, 1, time.monotonic(), []
            elif not self.timed:
                size *= 2

    # The word for the item in hand is written by the loops themselves: nothing is cheaper.

    def _map(self, func: Func, part: Sequence[Any], at: int, done: list[Any]) -> None:
        words, item = self._words, self._item
        if len(part) < _MANY:
            done += [func(given) for words[item], given in enumerate(part, at + 1)]
            return
        for start in range(0, len(part), _ROW):
            row = part[start : start + _ROW]
            words[item] = len(row) << 32 | at + start + 1
            done += [func(given) for given in row]

    def _starmap(self, func: Func, part: Sequence[Any], at: int, done: list[Any]) -> None:
        words, item = self._words, self._item
        done += [func(*given) for words[item], given in enumerate(part, at + 1)]

    def _imap(self, func: Func, part: Sequence[Any], at: int, done: list[Any]) -> None:
        words, item, append = self._words, self._item, done.append
        for words[item], given in enumerate(part, at + 1):
            append(func(given))

    def _hand_over(self, head: tuple[int, int, int, int], what: Any) -> bool:  # noqa: ANN401
        """Put what the items returned, or why all from the first on fail.

        False if it cannot be put: then that has been put instead.
        """
        number, first, end, failed = head
        if first == end:
            return True
        value = what[0] if not failed and end - first == 1 else what
        try:
            data = dumps(what)
            value = f"{len(data)} bytes of pickle"
            message = RESULT.pack(*head) + data
            if not self._results.offer(message, 0, None):
                self._results.put(message)
        except Exception as error:  # noqa: BLE001 - the user's classes, or no memory
            wrapped = MaybeEncodingError(error, value)
            self._results.put(RESULT.pack(number, first, end, FAILED) + dumps(wrapped))
            return False
        return True


def _traced(error: Exception) -> ExceptionWithTraceback:
    return ExceptionWithTraceback(error, error.__traceback__)

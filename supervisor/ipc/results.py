"""What a pool gives its callers for what it does later: results, and iterators of results.

They are what multiprocessing's are, and a wait costs something only if there is something to wait
for. The manager's thread brings values and errors, also those of single items of a chunk; the
user's callbacks run in that thread, and what they raise is printed and hurts nobody.
"""

from __future__ import annotations

import multiprocessing.pool
import threading
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing import TimeoutError  # noqa: A004 - as multiprocessing has it
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, TypeAlias

from .progress import Bar, guarded

if TYPE_CHECKING:
    _Iterator = multiprocessing.pool.IMapIterator[Any]
else:  # it takes no parameter when the program runs
    _Iterator = multiprocessing.pool.IMapIterator

Callback: TypeAlias = Callable[[Any], object] | None


@dataclass(frozen=True, slots=True)
class Calls:
    """Whom to call with the value, or with the error."""

    value: Callback = None
    error: Callback = None


class Jobs:
    """The jobs of a pool that have not ended; each keeps its pool alive until then."""

    def __init__(self) -> None:
        self._owners: dict[Any, object] = {}
        self.accounting = threading.Lock()  # between the manager and whoever feeds a job

    def add(self, job: Any, pool: object) -> None:  # noqa: ANN401 - of several kinds
        """Note a job that begins."""
        self._owners[job] = pool

    def drop(self, job: Any) -> None:  # noqa: ANN401
        """Note that it has ended."""
        self._owners.pop(job, None)

    def __len__(self) -> int:
        return len(self._owners)

    def abandon(self, error: BaseException) -> None:
        """End all of them with an error."""
        for job in list(self._owners):
            job.abandon(error)


class AsyncResult(multiprocessing.pool.MapResult[Any]):
    """The result of one call, or of several, whose values make a list."""

    _calls = Calls()
    _bar = Bar(None, None)
    _value: Any = None
    _left = 1
    _single = True
    _error: BaseException | None = None
    _done = False

    def __init__(self, jobs: Jobs, calls: Calls | None = None) -> None:
        self._jobs = jobs
        if calls is not None:
            self._calls = calls

    def make_list(self, length: int, bar: Bar) -> None:
        """Be the result of several calls, whose progress is shown."""
        self._single, self._left, self._bar = False, length, bar
        self._value = [None] * length
        if length == 0:
            self._end()

    def ready(self) -> bool:
        """Tell whether the call has ended."""
        return self._done

    def successful(self) -> bool:
        """Tell whether it has ended without an error; ValueError if it has not ended."""
        if not self._done:
            raise ValueError(f"{self!r} not ready")
        return self._error is None

    def wait(self, timeout: float | None = None) -> None:
        """Wait until it has ended, at most `timeout` seconds."""
        if not self._done:
            # Whoever comes first makes the event; it is set by whoever sees it, or not needed.
            event = self.__dict__.setdefault("_event", threading.Event())
            if not self._done:
                event.wait(timeout)

    def get(self, timeout: float | None = None) -> Any:  # noqa: ANN401
        """Return the value, or raise the error; TimeoutError after `timeout` seconds."""
        self.wait(timeout)
        if not self._done:
            raise TimeoutError
        if self._error is not None:
            raise self._error
        return self._value

    def returned(self, at: int, values: list[Any]) -> None:
        """Take what items returned."""
        if self._done:
            return
        if self._single:
            self._value = values[0]
        else:
            self._value[at : at + len(values)] = values
        self._account(len(values))

    def failed(self, at: int, count: int, error: BaseException) -> None:  # noqa: ARG002
        """Take the error of items; the first one is the call's."""
        if self._error is None and not self._done:
            self._error = error
        self._account(count)

    def broken(self, at: int, error: BaseException) -> None:
        """Take the error of where the items come from: there are none from `at` on."""
        self.failed(at, self._left if self._single else len(self._value) - at, error)

    def complete(self, length: int) -> None:
        """Take the number of items, which is known before."""

    def abandon(self, error: BaseException) -> None:
        """End with an error, whatever comes later; nobody is called."""
        if not self._done:
            self._error, self._calls = error, Calls()
            self._end()

    def _account(self, count: int) -> None:
        self._bar.moved(count)
        with self._jobs.accounting:
            self._left -= count
            last = self._left == 0
        if last and not self._done:
            call = self._calls.value if self._error is None else self._calls.error
            if call is not None:
                guarded(call, self._value if self._error is None else self._error)
            self._end()

    def _end(self) -> None:
        if self._error is not None:
            self._value = None
        self._bar.ended()
        self._done = True
        self._jobs.drop(self)
        event = self.__dict__.get("_event")
        if event is not None:
            event.set()


class IMapUnorderedIterator(_Iterator):
    """The results of items as they come."""

    def __init__(self, jobs: Jobs, bar: Bar) -> None:
        self._jobs, self._bar = jobs, bar
        self._came: SimpleQueue[tuple[bool, Any] | None] = SimpleQueue()
        self._count = 0
        self._length: int | None = None
        self._accounting = threading.Lock()  # between the manager and who feeds the job

    def next(self, timeout: float | None = None) -> Any:  # noqa: ANN401
        """Return the next result, or raise its error; TimeoutError after `timeout` seconds."""
        try:
            found = self._came.get(timeout=None if timeout is None else max(0.0, timeout))
        except Empty:
            raise TimeoutError from None
        if found is None:
            self._came.put(None)  # for whoever asks again
            raise StopIteration
        good, value = found
        if good:
            return value
        raise value

    __next__ = next  # noqa: A003 - the method's name is multiprocessing's

    def __iter__(self) -> IMapUnorderedIterator:
        return self

    def returned(self, at: int, values: list[Any]) -> None:
        """Take what items returned."""
        with self._accounting:
            if self._count != self._length:
                self._take(at, len(values), [(True, value) for value in values])

    def failed(self, at: int, count: int, error: BaseException) -> None:
        """Take the error of items: it is raised once for them all."""
        with self._accounting:
            if self._count != self._length:
                self._take(at, count, [(False, error)])

    def broken(self, at: int, error: BaseException) -> None:
        """Take the error of where the items come from: it stands at `at`, and is the last one."""
        self.failed(at, 1, error)
        self.complete(at + 1)

    def complete(self, length: int) -> None:
        """Take the number of items, once it is known."""
        with self._accounting:
            self._length = length
            self._look()

    def abandon(self, error: BaseException) -> None:
        """End with an error."""
        with self._accounting:
            if self._length != self._count:
                self._came.put((False, error))
                self._length = self._count
                self._look()

    def _take(self, at: int, count: int, found: list[tuple[bool, Any]]) -> None:  # noqa: ARG002
        for each in found:
            self._came.put(each)
        self._moved(count)

    def _moved(self, count: int) -> None:
        self._count += count
        self._bar.moved(count)
        self._look()

    def _look(self) -> None:
        if self._count == self._length:
            self._came.put(None)
            self._bar.ended()
            self._jobs.drop(self)


class IMapIterator(IMapUnorderedIterator):
    """The results of items in their order."""

    def __init__(self, jobs: Jobs, bar: Bar) -> None:
        super().__init__(jobs, bar)
        self._early: dict[int, tuple[int, list[tuple[bool, Any]]]] = {}

    def _take(self, at: int, count: int, found: list[tuple[bool, Any]]) -> None:
        self._early[at] = count, found
        while self._count in self._early:
            count, found = self._early.pop(self._count)
            super()._take(at, count, found)

"""Pool as multiprocessing has it, where the death of a worker costs one task, or none.

A killed worker's task runs again, as often as `max_retries` allows, or fails with TaskCrashed,
which names the signal; all others go on, and close() and join() return. Which items may run twice
is told in the README beside this. Workers are forked by the caller, and later ones by a thread of
the pool; where the program has threads of its own, a spawn context is safer, as with any fork.
"""

from __future__ import annotations

import multiprocessing.pool
import os
import threading
import warnings
from collections.abc import Callable, Iterable, Mapping, Sized
from dataclasses import dataclass, field
from multiprocessing import util
from multiprocessing.pool import CLOSE, INIT, RUN, TERMINATE
from typing import Any, TypeAlias, TypeVar

from .crew import Style
from .feeder import Batch
from .flight import Call, Task
from .ledger import SLOTS
from .manager import Manager
from .process import Process, method_in_force
from .progress import Bar, Progress
from .results import AsyncResult, Callback, Calls, IMapIterator, IMapUnorderedIterator
from .worker import APPLY, IMAP, MAP, STARMAP, Func, Terms

Items: TypeAlias = Iterable[Any]
Size: TypeAlias = int | None

_AT_ONCE = 64  # tasks that map_async() submits itself; more are left to a thread


class Pool(multiprocessing.pool.Pool):
    """So many worker processes; the first five arguments are multiprocessing's.

    A task whose worker died runs again up to `max_retries` times. One item may take `task_timeout`
    seconds, then its worker is killed. `progress` is asked to show how far map and its kin are: an
    object with update(n), or what is called as tqdm is. OSError if the workers cannot be started.
    """

    _state = INIT
    _call: Call | None = None  # the last one of apply(): a function is often called again

    def __init__(  # noqa: PLR0913 - the signature is multiprocessing's
        self,
        processes: int | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: Items = (),
        maxtasksperchild: int | None = None,
        context: Any = None,  # noqa: ANN401 - a context of multiprocessing
        *,
        max_retries: int = 0,
        task_timeout: float | None = None,
        progress: Progress = None,
    ) -> None:
        size = _cpus() if processes is None else processes
        _check(size, initializer, maxtasksperchild)
        if max_retries < 0 or (task_timeout is not None and task_timeout <= 0):
            raise ValueError("cannot retry less than never, nor limit a task to no time")
        method = context.get_start_method() if context is not None else method_in_force()
        terms = Terms(initializer, tuple(initargs), maxtasksperchild, task_timeout is not None)
        style = Style("fork" if method == "fork" else "spawn", terms)
        self._progress, self._processes, self._pid = progress, size, os.getpid()
        self._manager = manager = Manager(size, style, max_retries, task_timeout)
        manager.start()
        self._terminate = util.Finalize(self, manager.terminate, exitpriority=15)
        self._state = RUN

    @property
    def _pool(self) -> list[Process]:
        return self._manager.crew.workers

    def _check_running(self) -> None:
        if self._state != RUN or self._pid != os.getpid():
            raise ValueError("Pool not running")

    def apply(
        self,
        func: Func,
        args: Items = (),
        kwds: Mapping[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401
        """Return func(*args, **kwds), called by a worker."""
        return self.apply_async(func, args, kwds).get()

    def apply_async(  # type: ignore[override] # theirs is generic
        self,
        func: Func,
        args: Items = (),
        kwds: Mapping[str, Any] | None = None,
        callback: Callback = None,
        error_callback: Callback = None,
    ) -> AsyncResult:
        """Have func(*args, **kwds) called by a worker; return where its result will be."""
        self._check_running()
        manager = self._manager
        calls = Calls(callback, error_callback) if callback or error_callback else None
        result = AsyncResult(manager.jobs, calls)
        try:
            call = self._call
            if call is None or call.func is not func:
                call = Call.of(APPLY, func)
                self._call = call if call.name else None
            data = call.packed(((args, kwds or {}),))
        except Exception as error:  # noqa: BLE001 - the user's classes: their error is the answer
            result.failed(0, 1, error)
            return result
        manager.jobs.add(result, self)
        try:
            manager.flight.submit(Task(result, 0, call, data, 1))
        except BaseException as error:
            result.abandon(error)
            raise
        self._in_time(result)
        return result

    def _in_time(self, job: Any) -> None:  # noqa: ANN401
        """End a job that came when the pool was being ended."""
        if self._manager.over:
            job.abandon(ValueError("Pool not running"))

    def map(
        self, func: Func, iterable: Items, chunksize: Size = None, *, progress: Progress = None
    ) -> list[Any]:
        """Return the list of func(item) for all items, or raise the first error met."""
        return self._listed(MAP, func, iterable, _How(chunksize, progress, wait=True))

    def starmap(
        self, func: Func, iterable: Items, chunksize: Size = None, *, progress: Progress = None
    ) -> list[Any]:
        """Return the list of func(*item) for all items, or raise the first error met."""
        return self._listed(STARMAP, func, iterable, _How(chunksize, progress, wait=True))

    def _listed(self, kind: int, func: Func, items: Items, how: _How) -> list[Any]:
        found: list[Any] = self._map(kind, func, items, how).get()
        return found

    def map_async(  # noqa: PLR0913 - the signature is multiprocessing's
        self,
        func: Func,
        iterable: Items,
        chunksize: Size = None,
        callback: Callback = None,
        error_callback: Callback = None,
        *,
        progress: Progress = None,
    ) -> AsyncResult:
        """Return where the list of map() will be."""
        calls = Calls(callback, error_callback)
        return self._map(MAP, func, iterable, _How(chunksize, progress, calls))

    def starmap_async(  # noqa: PLR0913 - the signature is multiprocessing's
        self,
        func: Func,
        iterable: Items,
        chunksize: Size = None,
        callback: Callback = None,
        error_callback: Callback = None,
        *,
        progress: Progress = None,
    ) -> AsyncResult:
        """Return where the list of starmap() will be."""
        calls = Calls(callback, error_callback)
        return self._map(STARMAP, func, iterable, _How(chunksize, progress, calls))

    def _map(self, kind: int, func: Func, iterable: Items, how: _How) -> AsyncResult:
        self._check_running()
        items = iterable if isinstance(iterable, Sized) else list(iterable)
        length = len(items)
        size = how.chunksize or -(-length // (self._processes * 4)) or 1
        if size < 1:
            raise ValueError(f"Chunksize must be 1+, not {size}")
        manager = self._manager
        bar = Bar(self._progress if how.progress is None else how.progress, length)
        result = AsyncResult(manager.jobs, how.calls)
        result.make_list(length, bar)
        if length:
            manager.jobs.add(result, self)
            batch = Batch(result, kind, func, items, size)
            self._feed(batch, here=how.wait or length <= size * _AT_ONCE)
        return result

    def imap(
        self, func: Func, iterable: Items, chunksize: Size = 1, *, progress: Progress = None
    ) -> IMapIterator:
        """Return an iterator over func(item) for all items, in their order."""
        return self._imap(IMapIterator, func, iterable, _How(chunksize, progress))

    def imap_unordered(
        self, func: Func, iterable: Items, chunksize: Size = 1, *, progress: Progress = None
    ) -> IMapUnorderedIterator:
        """Return an iterator over func(item) for all items, as they come."""
        return self._imap(IMapUnorderedIterator, func, iterable, _How(chunksize, progress))

    def _imap(self, kind: type[_Iterator], func: Func, iterable: Items, how: _How) -> _Iterator:
        self._check_running()
        size = 1 if how.chunksize is None else how.chunksize
        if size < 1:
            raise ValueError(f"Chunksize must be 1+, not {size}")
        length = len(iterable) if isinstance(iterable, Sized) else None
        bar = Bar(self._progress if how.progress is None else how.progress, length)
        job = kind(self._manager.jobs, bar)
        self._manager.jobs.add(job, self)
        batch = Batch(job, IMAP, func, iterable, size)
        self._feed(batch, here=length is not None and length <= size * _AT_ONCE)
        return job

    def _feed(self, batch: Batch, *, here: bool) -> None:
        feeder, manager = self._manager.feeder, self._manager.thread
        if here:
            feeder.feed(batch, patient=threading.current_thread() is not manager)
        else:
            feeder.later(batch)
        self._in_time(batch.job)

    def close(self) -> None:
        """Take no more tasks; the workers leave when all is done."""
        if self._state == RUN:
            self._state = CLOSE
            self._manager.move(CLOSE)

    def terminate(self) -> None:
        """End all workers now; what is not done yet fails."""
        self._state = TERMINATE
        self._terminate()

    def join(self) -> None:
        """Wait until all workers have left; ValueError unless closed or terminated before."""
        if self._state == RUN:
            raise ValueError("Pool is still running")
        if self._state not in {CLOSE, TERMINATE}:
            raise ValueError("In unknown state")
        self._manager.thread.join()

    def __del__(
        self,
        _warn: Callable[..., None] = warnings.warn,
        _running: str = RUN,
        _getpid: Callable[[], int] = os.getpid,
    ) -> None:
        # The names are arguments because at the end of the interpreter others may be gone.
        if self._state == _running and self._pid == _getpid():
            _warn(f"unclosed running multiprocessing pool {self!r}", ResourceWarning, source=self)


@dataclass(frozen=True, slots=True)
class _How:
    chunksize: Size
    progress: Progress
    calls: Calls = field(default_factory=Calls)
    wait: bool = False


_Iterator = TypeVar("_Iterator", IMapIterator, IMapUnorderedIterator)


def _cpus() -> int:
    count: Callable[[], int | None] = getattr(os, "process_cpu_count", os.cpu_count)
    return count() or 1


def _check(size: int, initializer: object, maxtasks: object) -> None:
    if size < 1:
        raise ValueError("Number of processes must be at least 1")
    if size > SLOTS:
        raise ValueError(f"cannot have a pool of {size} processes: at most {SLOTS}")
    if maxtasks is not None and (not isinstance(maxtasks, int) or maxtasks <= 0):
        raise ValueError("maxtasksperchild must be a positive int or None")
    if initializer is not None and not callable(initializer):
        raise TypeError("initializer must be a callable")

"""Lock and RLock as multiprocessing has them, which come back when their holder dies.

However the holder ends, by SIGKILL, a crash or os._exit, the next one has the lock at once; what
the lock protects may then be half-written, and `recovered` has risen. The owner is a *thread*, and
only it may release: what is used as a signal between processes wants a Semaphore. A stopped holder
is a living one. Neither works across PID namespaces, whose numbers for a thread differ.
"""

from __future__ import annotations

import errno
import select
import time
from multiprocessing import context
from types import TracebackType
from typing import Any, ClassVar

from .flock import FlockMutex
from .memory import PAGE, Memory
from .mutex import RobustMutex, SharedMutex, robust


class Lock:
    """A lock between processes and threads; it may be inherited by fork, or sent while spawning.

    `ctx` is there for the sake of multiprocessing's signature. OSError if it cannot be made.
    """

    _recursive: ClassVar[bool] = False
    _refusal: ClassVar[type[Exception]] = ValueError  # what multiprocessing's raises

    def __init__(self, *, ctx: object = None) -> None:  # noqa: ARG002
        self._use(self._made(self._recursive))

    @staticmethod
    def _made(recursive: bool) -> SharedMutex:
        if robust():
            return RobustMutex(Memory("lock", PAGE), 0, recursive=recursive)
        return FlockMutex(recursive=recursive)

    def _use(self, mutex: SharedMutex) -> None:
        self._mutex = mutex
        self._trylock, self._unlock = mutex.trylock, mutex.unlock
        self._held = False  # set by a holder of this process only once it has the mutex

    def acquire(self, block: bool = True, timeout: float | None = None) -> bool:
        """Wait at most `timeout` seconds (None: for ever); tell whether the lock is ours now.

        RuntimeError if this thread has it already and would wait for itself for ever.
        """
        try:
            code = self._trylock()
            if code:
                code = self._wait(code, timeout if block else 0.0)
            if code == 0:
                self._held = True
                return True
        except BaseException:  # a signal handler's, perhaps between the call and its result
            self._undo()
            raise
        return False

    def release(self) -> None:
        """Let the next one in; ValueError (RLock: AssertionError) if this thread has it not."""
        held, self._held = self._held, False
        if self._unlock():
            self._held = held
            raise self._refusal("cannot release the lock: this thread does not hold it")

    def locked(self) -> bool:
        """Tell whether anybody holds it."""
        return self._mutex.locked()

    @property
    def recovered(self) -> int:
        """How often, in all processes together, it was taken over from a holder who died."""
        return self._mutex.recovered

    def __enter__(self) -> bool:
        try:  # as acquire(), but for the calls that the common case can do without
            code = self._trylock()
            if code:
                self._wait(code, None)
            self._held = True
        except BaseException:
            self._undo()
            raise
        return True

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        held, self._held = self._held, False
        if self._unlock():
            self._held = held
            raise self._refusal("cannot release the lock: this thread does not hold it")

    def __repr__(self) -> str:
        state = "held here" if self._mutex.mine() else "held" if self.locked() else "free"
        return f"<{type(self).__name__} {state}>"

    def _wait(self, code: int, timeout: float | None) -> int:
        """Return 0 or EBUSY, at most `timeout` seconds after a trylock that said `code`."""
        end = None if timeout is None else time.monotonic() + max(0.0, timeout)
        code = self._mutex.lock(code, end)
        if code == errno.EDEADLK:
            if timeout is None:
                raise RuntimeError("cannot take the lock: this thread has it, and would wait on")
            select.select((), (), (), max(0.0, timeout))
            code = errno.EBUSY
        return code

    def _undo(self) -> None:
        """Do not keep what was just acquired; what this thread had before, it keeps."""
        if not self._held:
            self._mutex.abandon()

    def __getstate__(self) -> Any:  # noqa: ANN401 - pickle's business
        context.assert_spawning(self)
        return self._mutex

    def __setstate__(self, mutex: SharedMutex) -> None:
        self._use(mutex)


class RLock(Lock):
    """A Lock that its holder may acquire again, and releases as often."""

    _recursive = True
    _refusal = AssertionError

    def _undo(self) -> None:
        self._mutex.abandon()  # one of its acquisitions: the one that the exception met

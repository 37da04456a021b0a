"""Mutexes that processes share and that pass on when their holder dies, at once and by themselves.

The first choice is a robust pthread mutex in shared memory: the kernel marks it when the thread
that holds it ends in whatever way, and the next one is told. Where the C library has none that
works, an flock(2) does the same at three times the price. A holder is a thread, not a process.

Never wait for a robust mutex without a limit: with glibc 2.36 on Linux 6.18, of 214 trials in
which a waiter was killed 5 left others asleep on a free mutex. Waits are therefore cut in slices,
after each of which the mutex is looked at anew.
"""

from __future__ import annotations

import _thread
import contextlib
import errno
import functools
import mmap
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from .memory import Memory

try:
    import ctypes
except ImportError:  # an interpreter built without libffi
    _HAVE_CTYPES = False
else:
    _HAVE_CTYPES = True

SIZE = 128  # bytes of shared memory for each: two cache lines, so that neighbours do not collide
SLICE = 0.05  # seconds that a wait lasts before the mutex is looked at anew
_SPINS = 20  # tries before the first wait, if the holder may be running at the same time
_YIELDS = 8  # tries after these, each of which lets the holder run if it was interrupted
_RECOVERED = SIZE // 8 - 1  # the word that counts owner deaths
_TID = 0x3FFF_FFFF  # of the lock word, as the kernel's futex ABI has it
_SHARED, _ROBUST, _RECURSIVE, _ERRORCHECK = 1, 1, 1, 2  # <pthread.h>, glibc and musl
_PROBE_LIMIT = 5.0  # seconds in which the death of a thread must be told

Call: TypeAlias = Callable[[], int]


class SharedMutex(Protocol):
    """What Lock and the ring need; codes are those of <errno.h>, 0 for success.

    `trylock` returns 0, EBUSY, EDEADLK (this thread has it) or EOWNERDEAD, and `unlock` EPERM if
    this thread does not have it.
    """

    def trylock(self) -> int:
        """Take it if it is free."""

    def unlock(self) -> int:
        """Let it go."""

    def lock(self, code: int, end: float | None) -> int:
        """Go on from what trylock said until `end` on CLOCK_MONOTONIC; 0, EBUSY or EDEADLK."""

    def mine(self) -> bool:
        """Tell whether this thread holds it."""

    def locked(self) -> bool:
        """Tell whether anybody who lives holds it."""

    def abandon(self) -> None:
        """Let it go if this thread holds it, in whatever state an exception has left it."""

    @property
    def recovered(self) -> int:
        """How often it was taken over from a holder who died."""


@dataclass(frozen=True, slots=True)
class _Calls:
    """The C library's functions; those that never wait keep the GIL, which is quicker."""

    trylock: Callable[[Any], int]
    unlock: Callable[[Any], int]
    consistent: Callable[[Any], int]
    clocklock: Callable[[Any, int, Any], int]
    init: Callable[[Any, bool], int]
    word: int  # where the lock word is, in units of 4 bytes


def _bound() -> _Calls:
    held, free = ctypes.PyDLL(None), ctypes.CDLL(None)

    def init(address: Any, recursive: bool) -> int:  # noqa: ANN401 - a reference
        attributes = (ctypes.c_char * 64)()
        held.pthread_mutexattr_init(attributes)
        code: int = (
            held.pthread_mutexattr_setpshared(attributes, _SHARED)
            or held.pthread_mutexattr_setrobust(attributes, _ROBUST)
            or held.pthread_mutexattr_settype(attributes, _RECURSIVE if recursive else _ERRORCHECK)
            or held.pthread_mutex_init(address, attributes)
        )
        return code

    return _Calls(
        held.pthread_mutex_trylock,
        held.pthread_mutex_unlock,
        held.pthread_mutex_consistent,
        free.pthread_mutex_clocklock,
        init,
        0,
    )


def _reference(memory: mmap.mmap, offset: int) -> Any:  # noqa: ANN401 - a private class of ctypes
    """Return what is passed to the C functions quickest, as it needs no conversion."""
    return ctypes.byref(ctypes.c_char.from_buffer(memory, offset))


def _measured(calls: _Calls) -> _Calls | None:
    """Return the calls with the place of the lock word; None if it is not as the kernel has it."""
    page = mmap.mmap(-1, mmap.PAGESIZE)
    page[:] = b"\xff" * len(page)
    place = _reference(page, 0)
    if calls.init(place, False) or page[_RECOVERED * 8 :] != b"\xff" * len(page[_RECOVERED * 8 :]):
        return None
    if calls.trylock(place):
        return None
    words, thread = memoryview(page).cast("I"), threading.get_native_id()
    at = next((at for at in range(SIZE // 4) if words[at] & _TID == thread), None)
    again = calls.trylock(place)
    if at is None or again != errno.EDEADLK or calls.unlock(place) or words[at]:
        return None
    return _Calls(calls.trylock, calls.unlock, calls.consistent, calls.clocklock, calls.init, at)


@functools.cache
def _calls() -> _Calls | None:
    """Return what the C library offers; None if it lacks something, or lays it out otherwise."""
    if not _HAVE_CTYPES:
        return None
    try:
        return _measured(_bound())
    except (AttributeError, OSError):  # no such function; no C library to be loaded
        return None


@functools.cache
def robust() -> bool:
    """Tell whether a holder's death is told here, having tried it with a thread that ends.

    A thread does, as the holder is one, and a fork at this place would surprise the program.
    """
    calls = _calls()
    if calls is None:
        return False
    page = mmap.mmap(-1, mmap.PAGESIZE)
    place = _reference(page, 0)
    taken = _thread.allocate_lock()
    if calls.init(place, False):
        return False

    def holder() -> None:
        calls.trylock(place)
        taken.release()

    taken.acquire()
    _thread.start_new_thread(holder, ())
    taken.acquire()
    end = time.monotonic() + _PROBE_LIMIT
    while (code := _wait(calls, place, end)) == errno.EBUSY and time.monotonic() < end:
        pass
    return code == errno.EOWNERDEAD and calls.consistent(place) == 0 == calls.unlock(place)


def _wait(calls: _Calls, place: Any, end: float | None) -> int:  # noqa: ANN401 - a reference
    """Wait for one slice, or until `end` if that is sooner."""
    until = time.monotonic() + SLICE
    if end is not None:
        until = min(until, end)
    stamp = (ctypes.c_long * 2)(int(until), int(until % 1 * 1e9))  # a struct timespec
    code = calls.clocklock(place, time.CLOCK_MONOTONIC, ctypes.byref(stamp))
    return errno.EBUSY if code == errno.ETIMEDOUT else code


def spins(tries: int) -> int:
    """Return how often to look before going to sleep: never, if there is but one CPU for us."""
    return tries if len(os.sched_getaffinity(0)) > 1 else 0


def _need() -> _Calls:
    calls = _calls()
    if calls is None:
        raise OSError(errno.ENOTSUP, "cannot share a mutex: this C library has no robust ones")
    return calls


class RobustMutex:
    """A robust, process-shared pthread mutex in SIZE bytes of shared memory, made there anew.

    One thread may take it twice if it is `recursive`. OSError if it cannot be made.
    """

    def __init__(self, memory: Memory, offset: int, *, recursive: bool) -> None:
        self._take(memory, offset, _need())
        if code := self._calls.init(self._place, recursive):
            raise OSError(code, f"cannot make a mutex: {os.strerror(code)}")

    def _take(self, memory: Memory, offset: int, calls: _Calls) -> None:
        self._memory, self._offset = memory, offset  # the memory must outlive this object
        self._calls = calls
        self._place = _reference(memory.map, offset)
        self._words = memoryview(memory.map).cast("I")
        self._word = offset // 4 + calls.word
        self._count = offset // 8 + _RECOVERED
        self._spins = spins(_SPINS)
        self.trylock: Call = functools.partial(calls.trylock, self._place)
        self.unlock: Call = functools.partial(calls.unlock, self._place)

    @property
    def recovered(self) -> int:
        """How often it was taken over from a holder who died."""
        return self._memory.words[self._count]

    def lock(self, code: int, end: float | None) -> int:
        """Go on from what trylock said until `end` on CLOCK_MONOTONIC; 0, EBUSY or EDEADLK.

        OSError for what should not happen.
        """
        for _ in range(self._spins):
            if code != errno.EBUSY:
                break
            code = self.trylock()
        for _ in range(_YIELDS):
            if code != errno.EBUSY:
                break
            os.sched_yield()
            code = self.trylock()
        while code == errno.EBUSY and (end is None or time.monotonic() < end):
            code = _wait(self._calls, self._place, end)
        if code == errno.EOWNERDEAD:
            self._memory.words[self._count] += 1  # before: a death in between is one more
            code = self._calls.consistent(self._place)
        if code not in {0, errno.EBUSY, errno.EDEADLK}:
            raise OSError(code, f"cannot take a mutex: {os.strerror(code)}")
        return code

    def mine(self) -> bool:
        """Tell whether this thread holds it."""
        return self._words[self._word] & _TID == threading.get_native_id()

    def locked(self) -> bool:
        """Tell whether anybody who lives holds it."""
        return self._words[self._word] & _TID != 0

    def abandon(self) -> None:
        """Let it go if this thread holds it, in whatever state an exception has left it."""
        if self.mine():
            self._calls.consistent(self._place)
            self.unlock()

    def __getstate__(self) -> tuple[Memory, int]:
        return self._memory, self._offset

    def __setstate__(self, state: tuple[Memory, int]) -> None:
        memory, offset = state
        self._take(memory, offset, _need())

    def __del__(self) -> None:
        # The kernel's list of what a thread holds points into this memory, and the C library
        # writes through it: while one of our threads holds the mutex it must stay mapped.
        with contextlib.suppress(AttributeError):
            thread = self._words[self._word] & _TID
            if thread and os.path.exists(f"/proc/self/task/{thread}"):
                ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._memory.map))

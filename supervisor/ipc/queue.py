"""Queue, JoinableQueue and SimpleQueue as multiprocessing has them, which no death can hang.

What put() has accepted is handed out exactly once, even if the process is killed before put()
returns; a message whose consumer is killed dies with it, and no other does. There is no feeder
thread: put() pickles, and raises what pickling raises. What is never in a pipe cannot be torn, and
what has no name need not be unlinked. A *stopped* process in the middle of put() or get() holds up
the others of its side, as it does with multiprocessing's; a time limit is kept all the same.
"""

from __future__ import annotations

from multiprocessing import context
from queue import Empty, Full
from typing import Any

from .gate import RAW, BusyError, under
from .memory import Flag
from .pickling import dumps, loads
from .ring import Ring

NBYTES = 1 << 30


class Queue:
    """A queue of at most `maxsize` objects (0: as many as fit into `nbytes` bytes of pickles).

    Memory is used only for what is in it, and a few MiB kept for what comes next; the size is
    mapped in every process. An object that is exactly `bytes` is not pickled. `ctx` is there for
    the sake of multiprocessing's signature. It goes to other processes by fork, or as an argument
    of a process that is spawned. OSError or MemoryError if it cannot be made.
    """

    def __init__(self, maxsize: int = 0, *, ctx: object = None, nbytes: int = NBYTES) -> None:  # noqa: ARG002
        self._use(Ring(maxsize, nbytes))

    def _use(self, ring: Ring) -> None:
        self._ring = ring
        self._offer, self._take = ring.offer, ring.take
        self._closed = False

    def put(self, obj: object, block: bool = True, timeout: float | None = None) -> None:
        """Put an object in, waiting at most `timeout` seconds for room (None: for ever).

        queue.Full after that, or at once if not `block`. ValueError if the queue is closed or the
        pickle is larger than all of it; MemoryError or OSError if there is no memory for it, and
        whatever the pickling raises: nothing is put in then.
        """
        if self._closed:
            raise ValueError(f"Queue {self!r} is closed")
        data, tag = (obj, RAW) if type(obj) is bytes else (dumps(obj), 0)
        limit = timeout if block else 0.0
        try:
            if not self._offer(data, tag, limit):
                self._ring.put(data, tag, limit)
        except BusyError:
            raise Full from None

    def get(self, block: bool = True, timeout: float | None = None) -> Any:  # noqa: ANN401
        """Take the oldest object, waiting at most `timeout` seconds for one (None: for ever).

        queue.Empty after that, or at once if not `block`; ValueError if the queue is closed.
        """
        if self._closed:
            raise ValueError(f"Queue {self!r} is closed")
        limit = timeout if block else 0.0
        try:
            data, raw = self._take(limit) or self._ring.get(limit)
        except BusyError:
            raise Empty from None
        return data if raw else loads(data)

    def get_many(self, most: int, block: bool = True, timeout: float | None = None) -> list[Any]:
        """Take up to `most` objects, waiting for the first one as get() does.

        They are taken in one go: if this process is killed meanwhile, either all of them or none.
        """
        self._check()
        ring = self._ring
        found = ring.when_some(lambda left: ring.take_many(left, most), timeout if block else 0.0)
        return [data if raw else loads(data) for data, raw in found]

    def peek(self, block: bool = True, timeout: float | None = None) -> Any:  # noqa: ANN401
        """Return what get() would, and leave it in the queue.

        A single consumer that peeks, works and then gets loses nothing when it is killed.
        """
        self._check()
        data, raw = self._ring.when_some(self._ring.look, timeout if block else 0.0)
        return data if raw else loads(data)

    def put_nowait(self, obj: object) -> None:
        """Put an object in; queue.Full if there is no room."""
        self.put(obj, block=False)

    def get_nowait(self) -> Any:  # noqa: ANN401
        """Take the oldest object; queue.Empty if there is none."""
        return self.get(block=False)

    def qsize(self) -> int:
        """Return how many objects are in it, exactly."""
        return self._ring.count()

    def empty(self) -> bool:
        """Tell whether there is nothing in it."""
        return not self._ring.count()

    def full(self) -> bool:
        """Tell whether there are `maxsize` objects in it."""
        return 0 < self._ring.maxsize <= self._ring.count()

    def fileno(self) -> int:
        """Return a descriptor that can be read (by poll, never by read) if it is not empty.

        It may be readable for a moment more: then get_nowait() says Empty, and it no longer is.
        """
        self._check()
        return self._ring.some.fd

    @property
    def recovered(self) -> int:
        """How often a process died in the middle of put() or get(), which nobody else notices."""
        return self._ring.recovered

    def close(self) -> None:
        """Use it no more in this process; what is in it stays for the others."""
        self._closed = True

    def join_thread(self) -> None:
        """Do nothing: no thread is at work. AssertionError if the queue is not closed."""
        if not self._closed:
            raise AssertionError(f"Queue {self!r} not closed")

    def cancel_join_thread(self) -> None:
        """Do nothing: no thread is at work."""

    def _check(self) -> None:
        if self._closed:
            raise ValueError(f"Queue {self!r} is closed")

    def __getstate__(self) -> Any:  # noqa: ANN401 - pickle's business
        context.assert_spawning(self)
        return self._ring

    def __setstate__(self, state: Any) -> None:  # noqa: ANN401
        self._use(state)


class JoinableQueue(Queue):
    """A Queue that counts what its consumers have not yet done with.

    What a killed consumer had in hand stays undone: somebody has to call task_done() for it.
    """

    def __init__(self, maxsize: int = 0, *, ctx: object = None, nbytes: int = NBYTES) -> None:
        super().__init__(maxsize, ctx=ctx, nbytes=nbytes)
        self._idle = Flag(up=True)  # all done => up

    def task_done(self) -> None:
        """Say that an object is done with; ValueError if there is none that is not."""
        self._ring.done(before_last=self._idle.up)

    def join(self) -> None:
        """Wait until all that was put in is done with."""
        while self._ring.unfinished():
            if under(self._ring.consumers, self._busy, None):
                self._idle.wait(None)

    def _busy(self) -> bool:
        if self._ring.unfinished():
            self._idle.down()
            return True
        return False

    def __getstate__(self) -> Any:  # noqa: ANN401
        return super().__getstate__(), self._idle

    def __setstate__(self, state: Any) -> None:  # noqa: ANN401
        ring, self._idle = state
        super().__setstate__(ring)


class SimpleQueue:
    """A queue of objects with the few methods of multiprocessing's; see Queue."""

    def __init__(self, *, ctx: object = None) -> None:
        self._queue = Queue(ctx=ctx)

    def put(self, obj: object) -> None:
        """Put an object in, as Queue.put() does."""
        self._queue.put(obj)

    def get(self) -> Any:  # noqa: ANN401
        """Take the oldest object, waiting for one."""
        return self._queue.get()

    def empty(self) -> bool:
        """Tell whether there is nothing in it."""
        return self._queue.empty()

    def close(self) -> None:
        """Use it no more in this process."""
        self._queue.close()

"""Many producers, one consumer, one pipe for each producer, and no lock at all.

Whatever a producer does, whether it dies in the middle of a write, stops, or floods, touches only
its own pipe. The queue never waits for one producer while another has something to say, and takes
at most `budget` bytes of each in one turn. A queue of the standard library shares one pipe and one
lock among all its producers, and hangs for good when one of them is killed at the wrong moment.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import select
import time
from collections.abc import Hashable, Mapping
from typing import Any, Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)

BUDGET = 262_144  # bytes a producer may hand over in one turn
PAUSE = 0.002  # seconds from one round of small reads to the next
_LONGEST_PAUSE = 0.02
_F_GETPIPE_SZ = 1032
_PIPE_SIZE = 65_536  # where the kernel does not tell


class RelayQueue(Generic[Key]):
    """Pipes by key, and who of them has something to be read.

    poll() tells the keys; then one read() or splice() of each is a round. Where a round brought
    little, the next one begins no sooner than `pause` seconds after it, or after twice the time
    that it took, so that a producer which writes line by line costs a wake-up for a batch and not
    for each line. That a pipe could run full meanwhile rules it out.
    """

    def __init__(self, budget: int = BUDGET, pause: float = PAUSE) -> None:
        self._budget = budget
        self._pause = pause
        self._epoll = select.epoll()
        self._keys: dict[int, Key] = {}
        self._fds: dict[Key, int] = {}
        self._much: dict[int, int] = {}  # so many bytes at once are too many to pause after
        self._began = 0.0
        self._resume = 0.0  # no round begins sooner
        self._reading = False  # a round is in progress
        self._little = True  # it has brought little so far

    def __contains__(self, key: object) -> bool:
        return key in self._fds

    def __len__(self) -> int:
        return len(self._fds)

    def fileno(self) -> int:
        """Return a descriptor that is readable while a producer has something to say."""
        return self._epoll.fileno()

    def add(self, key: Key, fd: int) -> None:
        """Hear a producer from now on; the descriptor is made non-blocking and stays the caller's.

        ValueError if there is one of that key already.
        """
        if key in self._fds:
            raise ValueError(f"cannot add {key!r}: it is there already")
        os.set_blocking(fd, False)
        try:
            size = fcntl.fcntl(fd, _F_GETPIPE_SZ)
        except OSError:  # a socket, say
            size = _PIPE_SIZE
        self._epoll.register(fd, select.EPOLLIN)
        self._fds[key], self._keys[fd], self._much[fd] = fd, key, min(size // 4, self._budget)

    def remove(self, key: Key) -> int | None:
        """Hear a producer no more; return its descriptor, None if it was not there."""
        fd = self._fds.pop(key, None)
        if fd is not None:
            del self._keys[fd], self._much[fd]
            with contextlib.suppress(OSError):  # closed before, which it should not be
                self._epoll.unregister(fd)
        return fd

    def rest(self) -> float:
        """Return for how many seconds poll() would hold back, were it called now."""
        if self._reading:  # the round is over
            self._reading = False
            took = time.monotonic() - self._began
            pause = max(self._pause, min(2 * took, _LONGEST_PAUSE))
            self._resume = self._began + pause if self._little else 0.0
        return max(0.0, self._resume - time.monotonic()) if self._resume else 0.0

    def poll(self, timeout: float | None = None) -> list[Key]:
        """Wait at most `timeout` seconds (None: for ever) and return who can be read."""
        rest = self.rest()
        if timeout is not None and timeout < rest:
            select.select((), (), (), max(timeout, 0.0))
            return []
        if rest:
            select.select((), (), (), rest)
            timeout = None if timeout is None else timeout - rest
        ready = self._epoll.poll(timeout)
        if ready:
            self._began = time.monotonic()
            self._reading = self._little = True
        return [self._keys[fd] for fd, _ in ready]

    def read(self, key: Key) -> bytes | None:
        """Return what a producer has said, at most the budget; None: nothing; b"": it has closed.

        KeyError if there is no such producer; OSError as read(2) has it.
        """
        fd = self._fds[key]
        try:
            chunk = os.read(fd, self._budget)
        except BlockingIOError:
            return None
        self._took(fd, len(chunk))
        return chunk

    def splice(self, key: Key, target: int, offset: int = 0) -> int | None:
        """Move what a producer has said to `offset` in the file `target`, and return its length.

        The bytes are in the pipe or in the file, whenever this process is killed. At most the
        budget; None: nothing there; 0: it has closed. KeyError and OSError as for read().
        """
        fd = self._fds[key]
        try:
            size = os.splice(fd, target, self._budget, offset_dst=offset)
        except BlockingIOError:
            return None
        self._took(fd, size)
        return size

    def close(self) -> None:
        """Forget every producer; their descriptors stay the caller's."""
        self._fds.clear()
        self._keys.clear()
        self._much.clear()
        self._epoll.close()

    def _took(self, fd: int, size: int) -> None:
        if size >= self._much[fd]:
            self._little = False


class Producer:
    """One end of a pipe into a RelayQueue, for records: JSON objects, one a line."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def put(self, record: Mapping[str, Any]) -> None:
        """Write one record whole, waiting while the pipe is full; OSError if nobody reads it."""
        line = json.dumps(record, separators=(",", ":")).encode("ascii") + b"\n"
        while line:
            try:
                line = line[os.write(self._fd, line) :]
            except BlockingIOError:
                select.select((), (self._fd,), ())


class Records:
    """The other end: what a producer's chunks say, whatever way the lines were cut."""

    def __init__(self, max_line: int = 1 << 20) -> None:
        self.refused = 0  # lines that were no object, or too long
        self._max_line = max_line
        self._partial = b""
        self._skipping = False  # inside a line that is too long

    def feed(self, chunk: bytes) -> list[dict[str, Any]]:
        """Return the records that are complete with this chunk."""
        *lines, self._partial = (self._partial + chunk).split(b"\n")
        if lines and self._skipping:
            self._skipping = False
            del lines[0]
        if len(self._partial) > self._max_line:
            self._partial = b""
            self.refused += not self._skipping
            self._skipping = True
        return [record for line in lines if (record := self._record(line)) is not None]

    def _record(self, line: bytes) -> dict[str, Any] | None:
        if len(line) <= self._max_line:
            with contextlib.suppress(ValueError, RecursionError):
                record = json.loads(line)
                if isinstance(record, dict):
                    return record
        self.refused += 1
        return None

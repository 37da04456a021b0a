"""A stream socket that speaks JSON, one object a line, inside a process that must never block.

What the other side does not take at once is queued up to a limit; what it sends too much of is
refused. Nothing here knows what the messages mean, waits, or lets an error of the other side out
as an exception: a connection that fails is told as closed, once.
"""

from __future__ import annotations

import contextlib
import json
import select
import socket
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from supervisor.records import record

from .poller import Poller

Message = dict[str, Any]
_CHUNK = 65_536
_OVER = select.EPOLLHUP | select.EPOLLERR
_FLAGS = socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL


@record(frozen=True)
class Limits:
    """How much one side may burden the other; sizes are bytes."""

    max_line: int = 1 << 20  # a longer line is garbled
    max_backlog: int = 16 << 20  # with so much untaken, one more message ends the connection
    per_turn: int = 1 << 30  # messages delivered before others have their turn


DEFAULT = Limits()


class LineConnection:
    """One end of a connection, in a Poller, until closed.

    heard(message) is called for each object that came; it may send and close. closed() is called
    once, after the last message, when the other side has gone or had to be given up; never from
    inside send(), and not after our own close(). Bytes that are no object on a line of allowed
    length go as words to `garbled`, where it is set; without it the connection is given up.

    A side that has only shut down its sending (`nc -N`) still gets its answers. With `per_turn`
    set, further messages wait until the other side has room for answers: who does not read is
    not served. Two ends must not both do that.
    """

    def __init__(
        self,
        sock: socket.socket,
        poller: Poller,
        heard: Callable[[Message], None],
        closed: Callable[[], None],
        limits: Limits = DEFAULT,
    ) -> None:
        """Take over `sock`: it is made non-blocking, watched, and closed with the connection."""
        self.garbled: Callable[[str], None] | None = None
        self._sock = sock
        self._poller = poller
        self._heard = heard
        self._closed = closed
        self._limits = limits
        self._partial = bytearray()
        self._lines: deque[bytes] = deque()
        self._out = bytearray()
        self._ended = False  # the other side sends no more
        self._events = select.EPOLLIN
        sock.settimeout(0)
        poller.watch(sock.fileno(), self._ready, self._events)

    @property
    def backlog(self) -> int:
        """Return how many bytes wait for the other side to take them."""
        return len(self._out)

    @property
    def is_open(self) -> bool:
        """Tell whether messages can still be sent."""
        return self._sock.fileno() >= 0

    def fileno(self) -> int:
        """Return the socket's descriptor; -1 once closed."""
        return self._sock.fileno()

    def send(self, message: Mapping[str, Any]) -> None:
        """Queue one message; it is dropped where the connection is no longer open."""
        if not self.is_open:
            return
        if len(self._out) > self._limits.max_backlog:
            self._break()
            return
        text = json.dumps(message, separators=(",", ":"), default=str)
        self._out += text.encode("ascii") + b"\n"
        self._flush()
        self._update()

    def close(self) -> None:
        """Close now, with what has not been taken; closing twice is fine."""
        if self._sock.fileno() >= 0:
            self._poller.forget(self._sock.fileno())
            self._sock.close()
        self._lines.clear()
        self._out.clear()

    def _ready(self, events: int) -> None:
        if self._out:
            self._flush()
        if self._lines:
            self._deliver()
        elif self._ended:
            if events & _OVER:
                self._gone()
        elif events & (select.EPOLLIN | _OVER):
            self._receive()
        self._update()

    def _receive(self) -> None:
        try:
            chunk = self._sock.recv(_CHUNK)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self._gone()
            return
        if not chunk:
            self._ended = True  # that it has wholly gone is told by EPOLLHUP
            return
        head, *rest = chunk.split(b"\n")
        self._partial += head
        if rest:
            self._lines.append(bytes(self._partial))
            self._lines.extend(rest[:-1])
            self._partial = bytearray(rest[-1])
        self._deliver()
        if len(self._partial) > self._limits.max_line:
            self._partial.clear()
            self._refuse(f"a line is longer than {self._limits.max_line} bytes")

    def _deliver(self) -> None:
        for _ in range(min(len(self._lines), self._limits.per_turn)):
            if not self._lines:  # closed by the one who heard
                return
            self._hear(self._lines.popleft())

    def _hear(self, line: bytes) -> None:
        if not line or line.isspace():
            return
        if len(line) > self._limits.max_line:
            self._refuse(f"a line is longer than {self._limits.max_line} bytes")
            return
        try:
            message = json.loads(line)
        except (ValueError, RecursionError) as error:
            self._refuse(f"not JSON: {error}")
            return
        if isinstance(message, dict):
            self._heard(message)
        else:
            self._refuse("not an object")

    def _refuse(self, why: str) -> None:
        if not self.is_open:
            return
        if self.garbled is None:
            self._break()
        else:
            self.garbled(why)

    def _flush(self) -> None:
        try:
            while self._out:
                taken = self._sock.send(self._out[:_CHUNK], _FLAGS)
                del self._out[:taken]
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self._out.clear()  # it has gone, which EPOLLHUP tells; what it said may still be read

    def _break(self) -> None:
        self._lines.clear()
        self._out.clear()
        self._ended = True
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)  # EPOLLHUP follows, outside of the caller's call

    def _gone(self) -> None:
        if self._sock.fileno() >= 0:
            self.close()
            self._closed()

    def _update(self) -> None:
        if self._sock.fileno() < 0:
            return
        reading = not (self._ended or self._lines)
        writing = bool(self._out or self._lines)
        events = select.EPOLLIN * reading | select.EPOLLOUT * writing
        if events != self._events:
            self._events = events
            self._poller.change(self._sock.fileno(), events)

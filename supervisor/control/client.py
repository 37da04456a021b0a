"""The other end of the control socket, for the command line and every face.

Blocking, with a limit on everything; imports as little as it can, because `keepd status` starts
with it. It never reads a config, and knows no method by name.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import struct
import time

from . import messages

TYPE_CHECKING = False  # typing's own costs its import, a tenth of the time `status` takes
if TYPE_CHECKING:
    from typing import Any, Self

_SHORT = 107  # bytes of a path that a socket address holds


class NoDaemon(Exception):  # noqa: N818 (said to people as it is)
    """Nobody answers at the socket, or nobody does any more."""


class Refused(Exception):  # noqa: N818 (said to people as it is)
    """The daemon said no: `kind` is stable, the message is for people, `data` has the rest."""

    def __init__(self, kind: str, message: str, data: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.data = data or {}


class Client:
    """A connection to the daemon, from `connect` to `close`."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._number = 0
        self._buffer = bytearray()

    @classmethod
    def connect(cls, path: str, timeout: float = 5.0) -> Self:
        """Return a connection to the socket at `path`.

        Raises NoDaemon where nobody listens, Refused (denied, timeout) where we may not or cannot.
        """
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            # The kernel's own limit: a connect that does not block would fail on a full queue.
            limit = struct.pack("ll", int(timeout), int(timeout % 1 * 1e6))
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
            _connect(sock, path)
        except OSError as error:
            sock.close()
            raise _told(error, path) from None
        return cls(sock)

    def __enter__(self) -> Self:
        """Return itself; the connection is closed at the end of the block."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the connection."""
        self.close()

    def fileno(self) -> int:
        """Return the descriptor, which becomes readable when the daemon goes."""
        return self._sock.fileno()

    def close(self) -> None:
        """Close the connection; closing twice is fine."""
        self._sock.close()

    def call(self, method: str, params: dict[str, Any], timeout: float | None = 10.0) -> Any:  # noqa: ANN401 (JSON)
        """Return the result of a method; None as `timeout` waits as long as the daemon lives.

        Raises Refused as the daemon says it, or with kind `timeout` where it says nothing, and
        NoDaemon where it goes away meanwhile.
        """
        self._number += 1
        deadline = None if timeout is None else time.monotonic() + timeout
        line = json.dumps(messages.request(self._number, method, params)).encode("ascii") + b"\n"
        self._send(line, deadline)
        while True:
            answer = self._receive(deadline)
            if answer.get("id") == self._number or ("error" in answer and answer.get("id") is None):
                return _opened(answer)

    def ended(self, timeout: float | None) -> bool:
        """Return whether the daemon closed the connection within `timeout` seconds."""
        deadline = None if timeout is None else time.monotonic() + timeout
        with contextlib.suppress(NoDaemon, Refused):
            while True:
                self._receive(deadline)
        return self._sock.fileno() < 0

    def _send(self, line: bytes, deadline: float | None) -> None:
        self._limit(deadline)
        try:
            self._sock.sendall(line)
        except (TimeoutError, BlockingIOError):
            raise _silent() from None
        except OSError:
            pass  # it may have said why before it closed: that is read next

    def _receive(self, deadline: float | None) -> dict[str, Any]:
        start = 0
        while (end := self._buffer.find(b"\n", start)) < 0:
            start = len(self._buffer)
            self._limit(deadline)
            try:
                chunk = self._sock.recv(1 << 18)
            except (TimeoutError, BlockingIOError):
                raise _silent() from None
            except OSError:
                chunk = b""
            if not chunk:
                self.close()
                raise NoDaemon("keepd has ended, or was restarted, before it answered")
            self._buffer += chunk
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        return _parsed(line)

    def _limit(self, deadline: float | None) -> None:
        if self._sock.fileno() < 0:
            raise NoDaemon("keepd has ended")
        left = None if deadline is None else deadline - time.monotonic()
        if left is not None and left <= 0:
            raise _silent()
        self._sock.settimeout(left)


def _connect(sock: socket.socket, path: str) -> None:
    if len(os.fsencode(path)) <= _SHORT:
        sock.connect(path)
        return
    folder = os.open(os.path.dirname(path), os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        sock.connect(f"/proc/self/fd/{folder}/{os.path.basename(path)}")
    finally:
        os.close(folder)


def _told(error: OSError, path: str) -> NoDaemon | Refused:
    if isinstance(error, BlockingIOError | TimeoutError):
        return Refused("timeout", f"cannot reach keepd: nobody takes calls at {path}")
    if isinstance(error, PermissionError):
        return Refused(messages.DENIED, f"cannot reach keepd: {path} belongs to another user")
    if isinstance(error, FileNotFoundError | ConnectionRefusedError | NotADirectoryError):
        return NoDaemon(f"cannot find a running keepd: nobody listens at {path}")
    return NoDaemon(f"cannot reach keepd at {path}: {error.strerror or error}")


def _silent() -> Refused:
    return Refused("timeout", "cannot get an answer from keepd in time")


def _parsed(line: bytes) -> dict[str, Any]:
    try:
        answer = json.loads(line)
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        raise Refused(messages.INTERNAL, "cannot understand the answer: is that keepd?")
    return answer


def _opened(answer: dict[str, Any]) -> Any:  # noqa: ANN401 (JSON)
    if "error" not in answer:
        return answer.get("result")
    body = answer["error"]
    data = dict(body.get("data") or {})
    raise Refused(data.pop("kind", messages.INTERNAL), body.get("message", ""), data)

"""The daemon's side of the control socket, inside the master's loop.

Requests go to a closed table of methods; nothing that a client sends is ever looked up anywhere
else. It never blocks, never wakes up without a cause, and no client can take more than its share:
connections, open requests, and the size of a line are bounded, one request is served a turn, and
who does not read its answers is not served.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import select
import socket
import sys
from collections.abc import Callable, Mapping
from typing import Any

from supervisor.unix.lines import Limits, LineConnection
from supervisor.unix.poller import Poller

from . import messages, sockets

MOST_CONNECTIONS = 128
MOST_REQUESTS = 64  # open at a time, of one connection

_LIMITS = Limits(max_line=messages.MAX_REQUEST, max_backlog=4 << 20, per_turn=1)
_FULL = (errno.EMFILE, errno.ENFILE)
_NONE = (errno.EAGAIN, errno.EINTR, errno.ECONNABORTED)


class Reply:
    """The answer to one request, given at once or later; a second answer is ignored."""

    def __init__(self, session: _Session, request: messages.Message) -> None:
        self._session = session
        self._asked = "id" in request  # without it, JSON-RPC wants no answer
        self._id = messages.key_of(request)
        self._gone: list[Callable[[], None]] = []
        self._open = True

    @property
    def closed(self) -> bool:
        """Return whether an answer would reach nobody: the client has gone, or has one."""
        return not self._open

    def result(self, value: object) -> None:
        """Answer with a result: plain data."""
        self._answer(messages.result(self._id, value))

    def error(self, kind: str, message: str, **data: object) -> None:
        """Answer that it cannot be done: `kind` is for programs, `message` for people."""
        self._answer(messages.error(self._id, kind, message, data))

    def on_close(self, callback: Callable[[], None]) -> None:
        """Call back once, if the client goes away before it has its answer."""
        self._gone.append(callback)

    def abandon(self) -> None:
        """The client has gone: nobody wants the answer any more."""
        self._open = False
        calls, self._gone = self._gone, []
        for call in calls:
            call()

    def _answer(self, message: messages.Message) -> None:
        if self._open:
            self._open = False
            self._gone.clear()
            self._session.answer(self, message if self._asked else None)


Method = Callable[[dict[str, Any], Reply], None]


class Server:
    """Listens until closed. Made only by the owner of the daemon's lock.

    A method gets its parameters and a Reply. One that raises is answered with kind `internal`,
    and told to `trouble` in words.
    """

    def __init__(
        self,
        poller: Poller,
        path: str,
        methods: Mapping[str, Method],
        trouble: Callable[[str], object] = sys.stderr.write,
        kept: Mapping[int, int] | None = None,
    ) -> None:
        """Take the place at `path`. Raises OSError: PermissionError where it is not ours alone.

        `kept` are the sockets of earlier servers, by the inodes of their names: who has called
        one that still has the name is answered by us.
        """
        self.poller = poller
        self._path = path
        self._methods = dict(methods)
        self._trouble = trouble
        self._uids = frozenset({0, os.geteuid()})
        self._sessions: dict[_Session, None] = {}  # the one that was heard last stands last
        self._spare = _spare()
        self._sock, self.inode = sockets.listen(path, kept or {})
        poller.watch(self._sock.fileno(), self._knocked)

    def fileno(self) -> int:
        """Return the descriptor that listens."""
        return self._sock.fileno()

    def close(self) -> None:
        """Stop listening and close every connection, without further answers."""
        self.poller.forget(self._sock.fileno())
        sockets.remove(self._path, self.inode)
        self._sock.close()
        for session in list(self._sessions):
            session.end()
        if self._spare >= 0:
            os.close(self._spare)
            self._spare = -1

    def heard(self, session: _Session, message: messages.Message) -> None:
        """Serve one request."""
        self._sessions[session] = self._sessions.pop(session, None)
        reply = Reply(session, message)
        session.open_requests[reply] = None
        if wrong := messages.fault(message):
            reply.error(*wrong)
        elif len(session.open_requests) > MOST_REQUESTS:
            reply.error(messages.BUSY, f"cannot take more than {MOST_REQUESTS} requests at a time")
        else:
            self._serve(message["method"], message.get("params", {}), reply)

    def left(self, session: _Session) -> None:
        """Forget a session that has ended."""
        self._sessions.pop(session, None)

    def _serve(self, name: str, params: dict[str, Any], reply: Reply) -> None:
        method = self._methods.get(name)
        if method is None:
            reply.error(
                messages.NO_SUCH_METHOD, f"cannot do {name[:100]!r}: there is no such method"
            )
            return
        try:
            method(params, reply)
        except Exception as error:  # noqa: BLE001 (what users send must not end the daemon)
            self._trouble(f"cannot answer {name}: {_where(error)}")
            reply.error(messages.INTERNAL, f"cannot answer {name}: {type(error).__name__}: {error}")

    def _knocked(self, _events: int) -> None:
        try:
            sock = self._accept()
        except OSError as error:
            if error.errno not in _NONE:
                # As a level, what cannot be taken would wake us for ever; as an edge, it waits
                # for the next one that knocks.
                self.poller.change(self._sock.fileno(), select.EPOLLIN | select.EPOLLET)
                self._trouble(f"cannot accept a control connection: {error.strerror}")
            return
        self.poller.change(self._sock.fileno(), select.EPOLLIN)
        if sock is not None:
            self._welcome(sock)

    def _accept(self) -> socket.socket | None:
        if self._spare < 0:
            self._spare = _spare()
        try:
            return self._sock.accept()[0]
        except OSError as error:
            if error.errno not in _FULL or self._spare < 0:
                raise
        os.close(self._spare)  # the room for one, to say no in
        self._spare = -1
        try:
            with self._sock.accept()[0] as sock:
                _refuse(sock, messages.BUSY, "cannot serve: keepd has no descriptors left")
        finally:
            self._spare = _spare()
        return None

    def _welcome(self, sock: socket.socket) -> None:
        try:
            pid, uid = sockets.peer(sock)
        except OSError:
            sock.close()
            return
        if uid not in self._uids:
            self._trouble(f"refused a control connection of uid {uid} (pid {pid})")
            _refuse(sock, messages.DENIED, f"cannot serve uid {uid}: keepd belongs to another user")
        elif len(self._sessions) >= MOST_CONNECTIONS and not self._make_room():
            _refuse(sock, messages.BUSY, f"cannot serve more than {MOST_CONNECTIONS} at a time")
        else:
            self._sessions[_Session(self, sock)] = None
            return
        sock.close()

    def _make_room(self) -> bool:
        """End the session that was silent longest and waits for nothing."""
        idle = next((one for one in self._sessions if not one.open_requests), None)
        if idle is not None:
            idle.end()
        return idle is not None


class _Session:
    """One client."""

    def __init__(self, server: Server, sock: socket.socket) -> None:
        self.open_requests: dict[Reply, None] = {}
        self._server = server
        self._line = LineConnection(sock, server.poller, self._heard, self.end, _LIMITS)
        self._line.garbled = self._garbled

    def answer(self, reply: Reply, message: messages.Message | None) -> None:
        """Send the answer to one request."""
        self.open_requests.pop(reply, None)
        if message is not None:
            self._line.send(message)

    def end(self) -> None:
        """Close, and tell those who still work on its requests."""
        self._line.close()
        self._server.left(self)
        replies, self.open_requests = self.open_requests, {}
        for reply in replies:
            reply.abandon()

    def _heard(self, message: messages.Message) -> None:
        self._server.heard(self, message)

    def _garbled(self, why: str) -> None:
        text = f"cannot understand the request: {why}"
        self._line.send(messages.error(None, messages.BAD_REQUEST, text))
        self.end()


def _spare() -> int:
    try:
        return os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return -1


def _refuse(sock: socket.socket, kind: str, why: str) -> None:
    line = json.dumps(messages.error(None, kind, why)).encode("ascii") + b"\n"
    with contextlib.suppress(OSError):
        sock.send(line, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)


def _where(error: Exception) -> str:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    place = f" ({trace.tb_frame.f_code.co_filename}:{trace.tb_lineno})" if trace else ""
    return f"{type(error).__name__}: {error}{place}"

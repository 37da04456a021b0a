"""Readiness told over a datagram socket: sd_notify(3), towards our own manager and from services.

A service is heard on a socket of its own run, so that nobody can be taken for somebody else and
late words of an earlier run fall on deaf ears. What it says is data: READY=1 and STATUS= are
understood, nothing that it says makes us act on a process (MAINPID= is ignored).
"""

from __future__ import annotations

import array
import contextlib
import os
import socket
import struct

from supervisor.records import record

_ROOM = 16_384  # a datagram longer than this is cut, and its last line ignored
_CREDENTIALS = struct.Struct("3i")  # pid, uid, gid
_LONGEST = 107  # bytes of a socket's path, with its final zero 108
_PER_TURN = 64


class PathTooLongError(OSError):
    """The socket's path does not fit into an address."""


def sd_notify(text: str) -> None:
    """Tell whoever started us, if it listens at $NOTIFY_SOCKET; never raises, never blocks."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    with (
        contextlib.suppress(OSError),
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock,
    ):
        sock.sendto(text.encode(), socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL, address)


@record(frozen=True)
class Words:
    """What one datagram said."""

    ready: bool
    status: str | None


def parse(datagram: bytes) -> Words:
    """Return what of a datagram is understood; anything else in it is skipped."""
    lines = datagram.decode("utf-8", "replace").split("\n")
    said = [line.partition("=")[2] for line in lines if line.startswith("STATUS=")]
    return Words("READY=1" in lines, said[-1][:1000] if said else None)


class NotifySocket:
    """The ear for one run: a datagram socket at `path`, until closed.

    It is for our own user alone, or for the one with this uid, who must be able to get there.
    """

    def __init__(self, path: str, uid: int | None = None) -> None:
        if len(os.fsencode(path)) > _LONGEST:
            raise PathTooLongError(
                f"the notify socket's path has {len(os.fsencode(path))} bytes, {_LONGEST} are "
                f"possible: give a shorter runtime_dir ({path})"
            )
        self.path = path
        self._uid = os.geteuid() if uid is None else uid
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        self._sock = socket.socket(
            socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
        )
        before = os.umask(0o177)
        try:
            self._sock.bind(path)
            if uid is not None:  # the folder is ours: nobody can have put anything else there
                os.chown(path, uid, -1, follow_symlinks=False)
        except OSError:
            self._sock.close()
            raise
        finally:
            os.umask(before)
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)

    def fileno(self) -> int:
        """Return the descriptor to wait on."""
        return self._sock.fileno()

    def take(self) -> list[Words]:
        """Return what has been said since, of users whose word counts: its own and root."""
        heard: list[Words] = []
        with contextlib.suppress(OSError):
            while len(heard) < _PER_TURN:
                heard += self._one()
        return heard

    def _one(self) -> list[Words]:
        room = socket.CMSG_SPACE(_CREDENTIALS.size) + socket.CMSG_SPACE(253 * 4)
        flags = socket.MSG_CMSG_CLOEXEC | socket.MSG_DONTWAIT
        data, ancillary, _, _ = self._sock.recvmsg(_ROOM, room, flags)
        uid = -1
        for level, kind, body in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_CREDENTIALS):
                uid = _CREDENTIALS.unpack(body[: _CREDENTIALS.size])[1]
            elif (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                for fd in array.array("i", body[: len(body) // 4 * 4]):
                    os.close(fd)  # FDSTORE=1 and the like: we keep nothing for services
        return [parse(data)] if uid in {0, self._uid} else []

    def close(self) -> None:
        """Hear no more; the path is free again."""
        self._sock.close()
        with contextlib.suppress(OSError):  # gone, or made into something else by the service
            os.unlink(self.path)

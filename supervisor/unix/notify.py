"""Readiness told over a datagram socket: sd_notify(3), towards our own manager and from services.

A service is heard on a socket of its own run, so that nobody can be taken for somebody else and
late words of an earlier run fall on deaf ears; who said it is told by the kernel. What it says is
data: READY=1, STATUS=, WATCHDOG=1, WATCHDOG=trigger and EXTEND_TIMEOUT_USEC= are understood.
Anything else is skipped: nothing makes us act on a process (MAINPID=), keep a descriptor (all are
closed, which is what BARRIER=1 waits for), or believe an end before it has come (STOPPING=1).
"""

from __future__ import annotations

import array
import contextlib
import errno
import math
import os
import re
import socket
import struct
import time
from collections.abc import Iterator

from supervisor.records import record

_ROOM = 16_384  # bytes of a datagram; one that is longer is not listened to
_LONGEST_EXTENSION = 3600.0  # seconds that can be asked for at a time
_MICROSECONDS = re.compile(r"[0-9]{1,20}", re.ASCII)
_CREDENTIALS = struct.Struct("3i")  # pid, uid, gid
_LONGEST = 107  # bytes of a socket's path, with its final zero 108
_PER_TURN = 64
_NO_ROOM = {errno.EAGAIN, errno.ENOBUFS, errno.ETOOMANYREFS}
_RETRY = 0.02  # seconds

Untold = tuple[tuple[str, str, tuple[int, ...]], ...]  # (key, text, descriptors)


class PathTooLongError(OSError):
    """The socket's path does not fit into an address."""


def _address() -> str | None:
    """Return the address of whoever started us and listens, if there is one."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return None
    return "\0" + address[1:] if address.startswith("@") else address


def sd_notify(text: str, *fds: int) -> bool:
    """Tell whoever started us, if it listens at $NOTIFY_SOCKET; never raises, never blocks.

    False: it has no room for more at present.
    """
    address = _address()
    if address is None:
        return True
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
    flags = socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
            sock.sendmsg([text.encode()], rights, flags, address)
    except OSError as error:
        return error.errno not in _NO_ROOM
    return True


def stores() -> bool:
    """Return whether our service manager keeps descriptors; before 254 the unit must tell us."""
    return _address() is not None and os.environ.get("FDSTORE", "0") != "0"


class Manager:
    """Our service manager, if there is one: what it is to be told, in order, and that we live.

    Thousands of descriptors to be stored fill its socket; nothing of that may get lost.
    """

    def __init__(self) -> None:
        self._untold: dict[str, tuple[str, tuple[int, ...]]] = {}
        self._stores = stores()
        self._interval = _watchdog() / 3
        self._due = 0.0

    def tell(self, key: str, text: str, *fds: int) -> None:
        """Tell it now or soon; an earlier text of the same key that is not told yet is forgotten.

        Descriptors have to stay open until then.
        """
        self._untold.pop(key, None)
        self._untold[key] = (text, fds)
        self.flush()

    def store(self, name: str, fd: int) -> None:
        """Have it keep a copy of a descriptor, unwatched, for whoever comes after us."""
        if self._stores:
            self.tell(f"+{name}", f"FDSTORE=1\nFDPOLL=0\nFDNAME={stored_name(name)}", fd)

    def unstore(self, name: str) -> None:
        """Have it keep that no longer."""
        if self._stores and self._untold.pop(f"+{name}", None) is None:
            self.tell(f"-{name}", f"FDSTOREREMOVE=1\nFDNAME={stored_name(name)}")

    def flush(self) -> None:
        """Tell it what it had no room for, and from time to time that we live."""
        now = time.monotonic()
        if self._interval and now >= self._due and sd_notify("WATCHDOG=1"):
            self._due = now + self._interval
        for key, (text, fds) in list(self._untold.items()):
            if not sd_notify(text, *fds):
                return
            del self._untold[key]

    def untold(self) -> Untold:
        """Return what it has not been told, for another image of ours."""
        return tuple((key, text, fds) for key, (text, fds) in self._untold.items())

    def resume(self, untold: Untold) -> None:
        """Tell what an image before us could not."""
        self._untold.update({key: (text, fds) for key, text, fds in untold})

    def pause(self) -> float:
        """Return the seconds until flush() is due."""
        if self._untold:
            return _RETRY
        return self._due - time.monotonic() if self._interval else math.inf


def _watchdog() -> float:
    """Return the seconds after which we are taken for hung if we say nothing; 0: never."""
    usec = os.environ.get("WATCHDOG_USEC", "")
    ours = os.environ.get("WATCHDOG_PID", "") in {"", str(os.getpid())}
    return int(usec) / 1e6 if ours and _MICROSECONDS.fullmatch(usec) else 0.0


def stored_name(name: str) -> str:
    """Return a name of ours as systemd takes it: a space is none of its characters."""
    return name.replace(" ", "=")


def stored() -> dict[str, int]:
    """Return what systemd has kept for us, by our own names; it is ours from now on."""
    given = {name: os.environ.pop(name, "") for name in ("LISTEN_PID", "LISTEN_FDS")}
    names = os.environ.pop("LISTEN_FDNAMES", "").split(":")
    if given["LISTEN_PID"] != str(os.getpid()) or not given["LISTEN_FDS"].isdecimal():
        return {}
    found: dict[str, int] = {}
    for fd, name in zip(range(3, 3 + int(given["LISTEN_FDS"])), names, strict=False):
        kind, known, which = name.partition("=")
        if known and f"{kind} {which}" not in found:
            os.set_inheritable(fd, False)
            found[f"{kind} {which}"] = fd
        else:  # nobody of us has put it there
            os.close(fd)
    return found


@record(frozen=True)
class Words:
    """What one datagram said."""

    ready: bool = False
    status: str | None = None
    beat: bool = False  # it lives
    trigger: bool = False  # it wants to be taken for hung
    more_time: float | None = None  # seconds from now that it needs, at least


def parse(datagram: bytes) -> Words:
    """Return what of a datagram is understood; anything else in it is skipped."""
    lines = datagram.decode("utf-8", "replace").split("\n")
    said = [line.partition("=")[2] for line in lines if line.startswith("STATUS=")]
    asked = [line.partition("=")[2] for line in lines if line.startswith("EXTEND_TIMEOUT_USEC=")]
    times = [int(text) / 1e6 for text in asked if _MICROSECONDS.fullmatch(text)]
    return Words(
        ready="READY=1" in lines,
        status=said[-1][:1000] if said else None,
        beat="WATCHDOG=1" in lines,
        trigger="WATCHDOG=trigger" in lines,
        more_time=min(times[-1], _LONGEST_EXTENSION) if times else None,
    )


class NotifySocket:
    """The ear for one run: a datagram socket at `path`, until closed.

    It is for our own user alone, or for the one with this uid, who must be able to get there.
    """

    def __init__(self, path: str, uid: int | None = None, kept: int | None = None) -> None:
        """Bind it; `kept` is the socket that an earlier master has bound there, if it is known."""
        self.path = path
        self._uid = os.geteuid() if uid is None else uid
        if kept is not None:
            self._sock = socket.socket(fileno=kept)
            self._sock.setblocking(False)
            return
        if len(os.fsencode(path)) > _LONGEST:
            raise PathTooLongError(
                f"the notify socket's path has {len(os.fsencode(path))} bytes, {_LONGEST} are "
                f"possible: give a shorter runtime_dir ({path})"
            )
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

    def take(self) -> Iterator[tuple[int, Words]]:
        """Yield what has been said since, each with the pid of who said it, 0 where nobody knows.

        One at a time: who waits for BARRIER=1 is still there when its words are looked at.
        """
        with contextlib.suppress(OSError):
            for _ in range(_PER_TURN):
                yield from self._one()

    def _one(self) -> list[tuple[int, Words]]:
        """Return the next, if it is of a user whose word counts: its own or root."""
        room = socket.CMSG_SPACE(_CREDENTIALS.size) + socket.CMSG_SPACE(253 * 4)
        flags = socket.MSG_CMSG_CLOEXEC | socket.MSG_DONTWAIT
        data, ancillary, result, _ = self._sock.recvmsg(_ROOM, room, flags)
        pid, uid = 0, -1
        for level, kind, body in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_CREDENTIALS):
                pid, uid, _ = _CREDENTIALS.unpack(body[: _CREDENTIALS.size])
            elif (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                for fd in array.array("i", body[: len(body) // 4 * 4]):
                    os.close(fd)  # FDSTORE=1 and the like: we keep nothing for services
        whole = not result & socket.MSG_TRUNC
        return [(pid, parse(data))] if whole and uid in {0, self._uid} else []

    def close(self) -> None:
        """Hear no more; the path is free again."""
        self._sock.close()
        with contextlib.suppress(OSError):  # gone, or made into something else by the service
            os.unlink(self.path)

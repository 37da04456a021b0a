"""Descriptors that travel with a packet, over a Unix socket that keeps packets apart.

`socket.recv_fds` is not used: it ignores its flags (CPython 3.9 to 3.13), so that what it receives
is inherited by every child.
"""

from __future__ import annotations

import array
import socket

MOST = 16  # descriptors in one packet


def send(sock: socket.socket, text: str, *fds: int) -> bool:
    """Send one packet with copies of `fds`, without waiting; False: nobody took it."""
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
    try:
        sock.sendmsg([text.encode()], rights, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
    except OSError:  # full, or the other end is gone: which is heard of in one place, by receive
        return False
    return True


def receive(sock: socket.socket) -> tuple[str | None, list[int]]:
    """Return one packet and its descriptors, close-on-exec; "" at the end, None: nothing yet."""
    flags = socket.MSG_CMSG_CLOEXEC | socket.MSG_DONTWAIT
    try:
        data, ancillary, _, _ = sock.recvmsg(1 << 16, socket.CMSG_SPACE(4 * MOST), flags)
    except BlockingIOError:
        return None, []
    except ConnectionError:
        return "", []
    fds: list[int] = []
    for level, kind, packed in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            numbers = array.array("i")
            numbers.frombytes(packed[: len(packed) - len(packed) % numbers.itemsize])
            fds += numbers
    return data.decode(errors="replace"), fds

"""The place where the daemon listens: made safely, taken over only by who owns the daemon's lock.

A socket in the file system, inside a folder that is ours alone; never TCP, never the abstract
namespace, which have no permissions. The name appears by a rename, when the socket is listening
already: a client finds the old one, or the new one, but never one that refuses.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
from collections.abc import Mapping

from supervisor.unix.private import by_descriptor, open_private

_QUEUE = 128
_PEER = struct.Struct("iII")  # pid, uid, gid


def listen(path: str, kept: Mapping[int, int]) -> tuple[socket.socket, int]:
    """Return a listening socket at `path`, not blocking, and the inode of its name.

    Of the descriptors that were kept for earlier owners, by such inodes, the one that still has
    the name is it: who has called there is waiting. Else whatever has the name loses it: only the
    owner of the daemon's lock may call this. Raises OSError; a folder that is not ours alone is a
    PermissionError.
    """
    folder = open_private(os.path.dirname(path) or ".")
    name = os.path.basename(path)
    at = 0
    with contextlib.suppress(OSError):
        at = os.stat(name, dir_fd=folder, follow_symlinks=False).st_ino
    for fd in (fd for inode, fd in kept.items() if inode != at):
        os.close(fd)
    if at in kept:
        os.close(folder)
        return socket.socket(fileno=kept[at]), at
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _bind(sock, folder, f"{name}.new")
        sock.listen(_QUEUE)
        sock.settimeout(0)
        inode = os.stat(f"{name}.new", dir_fd=folder, follow_symlinks=False).st_ino
        os.rename(f"{name}.new", name, src_dir_fd=folder, dst_dir_fd=folder)
    except OSError:
        sock.close()
        raise
    finally:
        os.close(folder)
    return sock, inode


def remove(path: str, inode: int) -> None:
    """Remove the name of a socket, unless a successor's has it already."""
    with contextlib.suppress(OSError):
        folder = open_private(os.path.dirname(path) or ".")
        try:
            name = os.path.basename(path)
            if os.stat(name, dir_fd=folder, follow_symlinks=False).st_ino == inode:
                os.unlink(name, dir_fd=folder)
        finally:
            os.close(folder)


def peer(sock: socket.socket) -> tuple[int, int]:
    """Return pid and uid of who connected, as the kernel saw it then. Raises OSError."""
    pid, uid, _ = _PEER.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size))
    return pid, uid


def _bind(sock: socket.socket, folder: int, name: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(name, dir_fd=folder)  # left by one of us that died at this point
    before = os.umask(0o177)
    try:
        sock.bind(by_descriptor(folder, name))
    finally:
        os.umask(before)

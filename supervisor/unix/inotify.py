"""Changes in directories and files, told by the kernel instead of looked for again and again.

A hint, never the truth: events may be merged, and when too many came at once the kernel says only
OVERFLOW. Whoever hears one looks for himself.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct

MODIFY = 0x2
MOVED_FROM = 0x40
MOVED_TO = 0x80
CREATE = 0x100
DELETE = 0x200
DELETE_SELF = 0x400
MOVE_SELF = 0x800  # renamed itself; what is above it is not told of
OVERFLOW = 0x4000  # with wd -1
IGNORED = 0x8000  # the watch has gone, with its directory
ONLYDIR = 0x01000000
MASK_ADD = 0x20000000  # to what is watched already, not instead of it
ISDIR = 0x40000000

_EVENT = struct.Struct("iIII")
_BATCH = 65_536


class Inotify:
    """One queue of changes; non-blocking, to be waited for in a poller."""

    def __init__(self) -> None:
        """Open the queue; OSError where the user has too many of them."""
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._fd = -1
        self._fd = self._checked(self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC), "init")

    def fileno(self) -> int:
        """Return the descriptor that is readable when something has changed."""
        return self._fd

    def add(self, path: str, mask: int) -> int:
        """Watch a path for `mask`, and return the number its events will carry.

        OSError where it does not exist, may not be read, or the user has too many watches.
        """
        done = self._libc.inotify_add_watch(self._fd, os.fsencode(path), ctypes.c_uint32(mask))
        return self._checked(done, path)

    def remove(self, watch: int) -> None:
        """Watch something no more; what it has told already is still to be read."""
        self._libc.inotify_rm_watch(self._fd, watch)  # EINVAL: it has gone by itself

    def read(self) -> list[tuple[int, int, str]]:
        """Return what has changed since the last call, as (watch, mask, name in the directory)."""
        events: list[tuple[int, int, str]] = []
        while True:
            try:
                data = os.read(self._fd, _BATCH)
            except BlockingIOError:
                return events
            at = 0
            while at < len(data):
                watch, mask, _, size = _EVENT.unpack_from(data, at)
                at += _EVENT.size + size
                name = data[at - size : at].rstrip(b"\0")
                events.append((watch, mask, os.fsdecode(name)))

    def close(self) -> None:
        """Watch nothing any more; closing twice is fine."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _checked(self, done: int, what: str) -> int:
        if done < 0:
            number = ctypes.get_errno()
            if number == errno.ENOSPC:
                raise OSError(number, "too many inotify watches of this user", what)
            raise OSError(number, os.strerror(number), what)
        return done

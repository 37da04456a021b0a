"""The beginning of a record whose end has not come yet, kept from one batch to the next.

A file with two halves: the one that the place in force names is read, the other is written before
another place is in force. So whoever dies in between has harmed nothing.
"""

from __future__ import annotations

import contextlib
import os

from .structured import LONGEST, Feed

_FLAGS = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW


class Rest:
    """The file of one stream; it is made when there is something to be kept."""

    def __init__(self, folder: int, name: str) -> None:
        self._folder = folder
        self._name = name
        self._fd = -1

    def read(self, feed: Feed) -> bytes:
        """Return what is kept; OSError."""
        return os.pread(self._opened(), feed.size, feed.half * LONGEST) if feed.size else b""

    def write(self, feed: Feed, data: bytes) -> None:
        """Keep the end of the data; OSError."""
        if feed.size:
            rest, at = data[len(data) - feed.size :], feed.half * LONGEST
            while rest:
                done = os.pwrite(self._opened(), rest, at)
                rest, at = rest[done:], at + done

    def forget(self) -> None:
        """Keep nothing any more."""
        self.close()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._name, dir_fd=self._folder)

    def close(self) -> None:
        """Close the file and leave it as it is."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _opened(self) -> int:
        if self._fd < 0:
            self._fd = os.open(self._name, _FLAGS, 0o600, dir_fd=self._folder)
        return self._fd

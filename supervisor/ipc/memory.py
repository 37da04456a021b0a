"""Memory that processes share by descriptor, never by name, and the flags they wait on.

It is a memfd, mapped whole and filled as needed: pages are reserved before anybody writes to them,
so that a lack of memory is an error of the one who asked and never a SIGBUS. Nothing here unlinks,
registers or tidies up: when the last process that has the descriptor is gone, the memory is too.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import mmap
import os
import resource
import select
from multiprocessing.reduction import DupFd
from typing import Any

PAGE = 4096  # bytes; the kernel's own pages may be larger, and are then reserved as a whole
_PIECE = 1 << 20  # bytes reserved in one call: a long one begins anew at every signal
_NORESERVE = 0x4000  # MAP_NORESERVE: what is mapped is not what is used
_ADD_SEALS, _SEAL_SHRINK = 1033, 2


def inherited(sent: Any) -> int:  # noqa: ANN401 - a private class of multiprocessing's
    """Return the descriptor that a DupFd brought here; it does not survive an exec."""
    fd: int = sent.detach()
    os.set_inheritable(fd, False)
    return fd


class Memory:
    """So many bytes of shared memory; `words` are its aligned 8-byte words.

    A store to one of the words is seen by others whole or not at all. OSError if the memory
    cannot be had, EFBIG where RLIMIT_FSIZE forbids a file of that size.
    """

    def __init__(self, name: str, size: int) -> None:
        self.size = size
        self.fd = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            self._grow(name)
            self.map = self._mapped()
        except BaseException:
            os.close(self.fd)
            raise
        self.words = memoryview(self.map).cast("Q")

    def _grow(self, name: str) -> None:
        try:
            os.ftruncate(self.fd, self.size)
        except OSError as error:
            limit = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
            text = f"cannot make a {name} of {self.size} bytes: {error.strerror}"
            hint = f" (RLIMIT_FSIZE is {limit} bytes)" if error.errno == errno.EFBIG else ""
            raise OSError(error.errno, text + hint) from None
        with contextlib.suppress(OSError):  # one who shrinks it would kill the others by SIGBUS
            fcntl.fcntl(self.fd, _ADD_SEALS, _SEAL_SHRINK)
        self.reserve(0, min(PAGE, self.size))

    def _mapped(self) -> mmap.mmap:
        return mmap.mmap(self.fd, self.size, mmap.MAP_SHARED | _NORESERVE)

    def reserve(self, start: int, end: int) -> None:
        """Make sure that the bytes from `start` to `end` have pages.

        MemoryError if there is no memory left for them, OSError if it is refused otherwise.
        """
        try:
            for at in range(start, end, _PIECE):
                os.posix_fallocate(self.fd, at, min(_PIECE, end - at))
        except OSError as error:
            if error.errno not in {errno.ENOMEM, errno.ENOSPC}:
                raise
            text = f"cannot reserve {end - start} bytes of shared memory: none is left"
            raise MemoryError(text) from error

    def give_back(self, start: int, end: int) -> None:
        """Let the kernel have the pages of these bytes, as far as they are whole pages."""
        start = -(-start // mmap.PAGESIZE) * mmap.PAGESIZE
        end = end // mmap.PAGESIZE * mmap.PAGESIZE
        if start < end:
            with contextlib.suppress(OSError):  # then they stay, which hurts nobody
                self.map.madvise(mmap.MADV_REMOVE, start, end - start)

    def __getstate__(self) -> tuple[int, Any]:
        return self.size, DupFd(self.fd)

    def __setstate__(self, state: tuple[int, Any]) -> None:
        self.size, sent = state
        self.fd = inherited(sent)
        self.map = self._mapped()
        self.words = memoryview(self.map).cast("Q")

    def __del__(self) -> None:
        with contextlib.suppress(AttributeError, OSError):
            os.close(self.fd)


class Flag:
    """An eventfd: it is up or down, and can be waited for by poll and its kin."""

    def __init__(self, *, up: bool) -> None:
        self._use(os.eventfd(int(up), os.EFD_NONBLOCK | os.EFD_CLOEXEC))

    def _use(self, fd: int) -> None:
        self.fd = fd
        self._polls: list[select.poll] = []  # those not in use; each serves one thread at a time

    def fileno(self) -> int:
        """Return a descriptor that is readable while the flag is up."""
        return self.fd

    def up(self) -> None:
        """Put it up; if it is up, it stays so."""
        os.eventfd_write(self.fd, 1)

    def down(self) -> None:
        """Take it down; if it is down, it stays so."""
        try:  # noqa: SIM105 - it costs more than the call
            os.eventfd_read(self.fd)
        except BlockingIOError:
            pass

    def wait(self, limit: float | None) -> bool:
        """Tell whether it was up within `limit` seconds (None: for ever)."""
        poll = self._polls.pop() if self._polls else self._poll()
        ready = poll.poll(None if limit is None else max(0.0, limit) * 1000)
        self._polls.append(poll)
        return bool(ready)

    def _poll(self) -> select.poll:
        poll = select.poll()
        poll.register(self.fd, select.POLLIN)
        return poll

    def __getstate__(self) -> Any:  # noqa: ANN401 - a private class of multiprocessing's
        return DupFd(self.fd)

    def __setstate__(self, sent: Any) -> None:  # noqa: ANN401
        self._use(inherited(sent))

    def __del__(self) -> None:
        with contextlib.suppress(AttributeError, OSError):
            os.close(self.fd)

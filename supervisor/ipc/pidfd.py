"""A process as the kernel names it: by a descriptor that no later process can ever take over.

Death is a readable pidfd, whoever else may reap, fork or hold pipes open; a signal sent through it
reaches that process or nobody. Nothing here imports more than it must: the daemon stands on it.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal


class Exit:
    """The end of a process. `code` as subprocess has it, None if nobody can know any more."""

    __slots__ = ("code",)

    def __init__(self, code: int | None) -> None:
        self.code = code

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Exit) and self.code == other.code

    def __hash__(self) -> int:
        return hash(self.code)


def open_pidfd(pid: int) -> int:
    """Return a pidfd of the process, close-on-exec; ProcessLookupError if there is none."""
    return os.pidfd_open(pid)


def send_signal(pidfd: int, signum: int) -> bool:
    """Return False if the process is gone; PermissionError if it is not ours to signal."""
    try:
        signal.pidfd_send_signal(pidfd, signum)
    except ProcessLookupError:
        return False
    return True


def wait(pidfd: int, limit: float | None) -> bool:
    """Return whether the process has ended, after at most `limit` seconds (None: no limit)."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(None if limit is None else max(0, limit) * 1000))


def code_of(info: os.waitid_result) -> int:
    """Return the exit code of a process as subprocess has it: negative for a signal."""
    return info.si_status if info.si_code == os.CLD_EXITED else -info.si_status


def _waitid(pidfd: int, options: int) -> Exit | None:
    try:
        info = os.waitid(os.P_PIDFD, pidfd, os.WEXITED | os.WNOHANG | options)
    except ChildProcessError:
        # Not our child, reaped by somebody else, or SIGCHLD was ignored: the kernel decides
        # whether it lives, and never is such a process believed to be alive for ever.
        return Exit(None) if wait(pidfd, 0) else None
    return None if info is None else Exit(code_of(info))


def peek(pidfd: int) -> Exit | None:
    """Return how the process ended, and leave it a zombie: its pid stays taken. None: it lives."""
    return _waitid(pidfd, os.WNOWAIT)


def reap(pidfd: int) -> Exit | None:
    """Return how the process ended, and let the kernel forget it. None: it lives."""
    return _waitid(pidfd, 0)


class Child:
    """A process with the face of multiprocessing's BaseProcess, read from its pidfd alone."""

    __slots__ = ("_exit", "_pidfd", "pid")

    def __init__(self, pid: int, pidfd: int | None = None) -> None:
        self.pid = pid
        self._pidfd = open_pidfd(pid) if pidfd is None else pidfd
        self._exit: Exit | None = None

    @classmethod
    def of(cls, pid: int) -> Child:
        """Return the child just born; one that somebody else has already reaped is dead."""
        try:
            return cls(pid)
        except ProcessLookupError:
            gone = cls(pid, os.eventfd(1, os.EFD_CLOEXEC))  # readable, as a dead one's pidfd
            gone._exit = Exit(None)
            return gone

    @property
    def sentinel(self) -> int:
        """The pidfd: readable when the process has ended; ValueError once closed."""
        if self._pidfd < 0:
            raise ValueError("the process object is closed")
        return self._pidfd

    def poll(self) -> Exit | None:
        """Return how it ended, reaping it; None while it lives. Any thread may ask."""
        if self._exit is None and self._pidfd >= 0:
            end = peek(self._pidfd)
            if end is not None and self._exit is None:  # else another thread was faster
                self._exit = end  # before it is reaped: who finds it gone must find this
                reap(self._pidfd)
        return self._exit

    def is_alive(self) -> bool:
        """Return whether it lives; somebody else's reaping means that it does not."""
        return self.poll() is None

    @property
    def exitcode(self) -> int | None:
        """None while it lives, and where nobody can know; negative for a signal."""
        end = self.poll()
        return None if end is None else end.code

    def join(self, timeout: float | None = None) -> bool:
        """Return whether it has ended, after at most `timeout` seconds."""
        return self.poll() is not None or (wait(self.sentinel, timeout) and not self.is_alive())

    def send_signal(self, signum: int) -> bool:
        """Return False if it is gone."""
        return self._exit is None and send_signal(self.sentinel, signum)

    def terminate(self) -> None:
        """Send TERM; one that is gone is fine."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send KILL; one that is gone is fine."""
        self.send_signal(signal.SIGKILL)

    def close(self) -> None:
        """Let go of the descriptor; the process is left as it is."""
        if self._pidfd >= 0:
            with contextlib.suppress(OSError):
                os.close(self._pidfd)
            self._pidfd = -1

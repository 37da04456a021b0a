"""A process that was just started, by fork or by spawn, with what BaseProcess wants of it.

All that is ever asked or told goes through its pidfd. A fork is told that it is one by nothing but
what it inherits; a spawned one gets a fresh interpreter and reads the rest from a pipe. Neither
looks at its brothers, and neither believes one that is gone to be alive.
"""

from __future__ import annotations

import multiprocessing.popen_spawn_posix
import multiprocessing.util
import os
import signal
from collections.abc import Callable
from typing import Any, Protocol

from .pidfd import Child
from .prctl import PR_SET_PDEATHSIG, prctl

CRASHED = 70  # a child that could not even begin


class Startable(Protocol):
    """What a start wants of a process object."""

    def _bootstrap(self, parent_sentinel: int | None = None) -> int:
        """Be the process; return its exit code."""


def bind_to(parent: int) -> None:
    """Let the kernel kill this process when its parent dies; end at once if it already has."""
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before we could say so
        os._exit(CRASHED)


class Popen:
    """What BaseProcess wants of a started process, on a Child."""

    child: Child
    sentinel: int
    finalizer: Callable[[], object] | None = None

    @property
    def returncode(self) -> int | None:
        """The exit code, without looking anew at a process that is known to have ended."""
        return self.child.exitcode

    def poll(self, flag: int = os.WNOHANG) -> int | None:
        """Return the exit code; None while it lives, and where nobody knows."""
        return self.wait(0 if flag & os.WNOHANG else None)

    def wait(self, timeout: float | None = None) -> int | None:
        """Return the exit code, after at most `timeout` seconds."""
        self.child.join(timeout)
        return self.child.exitcode

    def terminate(self) -> None:
        """Send TERM."""
        self.child.terminate()

    def kill(self) -> None:
        """Send KILL."""
        self.child.kill()

    def interrupt(self) -> None:
        """Send INT."""
        self.child.send_signal(signal.SIGINT)

    def close(self) -> None:
        """Let go of the descriptors."""
        if self.finalizer is not None:
            self.finalizer()
        self.child.close()


class Fork(Popen):
    """A process that begins as a copy of this one."""

    method = "fork"

    def __init__(self, process: Startable) -> None:
        multiprocessing.util._flush_std_streams()  # type: ignore[attr-defined] # noqa: SLF001
        life_of_parent = os.pidfd_open(os.getpid())
        try:
            pid = os.fork()
            if pid == 0:
                _live(process, life_of_parent)
        finally:
            os.close(life_of_parent)
        self.child = Child.of(pid)
        self.pid = pid
        self.sentinel = self.child.sentinel

    def duplicate_for_child(self, fd: int) -> int:
        """Return the descriptor: a fork inherits it."""
        return fd


def _live(process: Startable, life_of_parent: int) -> None:
    code = CRASHED
    try:
        code = process._bootstrap(parent_sentinel=life_of_parent)  # noqa: SLF001
    finally:
        os._exit(code)


class Spawn(Popen, multiprocessing.popen_spawn_posix.Popen):  # type: ignore[misc,override]
    """A process that begins as a fresh interpreter, with what it needs sent over a pipe."""

    method = "spawn"

    def __init__(self, process: Any) -> None:  # noqa: ANN401 - as multiprocessing has it
        multiprocessing.util._flush_std_streams()  # type: ignore[attr-defined] # noqa: SLF001
        self._fds: list[int] = []
        self._launch(process)  # type: ignore[attr-defined]
        self.child = Child.of(self.pid)
        self.sentinel = self.child.sentinel  # not the pipe, which grandchildren may hold open

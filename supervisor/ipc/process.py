"""multiprocessing's Process, by fork, that tells the truth about life and death.

Its sentinel is a pidfd: it is readable when the process ends, whatever its own children hold open.
Signals reach it or nobody, and somebody else's reaping means that it is dead, with an exit code
that nobody knows; never that it lives for ever. It must be forked from a process without threads:
a lock that a thread holds at that moment stays locked in the child.
"""

from __future__ import annotations

import multiprocessing.context
import multiprocessing.process
import multiprocessing.util
import os
import signal
import threading
import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from .pidfd import Child, Exit
from .prctl import PR_SET_PDEATHSIG, prctl

_CRASHED = 70  # a child that could not even begin


class Popen:
    """What BaseProcess wants of a started process, on a Child."""

    method = "fork"

    def __init__(self, process: Process) -> None:
        multiprocessing.util._flush_std_streams()  # type: ignore[attr-defined] # noqa: SLF001
        self.finalizer = None
        parent = os.getpid()
        life_of_parent = os.pidfd_open(parent)
        try:
            pid = os.fork()
            if pid == 0:
                _live(process, parent, life_of_parent)
        finally:
            os.close(life_of_parent)
        self.child = Child(pid)
        self.pid = pid
        self.sentinel = self.child.sentinel

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
        """Let go of the descriptor."""
        self.child.close()


def _live(process: Process, parent: int, life_of_parent: int) -> None:
    code = _CRASHED
    try:
        if process.die_with_parent:
            prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != parent:  # it died before we could say so
                os._exit(_CRASHED)
        code = process._bootstrap(parent_sentinel=life_of_parent)  # type: ignore[attr-defined] # noqa: SLF001
    finally:
        os._exit(code)


class Process(multiprocessing.context.Process):
    """As multiprocessing.Process, started by fork; see the module for what is different.

    With `die_with_parent` (default: if it is a daemon) the kernel kills it when the thread that
    started it ends, and so also when its parent is killed. `exitcode` stays None where the process
    was reaped by somebody else; `is_alive()` tells such a one from one that lives.
    """

    _start_method = "fork"
    _popen: Popen | None
    _parent_pid: int
    _sentinel: int

    def __init__(  # noqa: PLR0913 - the signature is multiprocessing's
        self,
        group: None = None,
        target: Callable[..., object] | None = None,
        name: str | None = None,
        args: Iterable[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        *,
        daemon: bool | None = None,
        die_with_parent: bool | None = None,
    ) -> None:
        super().__init__(group, target, name, args, kwargs or {}, daemon=daemon)
        self._die_with_parent = die_with_parent

    @property
    def die_with_parent(self) -> bool:
        """Whether it is killed when its parent dies."""
        return self.daemon if self._die_with_parent is None else self._die_with_parent

    @staticmethod
    def _Popen(process_obj: Process) -> Popen:  # type: ignore[override] # noqa: N802
        return Popen(process_obj)

    def start(self) -> None:
        """Fork it; the brothers are not looked at, as the standard library would."""
        self._check_closed()  # type: ignore[attr-defined]
        if self._popen is not None:
            raise AssertionError("cannot start a process twice")
        if self._parent_pid != os.getpid():
            raise AssertionError("can only start a process object created by current process")
        if multiprocessing.process._current_process._config.get("daemon"):  # type: ignore[attr-defined] # noqa: SLF001
            raise AssertionError("daemonic processes are not allowed to have children")
        if threading.active_count() > 1:
            warnings.warn(
                f"{self.name} is forked while {threading.active_count()} threads are alive: "
                "a lock that one of them holds stays locked in it",
                RuntimeWarning,
                stacklevel=2,
            )
        self._popen = self._Popen(self)
        self._sentinel = self._popen.sentinel
        del self._target, self._args, self._kwargs  # type: ignore[attr-defined]
        multiprocessing.process._children.add(self)  # type: ignore[attr-defined] # noqa: SLF001

    def _end(self) -> Exit | None:
        """Return how it ended; None: it lives, or was not started."""
        self._check_closed()  # type: ignore[attr-defined]
        end = None if self._popen is None else self._popen.child.poll()
        if end is not None:
            multiprocessing.process._children.discard(self)  # type: ignore[attr-defined] # noqa: SLF001
        return end

    def is_alive(self) -> bool:
        """Return whether it lives; not when somebody else has reaped it."""
        self._check_closed()  # type: ignore[attr-defined]
        if self is multiprocessing.process.current_process():
            return True
        if self._parent_pid != os.getpid():
            raise AssertionError("can only test a child process")
        return self._popen is not None and self._end() is None

    @property
    def exitcode(self) -> int | None:
        """None before its end, and where nobody knows; negative for a signal."""
        end = self._end()
        return None if end is None else end.code

    def join(self, timeout: float | None = None) -> None:
        """Wait until it has ended, at most `timeout` seconds; its children are not waited for."""
        self._check_closed()  # type: ignore[attr-defined]
        if self._parent_pid != os.getpid():
            raise AssertionError("can only join a child process")
        if self._popen is None:
            raise AssertionError("can only join a started process")
        self._popen.child.join(timeout)
        self._end()

    def close(self) -> None:
        """Let go of everything; ValueError while it lives."""
        if self._popen is not None:
            if self.is_alive():
                raise ValueError("Cannot close a process while it is still running")
            self._popen.close()
            self._popen = None
            del self._sentinel
        super().close()

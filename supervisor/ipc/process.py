"""multiprocessing's Process, by fork or by spawn, that tells the truth about life and death.

Its sentinel is a pidfd: it is readable when the process ends, whatever its own children hold open.
Signals reach it or nobody, and somebody else's reaping means that it is dead, with an exit code
that nobody knows; never that it lives for ever. A fork is to be made by a process without threads:
a lock that a thread holds at that moment stays locked in the child.
"""

from __future__ import annotations

import multiprocessing.context
import multiprocessing.process
import os
import threading
import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from .pidfd import Exit
from .popen import Fork, Popen, Spawn, bind_to


def method_in_force() -> str:
    """Return "fork" or "spawn": what set_start_method() has chosen, else fork.

    The default of the interpreter's version is not asked; a fork server is one who spawns.
    """
    chosen = multiprocessing.get_start_method(allow_none=True)
    return "fork" if chosen in {None, "fork"} else "spawn"


class Process(multiprocessing.context.Process):
    """As multiprocessing.Process; see the module for what is different.

    `start_method` is "fork" or "spawn"; None is what set_start_method() has chosen, else fork.
    With `die_with_parent` the kernel kills it when the thread that started it ends, and so also
    when its parent is killed. The default is to do so if it is a daemon that the main thread
    starts. `exitcode` stays None where the process was reaped by somebody else; `is_alive()` tells
    such a one from one that lives.
    """

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
        start_method: str | None = None,
    ) -> None:
        if start_method not in {None, "fork", "spawn"}:
            raise ValueError(f"cannot start a process by {start_method!r}: by fork or spawn")
        super().__init__(group, target, name, args, kwargs or {}, daemon=daemon)
        self.die_with_parent = die_with_parent
        self.start_method = start_method

    @staticmethod
    def _Popen(process_obj: Process) -> Popen:  # type: ignore[override] # noqa: N802
        return Fork(process_obj) if process_obj.start_method == "fork" else Spawn(process_obj)

    def start(self) -> None:
        """Start it; the brothers are not looked at, as the standard library would."""
        self._check_closed()  # type: ignore[attr-defined]
        if self._popen is not None:
            raise AssertionError("cannot start a process twice")
        if self._parent_pid != os.getpid():
            raise AssertionError("can only start a process object created by current process")
        if multiprocessing.process._current_process._config.get("daemon"):  # type: ignore[attr-defined] # noqa: SLF001
            raise AssertionError("daemonic processes are not allowed to have children")
        self.start_method = self.start_method or method_in_force()
        self._settle()
        self._popen = self._Popen(self)
        self._sentinel = self._popen.sentinel
        del self._target, self._args, self._kwargs  # type: ignore[attr-defined]
        multiprocessing.process._children.add(self)  # type: ignore[attr-defined] # noqa: SLF001

    def _settle(self) -> None:
        """Decide what it is bound to, and warn of what threads bring about."""
        in_main_thread = threading.get_native_id() == os.getpid()
        if self.die_with_parent is None:  # a thread that ends must not take the child along
            self.die_with_parent = bool(self.daemon) and in_main_thread
        elif self.die_with_parent and not in_main_thread:
            text = f"{self.name} is started by a thread, and killed when that thread ends"
            warnings.warn(text, RuntimeWarning, stacklevel=3)
        if self.start_method == "fork" and threading.active_count() > 1:
            warnings.warn(
                f"{self.name} is forked while {threading.active_count()} threads are alive: "
                "a lock that one of them holds stays locked in it",
                RuntimeWarning,
                stacklevel=3,
            )

    def _bootstrap(self, parent_sentinel: int | None = None) -> int:
        if self.die_with_parent:
            bind_to(self._parent_pid)
        code: int = super()._bootstrap(parent_sentinel=parent_sentinel)  # type: ignore[misc]
        return code

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

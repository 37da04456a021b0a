"""The master's side of births by zygote: asked for, told of, and given up, never waited for.

A zygote that dies is started again when it is next needed. Births whose pid was not told yet fail
then, and their newborns, which wait for an order that never comes, end by themselves.
"""

from __future__ import annotations

import contextlib
import importlib.util
import marshal
import os
import select
import signal
import socket
import sys
import time
from collections import deque
from types import ModuleType

from supervisor.ipc import pidfd as pidfds

from . import function, process, setup, signals, zygote
from .birth import Birth, Stage
from .poller import Poller
from .words import CannotError, exec_words

_STUCK = 5.0  # seconds without a word of a pid: a birth given up after them ends its zygote
_PATIENCE = 2.0  # seconds for a killed zygote to be gone
_PASSED_ON = ("PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR")


def _site() -> str:
    """Return the folder that has setproctitle, for zygotes that have no site; "" if there is none.

    It is only looked for: to import the package would bring logging into the master.
    """
    spec = importlib.util.find_spec("setproctitle")
    return os.path.dirname(os.path.dirname(spec.origin)) if spec and spec.origin else ""


_SITE = _site()


def _memory(module: ModuleType) -> bytes:
    """Return a module's code as it is now: what is on the disk later may be another's."""
    with open(str(module.__file__), "rb") as file:
        return file.read()


def _compiled(source: bytes) -> bytes:
    """Return it as our own interpreter reads it fastest: compiling leaves a larger process."""
    return marshal.dumps(compile(source, "zygote.py", "exec", dont_inherit=True))


_ZYGOTE, _SETUP, _FUNCTION = _memory(zygote), _memory(setup), _memory(function)
_PYC = importlib.util.MAGIC_NUMBER + bytes(12)  # the head of a compiled file


class Zygote:
    """One zygote process, and the births that it has not told a pid of."""

    def __init__(self, poller: Poller, pid: int, sock: socket.socket) -> None:
        self.pid = pid
        self._poller = poller
        self._sock = sock
        self._child = pidfds.Child(pid)
        self._queue: deque[tuple[Birth, int]] = deque()
        self.births: list[Birth] = []
        self.over = False
        poller.watch(self._child.sentinel, lambda _mask: self.end())
        poller.watch(sock.fileno(), self._ready, 0)

    def bear(self, birth: Birth, out: int) -> None:
        """Ask for a birth with `out` as its output."""
        self.births = [each for each in self.births if each.stage is Stage.ASKED]
        self.births.append(birth)
        self._queue.append((birth, out))
        self._flush()

    def _ready(self, mask: int) -> None:
        if mask & select.EPOLLOUT:
            self._flush()
        elif mask:  # its end is closed: its death is told by the pidfd
            self._poller.forget(self._sock.fileno())

    def _flush(self) -> None:
        try:
            while self._queue:
                birth, out = self._queue[0]
                if birth.stage is Stage.ASKED:
                    birth.send_to(self._sock, out)
                self._queue.popleft()
        except BlockingIOError:
            self._poller.change(self._sock.fileno(), select.EPOLLOUT)
        except OSError:  # its death is told by the pidfd, and fails the births
            self._queue.clear()
        else:
            self._poller.change(self._sock.fileno(), 0)

    @property
    def alive(self) -> bool:
        """Whether it lives."""
        return not self.over and self._child.is_alive()

    def end(self) -> None:
        """Kill it, if it lives, and fail its births; more than once is fine."""
        if self.over:
            return
        self.over = True
        self._poller.forget(self._child.sentinel)
        self._poller.forget(self._sock.fileno())
        self._child.kill()
        self._child.join(_PATIENCE)
        self._sock.close()
        code = self._child.exitcode
        how = f"exit code {code}" if code is None or code >= 0 else signal.Signals(-code).name
        self._child.close()
        births, self.births = self.births, []
        for birth in births:
            if birth.stage is Stage.ASKED:
                birth.fail(f"the zygote that bears it ended ({how})")


class Nursery:
    """The zygotes: the empty one, and one for each interpreter; started when needed."""

    def __init__(self, poller: Poller) -> None:
        self._poller = poller
        self._zygotes: dict[str | None, Zygote] = {}

    def bear(self, interpreter: str | None, birth: Birth, out: int) -> None:
        """Ask for a birth; CannotError in words if there is no zygote to be had."""
        found = self._zygotes.get(interpreter)
        if found is None or not found.alive:
            if found is not None:
                found.end()
            found = self._zygotes[interpreter] = self._start(interpreter)
        found.bear(birth, out)

    def pids(self) -> set[int]:
        """Return the pids of the zygotes that are not reaped: children of ours, no strangers."""
        return {each.pid for each in self._zygotes.values() if not each.over}

    def expecting(self) -> bool:
        """Return whether an unknown child may be a newborn that has not been told yet."""
        asked = (birth for each in self._zygotes.values() for birth in each.births)
        return any(birth.stage is Stage.ASKED for birth in asked)

    def given_up(self, birth: Birth) -> None:
        """Hear that a birth is wanted no more; a zygote that did not answer it is ended."""
        if birth.stage is Stage.ASKED:
            birth.stage = Stage.FAILED
            if time.monotonic() - birth.since > _STUCK:
                for each in self._zygotes.values():
                    if birth in each.births:
                        each.end()

    def close(self) -> None:
        """End them all."""
        for each in self._zygotes.values():
            each.end()
        self._zygotes.clear()

    def _start(self, interpreter: str | None) -> Zygote:
        ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with its:
            try:
                pid = self._run(interpreter, its.fileno())
            except OSError as error:
                ours.close()
                name, number = interpreter or sys.executable, error.errno or 0
                words = exec_words(number, name, "/", found="/" in name)
                raise CannotError(f"interpreter: {words}") from error
        return Zygote(self._poller, pid, ours)

    def _run(self, interpreter: str | None, control: int) -> int:
        name = interpreter or sys.executable
        with contextlib.ExitStack() as held:
            null = _held(held, os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC))
            site = os.path.dirname(process.title_folder())  # for zygotes without one
            codes = [_PYC + _compiled(_ZYGOTE), _compiled(_SETUP)]
            if interpreter:  # which may read nothing but source
                codes = [_ZYGOTE, _SETUP, _FUNCTION]
            code = [_held(held, _in_memory(each)) for each in codes]
            flags = "-I" if interpreter else "-IS"
            files = [*(f"/dev/fd/{fd}" for fd in code), ""]
            argv = [name, flags, files[0], str(control), *files[1:3], site]
            onto = [(null, 0), *((fd, fd) for fd in (control, *code))]  # itself: for it to keep
            env = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
            return os.posix_spawn(
                zygote.program(name, env.get("PATH", os.defpath), "."),
                argv,
                env,
                file_actions=[(os.POSIX_SPAWN_DUP2, *pair) for pair in onto],
                setsid=True,
                setsigmask=(),
                setsigdef=signals.ALL,
            )


def _held(stack: contextlib.ExitStack, fd: int) -> int:
    stack.callback(os.close, fd)
    return fd


def _in_memory(code: bytes) -> int:
    fd = os.memfd_create("keepd zygote")
    os.write(fd, code)
    return fd

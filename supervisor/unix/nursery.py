"""The master's side of births by zygote: asked for, told of, and given up, never waited for.

A zygote that dies is started again when it is next needed. Births whose pid was not told yet fail
then, and their newborns, which wait for an order that never comes, end by themselves.
"""

from __future__ import annotations

import array
import enum
import json
import os
import select
import signal
import socket
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from supervisor.ipc import pidfd as pidfds

from . import limits, process, signals, zygote
from .poller import Poller
from .zygote import CannotError, exec_words, program

_FLAGS = socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL
_STUCK = 5.0  # seconds without a word of a pid: a birth given up after them ends its zygote
_PATIENCE = 2.0  # seconds for a killed zygote to be gone
_PASSED_ON = ("PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR")


class Stage(enum.Enum):
    """How far a birth has come."""

    ASKED = "asked"  # no pid is known
    BORN = "born"  # there is a process, and it is our child; it prepares itself
    ALIVE = "alive"  # it has executed its program, or is about to call its function
    FAILED = "failed"  # `error` says why; a process that was born is about to end


class Birth:
    """One birth: `told` is called at each new stage."""

    def __init__(self, poller: Poller, order: Mapping[str, Any], told: Callable[[], None]) -> None:
        body = json.dumps(order).encode()
        self._order = memoryview(zygote.HEADER.pack(len(body)) + body)
        self._poller = poller
        self._told = told
        self._heard = b""
        self._exec = False
        self._sock, self._its = socket.socketpair()
        self.stage = Stage.ASKED
        self.pid = 0
        self.pidfd = -1  # belongs to whoever is told BORN
        self.error = ""
        self.since = time.monotonic()
        poller.watch(self._sock.fileno(), self._ready)

    def send_to(self, zygote_sock: socket.socket, out: int) -> None:
        """Hand the newborn's end of our socket, and its output, to a zygote."""
        rights = array.array("i", [self._its.fileno(), out])
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)]
        zygote_sock.sendmsg([b"birth"], ancillary, _FLAGS)
        self._its.close()

    def give_up(self) -> None:
        """Hear no more; a newborn without its order ends by itself."""
        self._poller.forget(self._sock.fileno())
        self._sock.close()
        self._its.close()

    def fail(self, words: str) -> None:
        """End the birth."""
        if self.stage in {Stage.ASKED, Stage.BORN}:
            self.error = words
            self._reached(Stage.FAILED)

    def _reached(self, stage: Stage) -> None:
        self.stage = stage
        if stage in {Stage.ALIVE, Stage.FAILED}:
            self.give_up()
        self._told()

    def _ready(self, mask: int) -> None:
        if mask & select.EPOLLOUT:
            self._send()
        if not mask & ~select.EPOLLOUT:
            return
        try:
            data = self._sock.recv(65_536, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        *lines, self._heard = (self._heard + data).split(b"\n")
        for line in lines:
            if self.stage in {Stage.ASKED, Stage.BORN}:
                self._hear(line)
        if not data and self.stage in {Stage.ASKED, Stage.BORN}:
            self._ended()

    def _hear(self, line: bytes) -> None:
        word, _, rest = line.partition(b" ")
        if word == b"pid":
            self.pid = int(rest)
        elif word == b"born" and self.pid:
            self._born()
        elif word == b"exec":
            self._exec = True
        elif word == b"alive":
            self._reached(Stage.ALIVE)
        elif word == b"error":
            self.fail(json.loads(rest))

    def _born(self) -> None:
        try:
            fd = process.pidfd_open(self.pid)
        except OSError as error:
            self.fail(f"the newborn cannot be held: {error.strerror}")
            return
        try:
            os.waitid(os.P_PIDFD, fd, os.WEXITED | os.WNOWAIT | os.WNOHANG)
        except ChildProcessError:  # somebody else's, who has got the number of one that has gone
            os.close(fd)
            self.fail("killed before its birth was over")
            return
        self.pidfd = fd
        self._reached(Stage.BORN)
        if self.stage is Stage.BORN:
            self._send()

    def _send(self) -> None:
        try:
            while self._order:
                self._order = self._order[self._sock.send(self._order, _FLAGS) :]
            self._poller.change(self._sock.fileno(), select.EPOLLIN)
        except BlockingIOError:
            self._poller.change(self._sock.fileno(), select.EPOLLIN | select.EPOLLOUT)
        except OSError:  # it has gone; the end of file that follows says so
            self._poller.change(self._sock.fileno(), select.EPOLLIN)

    def settle(self) -> None:
        """Come to a result now: the newborn has ended, and whatever it said can be read."""
        if self.stage is Stage.BORN:
            self._ready(select.EPOLLIN)
        if self.stage is Stage.BORN:
            self._ended()

    def _ended(self) -> None:
        """Take the end of the newborn's socket: closed by its exec, or by its death."""
        if self._exec:
            self._reached(Stage.ALIVE)
        else:
            self.fail("killed before its program was executed")


class Zygote:
    """One zygote process, and the births that it has not told a pid of."""

    def __init__(self, poller: Poller, pid: int, sock: socket.socket) -> None:
        self.pid = pid
        self._poller = poller
        self._sock = sock
        self._child = pidfds.Child(pid)
        self._queue: deque[tuple[Birth, int]] = deque()
        self.births: list[Birth] = []
        self._over = False
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
        return not self._over and self._child.is_alive()

    def stuck(self, now: float) -> bool:
        """Return whether a birth has waited too long for its pid."""
        return any(b.stage is Stage.ASKED and now - b.since > _STUCK for b in self.births)

    def end(self) -> None:
        """Kill it, if it lives, and fail its births; more than once is fine."""
        if self._over:
            return
        self._over = True
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

    def __init__(self, poller: Poller, nofile: int) -> None:
        self._poller = poller
        self._nofile = nofile
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
        """Return the pids of the zygotes: children of ours that are no strangers."""
        return {each.pid for each in self._zygotes.values()}

    def expecting(self) -> bool:
        """Return whether an unknown child may be a newborn that has not been told yet."""
        asked = (birth for each in self._zygotes.values() for birth in each.births)
        return any(birth.stage is Stage.ASKED for birth in asked)

    def given_up(self) -> None:
        """End the zygotes that did not answer; called when a birth has been given up."""
        for each in [z for z in self._zygotes.values() if z.stuck(time.monotonic())]:
            each.end()

    def close(self) -> None:
        """End them all."""
        for each in self._zygotes.values():
            each.end()
        self._zygotes.clear()

    def _start(self, interpreter: str | None) -> Zygote:
        ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            if interpreter is None:
                fd = its.fileno()
                pid = process.fork("zygote", lambda: zygote.serve(fd), keep=(fd,))
            else:
                pid = self._run(interpreter, its.fileno())
        except OSError as error:
            ours.close()
            raise CannotError(f"no zygote: {error.strerror}") from error
        except CannotError:
            ours.close()
            raise
        finally:
            its.close()
        return Zygote(self._poller, pid, ours)

    def _run(self, interpreter: str, control: int) -> int:
        env = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
        file = program(interpreter, env.get("PATH", os.defpath), ".")
        null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        dup = os.POSIX_SPAWN_DUP2
        try:
            with limits.lowered_nofile(self._nofile):
                return os.posix_spawn(
                    file,
                    [interpreter, "-I", zygote.__file__, "3"],
                    env,
                    file_actions=((dup, null, 0), (dup, null, 1), (dup, control, 3)),
                    setsid=True,
                    setsigmask=(),
                    setsigdef=sorted(signals.ALL),
                )
        except OSError as error:
            raise CannotError(f"interpreter: {exec_words(error, interpreter, file)}") from error
        finally:
            os.close(null)

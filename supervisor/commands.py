"""Runs the commands of checks and of hooks, in the prober: each born as services are, by a zygote.

A command has a session of its own, /dev/null or a text as stdin, and a limit; when it is over,
whatever is left of its session is killed. Nothing here decides what an exit code means. We are a
subreaper, so that what a command leaves behind is ours to end, and never a zombie of the master.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Mapping
from typing import Any

from supervisor.ipc import pidfd as pidfds
from supervisor.unix import kin, process
from supervisor.unix.birth import Birth, Stage
from supervisor.unix.nursery import Nursery
from supervisor.unix.poller import Poller
from supervisor.unix.words import CannotError

_TAIL = 4096  # bytes of its output that are remembered
_CHUNK = 65_536
_LONGEST = 200  # characters of a line that is told


class Commands:
    """All commands that run now; made inside a running loop."""

    def __init__(self) -> None:
        """Start nothing yet: the zygote is born with the first command."""
        process.subreaper()
        self._poller = Poller()
        self._nursery = Nursery(self._poller)
        self._leaders: set[int] = set()
        self._unclear = False  # there may be something to end and reap
        loop = asyncio.get_running_loop()
        loop.add_reader(self._poller.fileno(), self._poller.wait, 0.0)
        loop.add_signal_handler(signal.SIGCHLD, self._clear)

    async def run(self, order: Mapping[str, Any]) -> tuple[int, str]:
        """Return exit code (negative: a signal) and last line; CannotError if it cannot be run.

        Cancelled, it kills the command and all of its session.
        """
        read, write = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(read, False)
        command = _Command(read)
        try:
            birth = Birth(self._poller, order, lambda: self._told(command, birth))
            command.birth = birth
            self._nursery.bear(None, birth, write)
            await command.born
            os.close(write)
            write = -1
            return await command.over, command.last_line()
        finally:
            for fd in {write} - {-1}:
                os.close(fd)
            self._end(command)

    def _told(self, command: _Command, birth: Birth) -> None:
        if birth.stage is Stage.BORN:
            command.pid, command.pidfd = birth.pid, birth.pidfd
            self._leaders.add(birth.pid)
            if self._unclear:
                asyncio.get_running_loop().call_soon(self._clear)
            asyncio.get_running_loop().add_reader(birth.pidfd, command.died)
        elif birth.stage is Stage.FAILED:
            command.fail(birth.error)
        if birth.stage is not Stage.ASKED and not command.born.done():
            command.born.set_result(None)

    def _end(self, command: _Command) -> None:
        """Leave nothing of it."""
        loop = asyncio.get_running_loop()
        loop.remove_reader(command.read)
        os.close(command.read)
        if not command.over.cancel() and not command.over.cancelled():
            command.over.exception()  # nobody may have waited for it
        if command.birth is not None:
            command.birth.give_up()
            self._nursery.given_up(command.birth)
        if command.pidfd >= 0:
            loop.remove_reader(command.pidfd)
            kin.kill_all(lambda: kin.family([command.pid]))
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(
                    command.pid, signal.SIGKILL
                )  # not reaped yet: the number is still its own
            # Its end is heard, not waited for: in state D it may take long.
            loop.add_reader(command.pidfd, self._reap, command)

    def _reap(self, command: _Command) -> None:
        asyncio.get_running_loop().remove_reader(command.pidfd)
        pidfds.reap(command.pidfd)
        os.close(command.pidfd)
        self._leaders.discard(command.pid)
        self._clear()

    def _clear(self) -> None:
        """End and reap what has lost its parent and belongs to no command that still runs."""
        self._unclear = self._nursery.expecting()
        if (
            self._unclear
        ):  # a child that nobody knows may be a newborn that has not been told of yet
            return
        known = self._leaders | self._nursery.pids()
        for pid in process.children(os.getpid()):
            if pid in known:
                continue
            seen = kin.stat(pid)
            if seen is not None and seen.session not in self._leaders:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)  # our child, and not reaped
            with contextlib.suppress(ChildProcessError):
                os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG)


class _Command:
    """One command: `born` and `over` are futures."""

    def __init__(self, read: int) -> None:
        loop = asyncio.get_running_loop()
        self.birth: Birth | None = None
        self.pid = 0
        self.pidfd = -1
        self.read = read
        self.born: asyncio.Future[None] = loop.create_future()
        self.over: asyncio.Future[int] = loop.create_future()
        self._failure = ""
        self._tail = b""
        loop.add_reader(read, self._hear)

    def fail(self, words: str) -> None:
        """Hear that it could not be born."""
        self._failure = words
        if self.pidfd < 0:
            self._finish(None)

    def died(self) -> None:
        """Hear that its leader has ended."""
        ended = pidfds.peek(self.pidfd)
        if ended is None:
            return
        asyncio.get_running_loop().remove_reader(self.pidfd)
        if self.birth is not None:
            self.birth.settle()
        self._hear()
        self._finish(ended.code)

    def _finish(self, code: int | None) -> None:
        if self.over.done():
            return
        if self._failure or code is None:
            self.over.set_exception(CannotError(self._failure or "nobody knows how it ended"))
        else:
            self.over.set_result(code)

    def _hear(self) -> None:
        """Take what it has printed, and remember the end of it."""
        with contextlib.suppress(BlockingIOError):
            chunk = os.read(self.read, _CHUNK)
            self._tail = (self._tail + chunk)[-_TAIL:]
            if not chunk:
                asyncio.get_running_loop().remove_reader(self.read)

    def last_line(self) -> str:
        """Return the last line of its output that says anything."""
        lines = self._tail.decode("utf-8", "replace").split("\n")
        said = [" ".join(line.split()) for line in lines]
        return next((line[:_LONGEST] for line in reversed(said) if line), "")

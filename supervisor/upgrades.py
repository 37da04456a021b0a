"""Another version of keepd while services run: tried first, then taken over to in place.

The code on the disk is run by a process of its own (see trial.py). Only if that goes well the
anchor is asked to become it, which is one execve: same pid, services untouched. What is wrong with
it is told, and nothing has changed.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from typing import Protocol

from supervisor import __version__
from supervisor.control.server import Reply
from supervisor.ipc import pidfd as pidfds
from supervisor.rebirth import ROOT
from supervisor.records import record
from supervisor.unix import process, signals
from supervisor.unix.poller import Poller

LIMIT = 15.0  # seconds for a trial, which has ten for itself
_CODE = (
    "import sys; sys.path[:0] = [sys.argv[1]]; from supervisor import trial;"
    "sys.exit(trial.main(*sys.argv[1:]))"
)
_MOST = 1 << 16


class Owner(Protocol):
    """What the master lends."""

    def now(self) -> float:
        """Return the monotonic time."""

    def say(self, text: str) -> None:
        """Tell it to keepd's own log."""

    def become_new(self) -> None:
        """Let the anchor take over to the code that is installed now."""


@record()
class Trial:
    """A trial that goes on."""

    pid: int
    pidfd: int
    out: int  # what it says, both streams
    deadline: float
    replies: list[Reply]
    said: bytes = b""


class Upgrades:
    """Wishes for an upgrade: one trial answers all that are there."""

    def __init__(self, poller: Poller, owner: Owner, run_dir: str) -> None:
        self._poller = poller
        self._owner = owner
        self._run_dir = run_dir
        self._trial: Trial | None = None

    def pids(self) -> set[int]:
        """Return our own children, which nobody else may reap."""
        return {self._trial.pid} if self._trial else set()

    def next_deadline(self) -> float | None:
        """Return when the patience with a trial ends."""
        return self._trial.deadline if self._trial else None

    def look(self) -> None:
        """Give up a trial that takes too long."""
        if self._trial and self._owner.now() >= self._trial.deadline:
            process.send_signal(self._trial.pidfd, signal.SIGKILL)
            self._trial.said += b"\nit takes too long"
            self._trial.deadline += LIMIT

    def ask(self, reply: Reply | None) -> None:
        """Try the code that is installed now, and take over to it; by a signal without reply."""
        replies = [reply] if reply else []
        if self._trial:
            self._trial.replies += replies
            return
        self._owner.say("upgrade: the code that is installed now is tried")
        try:
            self._begin(replies)
        except OSError as error:
            self._refuse(replies, f"it cannot be run: {error.strerror or error}")

    def close(self) -> None:
        """Try nothing any more."""
        trial, self._trial = self._trial, None
        if trial:
            process.send_signal(trial.pidfd, signal.SIGKILL)
            self._let_go(trial)

    def _begin(self, replies: list[Reply]) -> None:
        ours, theirs = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        os.set_blocking(theirs, True)
        try:
            null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            os.close(ours)
            os.close(theirs)
            raise
        argv = [sys.executable, "-c", _CODE, ROOT, self._run_dir]
        onto = ((null, 0), (theirs, 1), (theirs, 2))
        try:
            pid = os.posix_spawn(
                sys.executable,
                argv,
                os.environ,
                file_actions=[(os.POSIX_SPAWN_DUP2, *pair) for pair in onto],
                setsid=True,
                setsigmask=(),
                setsigdef=signals.ALL,
            )
            pidfd = process.pidfd_open(pid)
        except OSError:
            os.close(ours)
            raise
        finally:
            os.close(theirs)
            os.close(null)
        self._trial = Trial(pid, pidfd, ours, self._owner.now() + LIMIT, replies)
        self._poller.watch(ours, self._hear)
        self._poller.watch(pidfd, self._ended)

    def _hear(self, _mask: int) -> None:
        if self._trial is None:
            return
        try:
            chunk = os.read(self._trial.out, _MOST)
        except BlockingIOError:
            return
        self._trial.said = (self._trial.said + chunk)[-_MOST:]
        if not chunk:
            self._poller.forget(self._trial.out)

    def _ended(self, _mask: int) -> None:
        self._hear(0)
        trial, self._trial = self._trial, None
        if trial is None:
            return
        end = pidfds.reap(trial.pidfd)
        self._let_go(trial)
        said = trial.said.decode("utf-8", "replace").strip()
        version = _version(said) if end is not None and end.code == 0 else None
        if version is None:
            self._refuse(trial.replies, said or "it ended without a word")
            return
        self._owner.say(f"upgrade from {__version__} to {version}: tried, and taken over to")
        for reply in trial.replies:
            reply.result({"before": __version__, "version": version})
        self._owner.become_new()

    def _let_go(self, trial: Trial) -> None:
        for fd in (trial.out, trial.pidfd):
            self._poller.forget(fd)
            os.close(fd)

    def _refuse(self, replies: list[Reply], why: str) -> None:
        last = why.splitlines()[-1]
        self._owner.say(f"cannot upgrade: {last}; nothing has changed")
        for reply in replies:
            reply.error("failed", f"cannot upgrade: {last}", said=why.splitlines()[-40:])


def _version(said: str) -> str | None:
    try:
        found = json.loads(said.splitlines()[-1])["version"]
    except (ValueError, LookupError, TypeError):
        return None
    return str(found)

"""Who may be hit, and the blow: by pidfd, never by a number alone; and who is stopped goes on.

A process that is stopped is looked after by a guard, a child of ours that lets it go on when its
time is up, and at once when we are gone: a drill that is itself killed leaves nobody frozen.
"""

from __future__ import annotations

import os
import select
import signal

from supervisor.ipc.pidfd import open_pidfd, send_signal, wait
from supervisor.records import record
from supervisor.unix import kin, process

TYPE_CHECKING = False  # see control/client.py
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

OURS = ("anchor", "master", "writer", "prober", "zygote")
THEIRS = ("replica", "child")  # hit only where the operator has named them
EVERYTHING = "everything"  # of keepd's, in one instant: only where we may start it again
_TITLES = {"anchor": "anchor", "master": "master", "writer": "log writer", "prober": "prober"}
_DEATH = 5.0  # seconds that a process may take to die of SIGKILL


@record(frozen=True)
class Victim:
    """A process that may be hit."""

    kind: str
    pid: int
    name: str  # for people: the kind, or the replica
    run: int = 0  # of a replica


def spared(status: dict[str, Any]) -> dict[str, str]:
    """Return the kinds that must not be hit here, and why."""
    daemon = status["daemon"]
    if daemon["pid"] == 1:
        return {"anchor": "it is pid 1 here: with it everything would end"}
    if daemon["mode"] == "foreground":
        return {"anchor": "keepd is in the foreground, where its death stops everything"}
    return {}


def victims(status: dict[str, Any], kinds: Iterable[str], names: set[str]) -> list[Victim]:
    """Return whom a status names, of these kinds; of the replicas those that run and are named."""
    daemon = status["daemon"]
    pids = {
        "anchor": [daemon["pid"]],
        "master": [daemon["master_pid"]],
        "writer": [daemon["log_writer_pid"]],
        **daemon["helpers"],
    }
    found = [Victim(k, pid, k) for k in kinds for pid in pids.get(k, ()) if pid]
    for one in replicas(status):
        if one["id"] in names and one["state"] == "RUNNING" and one["pid"]:
            if "replica" in kinds:
                found.append(Victim("replica", one["pid"], one["id"], one["run"]))
            if "child" in kinds:
                found += _children(one)
    return found


def newborns(anchor: int, kinds: Iterable[str]) -> list[Victim]:
    """Return whom an anchor has forked, as ps shows it: nobody else answers yet."""
    named = {_TITLES[kind]: kind for kind in ("master", "writer") if kind in kinds}
    titles = {pid: kin.title(pid) for pid in process.children(anchor)}
    return [Victim(named[t], pid, named[t]) for pid, t in titles.items() if t in named]


def replicas(status: dict[str, Any]) -> list[dict[str, Any]]:
    """Return all replicas of a status."""
    return [one for service in status["services"].values() for one in service["replicas"]]


def hold(victim: Victim) -> int | None:
    """Return a pidfd of it; None if it is gone, or does not look like itself."""
    try:
        pidfd = open_pidfd(victim.pid)
    except ProcessLookupError:
        return None
    if victim.kind in _TITLES and kin.title(victim.pid) != _TITLES[victim.kind]:
        os.close(pidfd)
        return None
    return pidfd


def kill(pidfd: int) -> bool:
    """Send KILL; return whether it has died of it, and not before."""
    return not wait(pidfd, 0) and send_signal(pidfd, signal.SIGKILL) and wait(pidfd, _DEATH)


class Stop:
    """A process that is stopped, until its time is up or we are gone."""

    def __init__(self, pidfd: int, seconds: float) -> None:
        told, self._tell = os.pipe()
        keep = (pidfd, told)
        self._guard = process.fork("drill", lambda: _guard(pidfd, told, seconds), keep)
        os.close(told)

    def over(self) -> bool:
        """Return whether it goes on again."""
        if self._guard and os.waitpid(self._guard, os.WNOHANG)[0]:
            self._guard = 0
            os.close(self._tell)
        return not self._guard

    def end(self) -> None:
        """Let it go on now."""
        if self._guard:
            os.close(self._tell)
            os.waitpid(self._guard, 0)
            self._guard = 0


def _guard(pidfd: int, told: int, seconds: float) -> int:
    poll = select.poll()
    poll.register(told, select.POLLIN)
    try:
        send_signal(pidfd, signal.SIGSTOP)
        poll.poll(seconds * 1000)
    finally:
        send_signal(pidfd, signal.SIGCONT)
    return 0


def _children(one: dict[str, Any]) -> list[Victim]:
    below = kin.family([one["pid"]]).keys() - {one["pid"]}
    return [Victim("child", pid, one["id"], one["run"]) for pid in sorted(below)]

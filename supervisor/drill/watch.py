"""What is seen of a keepd while it is under fire: who runs, since when, and whether twice.

Two witnesses: what `status` says, and what the kernel shows (/proc), which does not depend on it.
"""

from __future__ import annotations

import contextlib
import os

from supervisor.control.client import Client, NoDaemon, Refused
from supervisor.ipc.pidfd import open_pidfd, wait
from supervisor.records import field, record
from supervisor.unix import kin, process

from . import faults

TYPE_CHECKING = False  # see control/client.py
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

FINE = ("RUNNING", "EXITED")
DOWN = ("FATAL", "EXITED", "STOPPED")
_PATIENCE = 0.5  # seconds for an answer
_SETTLED = 60.0  # seconds of good life after an earlier failure


@record()
class Life:
    """What is known of one replica."""

    run: int
    fine: bool  # it ran, or had completed, when we began
    restless: bool  # it failed by itself shortly before: its restarts are not held against keepd
    held: bool = False  # the run was seen to live, or has completed: it is not to be replaced
    killed: int = 0  # the latest run that we have killed
    excused: int = 0  # hits that a restart may follow: its child was killed, or it was stopped
    asked: int = 0  # restarts that our hits have caused


@record()
class Watch:
    """The replicas, and what went wrong with them."""

    run_dir: str
    strict: bool = False  # these services do not end because a child of theirs does
    lives: dict[str, Life] = field(default_factory=dict)
    why: list[str] = field(default_factory=list)  # a line for each restart that nobody asked for
    doubles: set[str] = field(default_factory=set)

    def ask(self) -> dict[str, Any] | None:
        """Return what `status` says; None where nobody answers in time."""
        path = os.path.join(self.run_dir, "control.sock")
        with (
            contextlib.suppress(NoDaemon, Refused),
            Client.connect(path, _PATIENCE) as client,
        ):
            status: dict[str, Any] = client.call("status", {}, _PATIENCE)
            return status
        return None

    def begin(self, status: dict[str, Any]) -> None:
        """Take this as what is wanted again after each fault."""
        for one in faults.replicas(status):
            young = (one["uptime"] or 0.0) < _SETTLED
            restless = one["state"] not in FINE or (one["restarts"] > 0 and young)
            fine = one["state"] in FINE
            self.lives[one["id"]] = Life(one["run"], fine, restless, fine)

    def hit(self, key: str, killed: int) -> None:
        """Note that a restart must follow, the run having been killed, or may (0)."""
        life = self.lives[key]
        life.killed = max(life.killed, killed)
        life.excused += not (killed or self.strict)

    def hear(self, status: dict[str, Any]) -> None:
        """Count the lives that were lost since the status before.

        A run that has never lived is no life: its birth may be cut short, and is tried again.
        """
        for one in faults.replicas(status):
            life = self.lives.get(one["id"])
            if life is None:  # a reload has brought it
                life = self.lives[one["id"]] = Life(one["run"], one["state"] in FINE, restless=True)
            if one["run"] > life.run:
                if life.held:
                    self._replaced(one, life)
                life.run, life.held = one["run"], False
            life.held = life.held or one["state"] in FINE

    def _replaced(self, one: dict[str, Any], life: Life) -> None:
        if life.run == life.killed:
            life.asked += 1
        elif life.excused:
            life.excused, life.asked = life.excused - 1, life.asked + 1
        else:
            self._complain(one, life)

    def _complain(self, one: dict[str, Any], life: Life) -> None:
        last = one["last_exit"] or {}
        how = last.get("text") or "nobody knows how it ended"
        if not life.restless:
            self.why.append(f"{one['id']} was restarted, which nobody asked for: {how}")

    def missing(self, status: dict[str, Any], but: Iterable[str]) -> list[str]:
        """Return who of keepd and of its services is not as it was, leaving some out."""
        daemon, skipped = status["daemon"], set(but)
        ours = {name: daemon[f"{name}_pid"] for name in ("master", "log_writer")}
        found = [name for name, pid in (*ours.items(), ("anchor", daemon["pid"])) if not up(pid)]
        for one in faults.replicas(status):
            life = self.lives.get(one["id"])
            if life and life.fine and one["id"] not in skipped and one["state"] not in FINE:
                found.append(f"{one['id']} ({one['state']})")
        return found

    def look(self) -> None:
        """Look for two runs of one replica that live at the same time."""
        runs: dict[str, list[tuple[int, int]]] = {}
        try:
            for pid in _leaders():
                key, run = _run_of(pid, self.run_dir)
                with contextlib.suppress(ProcessLookupError):
                    if key:
                        runs.setdefault(key, []).append((run, open_pidfd(pid)))
            for key, found in runs.items():
                living = {run for run, pidfd in found if not wait(pidfd, 0)}  # all were seen before
                if len(living) > 1:
                    both = " and ".join(map(str, sorted(living)))
                    self.doubles.add(f"{key}: runs {both} lived at the same time")
        finally:
            for found in runs.values():
                for _, pidfd in found:
                    os.close(pidfd)


def up(pid: int | None) -> bool:
    """Return whether a process lives, and is not stopped."""
    seen = kin.stat(pid) if pid else None
    return seen is not None and seen.state not in "ZXTt"


def growth(status: dict[str, Any]) -> dict[str, int]:
    """Return what keepd itself takes: processes, descriptors, and bytes that are its alone."""
    daemon = status["daemon"]
    pids = {daemon["pid"], daemon["master_pid"], daemon["log_writer_pid"]}
    pids |= {p for pid in tuple(pids) for p in process.children(pid) if kin.title(p)}
    found = {"processes": 0, "descriptors": 0, "memory": 0}
    for pid in pids:
        with contextlib.suppress(OSError, ValueError, IndexError):
            fds = len(os.listdir(f"/proc/{pid}/fd"))
            text = process.whole(f"/proc/{pid}/smaps_rollup").decode()
            own = sum(int(x.split()[1]) for x in text.splitlines() if x.startswith("Pss:"))
            found["processes"] += 1
            found["descriptors"] += fds
            found["memory"] += own * 1024
    return found


def _leaders() -> list[int]:
    """Return all that lead a session, as every run does."""
    pids = [int(name) for name in os.listdir("/proc") if name.isdecimal()]
    return [p for p in pids if (at := kin.stat(p)) and at.session == p and at.state not in "ZX"]


def _run_of(pid: int, run_dir: str) -> tuple[str, int]:
    """Return replica and run of which a process has the FIFO as its output; "" for nobody's.

    The tag in its environment would not do: hooks and checks have it too.
    """
    root = f"{run_dir}/fifo/"
    for fd in (1, 2):
        with contextlib.suppress(OSError):
            path = os.readlink(f"/proc/{pid}/fd/{fd}").removesuffix(" (deleted)")
            key, _, run = path.removeprefix(root).rpartition(".")
            if path.startswith(root) and run.isdecimal():
                return key, int(run)
    return "", 0

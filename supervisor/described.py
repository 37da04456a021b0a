"""The answer to `status`: what the core believes, and what the shell knows beside it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from typing import Any, Protocol

from supervisor import __version__
from supervisor.config.plan import Plan
from supervisor.core import snapshot
from supervisor.core.supervisor import Supervisor
from supervisor.launch import Launch
from supervisor.logs.relay import LogRelay
from supervisor.processes import Processes
from supervisor.readiness import Readiness
from supervisor.superiors import Anchored, Superiors


class Master(Protocol):
    """Whose state it is."""

    launch: Launch
    plan: Plan
    supervisor: Supervisor
    relay: LogRelay
    processes: Processes
    readiness: Readiness
    superiors: Superiors


class Described:
    """The state of one keepd as plain data."""

    def __init__(self, master: Master, anchored: Anchored) -> None:
        self._master = master
        self._anchored = anchored

    def status(self, ids: Iterable[str]) -> dict[str, Any]:
        """Return the status object for the replicas."""
        master, prober = self._master, self._master.readiness.pid
        daemon = {
            "pid": self._anchored.pid,
            "master_pid": os.getpid(),
            "log_writer_pid": master.relay.writer_pid,
            "uptime": round(time.monotonic() - self._anchored.born, 3),
            "config": master.plan.config,
            "version": __version__,
            "unattributed": [pid for pid in master.processes.strangers() if pid != prober],
            "mode": self._mode(),
            "helpers": {
                "prober": [] if prober is None else [prober],
                "zygote": sorted(master.processes.zygotes()),
            },
        }
        return {"version": 1, "daemon": daemon, "services": self._services(ids)}

    def one(self, key: str) -> dict[str, Any]:
        """Return what the status object says of one replica."""
        (service,) = self._services([key]).values()
        replica: dict[str, Any] = service["replicas"][0]
        return replica

    def _mode(self) -> str:
        """Return who goes on when the anchor dies."""
        if self._master.superiors.managed:
            return "managed"  # whoever has started us, systemd say, starts another
        return "foreground" if self._master.launch.foreground else "detached"

    def _services(self, ids: Iterable[str]) -> dict[str, Any]:
        facts = snapshot.Facts(self._master.processes.pid, self._word)
        clocks = snapshot.Clocks(time.monotonic(), time.time())
        return snapshot.services(self._master.supervisor, ids, facts, clocks)

    def _word(self, key: str) -> str:
        return self._master.readiness.note(key) or self._master.processes.words(key)

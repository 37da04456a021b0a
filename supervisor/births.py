"""From a spec to a process: what it is given, and which of the ways to be born it needs.

Nothing of our own environment reaches a service but what its spec says, and nothing that our
manager said to us: a service with our NOTIFY_SOCKET would be taken for us.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from supervisor.core.spec import Log, ServiceSpec
from supervisor.ipc.pidfd import Exit
from supervisor.unix import kin
from supervisor.unix.birth import Birth
from supervisor.unix.cgroup import Group, Tree
from supervisor.unix.notify import NotifySocket

_OURS = ("NOTIFY_SOCKET", "LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PID", "WATCHDOG_USEC")
_NOT_PASSED_ON = frozenset({*_OURS, "WATCHDOG_PID", "FDSTORE", "MAINPID"})


@dataclass(frozen=True, slots=True)
class Place:
    """Where services live. `tree` is where their cgroups are; None without any."""

    run_dir: str
    project: str
    base_cwd: str  # the config's folder, and our own working directory
    nofile: int  # the soft limit of descriptors that children get back
    groups: bool = True  # False: do without cgroups
    tree: Tree | None = None


class Streams(Protocol):
    """Who has the outputs of all runs."""

    def open(self, id: str, run: int, log: Log) -> int:  # noqa: A002 - the word of the house
        """Return a descriptor, O_RDWR and close-on-exec, to become stdout and stderr."""

    def end(self, id: str, run: int) -> None:  # noqa: A002
        """Hear that no process of the run is left, or that none was born."""


@dataclass(slots=True)
class Run:
    """One run of one replica, from the order to bear it until nothing of it is left."""

    id: str
    number: int
    spec: ServiceSpec
    group: Group | None
    marks: kin.Marks
    birth: Birth | None = None  # by a zygote, in progress
    pid: int = 0
    pidfd: int = -1
    ear: NotifySocket | None = None
    spawned: bool = False  # told
    ready: bool = False  # said by it; told when it is spawned
    status: str = ""  # its own words
    exit: Exit | None = None  # of the leader, which is kept as a zombie until all are gone
    told: bool = False  # Exited was told: others are left
    killing: bool = False  # whatever of it is found is to die
    failure: str | None = None  # why it never was a service


def tag(place: Place, replica: str, run: int) -> str:
    """Return the KEEPD_RUN of a run: inherited by all that it starts."""
    return f"{place.run_dir}:{replica}:{run}"


def notify_path(place: Place, replica: str, run: int) -> str:
    """Return where a run is heard that tells its readiness itself."""
    return f"{place.run_dir}/notify/{replica}.{run}"


def environment(run: Run) -> dict[str, str]:
    """Return the whole environment of a run."""
    env = {name: value for name, value in run.spec.env.items() if name not in _NOT_PASSED_ON}
    env[kin.TAG] = run.marks.tag
    env["KEEPD_REPLICA"] = run.id.rpartition("/")[2]
    env["KEEPD_SERVICE"] = run.spec.name
    if run.ear is not None:
        env["NOTIFY_SOCKET"] = run.ear.path
    return env


def argv(spec: ServiceSpec) -> tuple[str, ...]:
    """Return the command; that of a shell is one line."""
    return ("/bin/sh", "-c", " ".join(spec.command)) if spec.shell else spec.command


def needs_zygote(spec: ServiceSpec, place: Place) -> bool:
    """Return whether something must be set up between birth and exec."""
    return spec.python is not None or os.path.normpath(spec.cwd) != place.base_cwd


def order(run: Run, place: Place) -> dict[str, Any]:
    """Return what a newborn of a zygote is told. Later set-ups are further fields of it."""
    spec = run.spec
    what: Mapping[str, Any] = {"argv": argv(spec)}
    if spec.python is not None:
        title = f"{run.id} {spec.python}"
        call = spec.python
        what = {"call": call, "args": spec.args, "kwargs": dict(spec.kwargs), "title": title}
    return {
        **what,
        "env": environment(run),
        "cwd": os.path.join(place.base_cwd, spec.cwd),
        "nofile": place.nofile,
        "group": run.group.make() if run.group else None,
    }

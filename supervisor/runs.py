"""One run of one replica as the shell knows it, and what all who look after runs share."""

from __future__ import annotations

import itertools
from typing import Protocol

from supervisor.core.spec import Log, ServiceSpec
from supervisor.ipc.pidfd import Exit
from supervisor.records import record
from supervisor.runfiles import Trace
from supervisor.unix import kin
from supervisor.unix.birth import Birth
from supervisor.unix.cgroup import Group, Tree
from supervisor.unix.notify import NotifySocket


@record(frozen=True)
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

    def records(self, id: str, run: int, uid: int | None) -> str:  # noqa: A002
        """Return the path of a FIFO for structured records, for us or the user with this uid."""

    def fifo(self, id: str, run: int) -> int | None:  # noqa: A002
        """Return the descriptor of the output of a run, where an earlier master has opened it."""

    def end(self, id: str, run: int) -> None:  # noqa: A002
        """Hear that no process of the run is left, or that none was born."""


@record()
class Run:
    """One run of one replica, from the order to bear it until nothing of it is left."""

    id: str
    number: int
    spec: ServiceSpec
    group: Group | None
    marks: kin.Marks
    birth: Birth | None = None  # by a zygote, in progress
    pid: int = 0
    mark: str = ""  # by which its leader is known from any other that gets its pid
    pidfd: int = -1
    ear: NotifySocket | None = None
    spawned: bool = False  # told
    ready: bool = False  # said by it; told when it is spawned
    status: str = ""  # its own words
    records: str = ""  # path of the FIFO for its records, if it has one
    exit: Exit | None = None  # of the leader, which is kept as a zombie until all are gone
    inherited: bool = False  # an earlier master began it: it is no child of ours
    doubt: bool = False  # nobody knows whether there will be a process of it
    asked: bool = False  # the leader has been told to end
    told: bool = False  # Exited was told: others are left
    ending: bool = False  # it is to be told to end, as soon as it is known
    killing: bool = False  # whatever of it is found is to die
    failure: str | None = None  # why it never was a service

    def trace(self, *, over: bool = False) -> Trace:
        """Return what a successor is to know of its process."""
        if not self.mark and self.pidfd >= 0:
            self.mark = kin.mark(self.pid, self.pidfd)
        end = None
        if over:
            code = self.exit.code if self.exit is not None else None
            end = "failed" if self.failure is not None else "" if code is None else str(code)
        return Trace(self.number, max(self.pid, 0), self.mark or "0", self.asked, end)


class Book:
    """All runs that are not over."""

    def __init__(self) -> None:
        self.by_id: dict[str, Run] = {}
        self.by_pid: dict[int, Run] = {}  # of its leader, from its birth on
        self.nobody = itertools.count(-1, -1)  # instead of the pid of one that is gone

    def forget(self, run: Run) -> None:
        """Let go of a run that is over."""
        self.by_id.pop(run.id, None)
        if self.by_pid.get(run.pid) is run:  # else the number is another's by now
            del self.by_pid[run.pid]


def tag(place: Place, replica: str, run: int) -> str:
    """Return the KEEPD_RUN of a run: inherited by all that it starts."""
    return f"{place.run_dir}:{replica}:{run}"

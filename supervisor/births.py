"""From a spec to a process: what it is given, and which of the ways to be born it needs.

Nothing of our own environment reaches a service but what its spec says, and nothing that our
manager said to us: a service with our NOTIFY_SOCKET would be taken for us.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping
from typing import Any, Protocol

from supervisor.core.spec import Log, ServiceSpec
from supervisor.ipc.pidfd import Exit
from supervisor.records import record, replace
from supervisor.unix import kin, process
from supervisor.unix.birth import Birth, Stage
from supervisor.unix.cgroup import Group, Tree
from supervisor.unix.notify import NotifySocket
from supervisor.unix.nursery import Nursery
from supervisor.unix.poller import Poller
from supervisor.unix.private import make_folders, make_passable, passable_beside
from supervisor.unix.spawn import Newborn, spawn
from supervisor.unix.words import CannotError

_OURS = ("NOTIFY_SOCKET", "LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PID", "WATCHDOG_USEC")
_NOT_PASSED_ON = frozenset({*_OURS, "KEEPD_RECORDS", "WATCHDOG_PID", "FDSTORE", "MAINPID"})


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
    pidfd: int = -1
    ear: NotifySocket | None = None
    spawned: bool = False  # told
    ready: bool = False  # said by it; told when it is spawned
    status: str = ""  # its own words
    records: str = ""  # path of the FIFO for its records, if it has one
    exit: Exit | None = None  # of the leader, which is kept as a zombie until all are gone
    told: bool = False  # Exited was told: others are left
    killing: bool = False  # whatever of it is found is to die
    failure: str | None = None  # why it never was a service


def tag(place: Place, replica: str, run: int) -> str:
    """Return the KEEPD_RUN of a run: inherited by all that it starts."""
    return f"{place.run_dir}:{replica}:{run}"


def passable_folder(place: Place) -> str:
    """Return the folder beside the runtime directory that others may pass."""
    return passable_beside(place.run_dir)


def notify_socket(run: Run, place: Place) -> NotifySocket:
    """Return the ear for a run that tells its readiness itself; OSError.

    A run with another user must get there, and so not through the runtime directory.
    """
    who = run.spec.identity
    if who is None or who.uid == os.geteuid():
        path = f"{place.run_dir}/notify/{run.id}.{run.number}"
        make_folders(os.path.dirname(path), 0o700)
        return NotifySocket(path)
    folder = passable_folder(place)
    make_passable(folder)
    return NotifySocket(f"{folder}/{run.id.replace('/', '+')}.{run.number}", who.uid)


def environment(run: Run) -> dict[str, str]:
    """Return the whole environment of a run."""
    env = {name: value for name, value in run.spec.env.items() if name not in _NOT_PASSED_ON}
    env[kin.TAG] = run.marks.tag
    env["KEEPD_REPLICA"] = run.id.rpartition("/")[2]
    env["KEEPD_SERVICE"] = run.spec.name
    if run.records:
        env["KEEPD_RECORDS"] = run.records
    if run.ear is not None:
        env["NOTIFY_SOCKET"] = run.ear.path
        if run.spec.watchdog is not None:  # and WATCHDOG_PID, which only the newborn knows
            env["WATCHDOG_USEC"] = str(int(run.spec.watchdog * 1e6))
    return env


def listens(spec: ServiceSpec) -> bool:
    """Return whether a service is given a socket to say how it is."""
    return spec.watchdog is not None or (spec.ready is not None and spec.ready.notify)


def argv(spec: ServiceSpec) -> tuple[str, ...]:
    """Return the command; that of a shell is one line."""
    return ("/bin/sh", "-c", " ".join(spec.command)) if spec.shell else spec.command


def needs_zygote(spec: ServiceSpec) -> bool:
    """Return whether something must be set up between birth and exec."""
    set_up = (spec.python, spec.identity, spec.umask, spec.nice, spec.watchdog)
    return any(each is not None for each in set_up) or bool(spec.limits)


def _folder(spec: ServiceSpec, place: Place) -> str:
    return os.path.normpath(os.path.join(place.base_cwd, spec.cwd))


def order(run: Run, place: Place) -> dict[str, Any]:
    """Return what a newborn of a zygote is told."""
    spec, who = run.spec, run.spec.identity
    what: Mapping[str, Any] = {"argv": argv(spec)}
    if spec.python is not None:
        title = f"{run.id} {spec.python}"
        call = spec.python
        what = {"call": call, "args": spec.args, "kwargs": dict(spec.kwargs), "title": title}
    return {
        **what,
        "env": environment(run),
        "cwd": _folder(spec, place),
        "nofile": place.nofile,
        "limits": {name: (limit.soft, limit.hard) for name, limit in spec.limits.items()},
        "nice": spec.nice,
        "umask": None if spec.umask is None else int(spec.umask, 8),
        "identity": who and (who.uid, who.gid, who.groups),
        "group": run.group.make() if run.group is not None else None,
    }


def command_order(run: Run, place: Place, argv: tuple[str, ...]) -> dict[str, Any]:
    """Return the order of a command that is run on behalf of a run, as it is run itself.

    It lives in the run's group and has its tag: so it can never outlive it.
    """
    spec = replace(run.spec, command=argv, shell=False, python=None)
    return order(replace(run, spec=spec, ear=None, records=""), place)


class Keeper(Protocol):
    """Who is told what becomes of births, and has the processes then."""

    def hold(self, run: Run, pid: int, pidfd: int) -> None:
        """Take a run's leader: it is our child, and nobody has reaped it."""

    def spawned(self, run: Run) -> None:
        """Hear that a birth is over, and went well."""

    def fail(self, run: Run, words: str) -> None:
        """Hear that it failed; what there is of the run is to be ended."""

    def heard(self, run: Run) -> None:
        """Hear that its notify socket can be read."""


class Births:
    """Brings runs to life, by posix_spawn or by a zygote."""

    def __init__(self, poller: Poller, place: Place, keeper: Keeper) -> None:
        self._poller = poller
        self._place = place
        self._keeper = keeper
        self._nursery = Nursery(poller)
        self._null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        # Of a low number, kept for the output of newborns: posix_spawn handles no descriptor above
        # the soft limit that they are born with.
        self._low = os.dup(self._null)

    def helpers(self) -> set[int]:
        """Return the pids of our zygotes."""
        return self._nursery.pids()

    def expecting(self) -> bool:
        """Return whether an unknown child may be a newborn that has not been told of yet."""
        return self._nursery.expecting()

    def bear(self, run: Run, out: int) -> None:
        """Begin a birth, with `out` as its output; OSError or CannotError if it cannot be."""
        if run.group is not None and run.group.populated():
            run.group.kill()
            raise CannotError("processes of an earlier run are still being killed")
        if listens(run.spec):
            run.ear = notify_socket(run, self._place)
            self._poller.watch(run.ear.fileno(), lambda _mask: self._keeper.heard(run))
        if needs_zygote(run.spec):
            self._ask(run, out)
        else:
            self._spawn(run, out)

    def _ask(self, run: Run, out: int) -> None:
        try:
            what = order(run, self._place)
            group = run.group.renew() if run.group and not run.spec.python else -1
            run.birth = Birth(self._poller, what, lambda: self._told(run), group)
        except ValueError as error:  # an argument that cannot be handed to another process
            raise CannotError(str(error)) from error
        interpreter = (run.spec.interpreter or sys.executable) if run.spec.python else None
        self._nursery.bear(interpreter, run.birth, out)

    def _spawn(self, run: Run, out: int) -> None:
        cwd, nofile = _folder(run.spec, self._place), self._place.nofile
        newborn = Newborn(argv(run.spec), environment(run), cwd, self._low, self._null, nofile)
        place_for_pidfd = os.dup(self._null)  # without one we could not hold what we bear
        os.dup2(out, self._low, inheritable=False)
        try:
            pid = spawn(newborn, run.group)
        finally:
            os.dup2(self._null, self._low, inheritable=False)
            os.close(place_for_pidfd)
        try:
            pidfd = process.pidfd_open(pid)
        except OSError:  # what cannot be held must not live; it is our child, and not yet reaped
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            raise
        self._keeper.hold(run, pid, pidfd)
        self._keeper.spawned(run)

    def _told(self, run: Run) -> None:
        birth = run.birth
        if birth is None:
            return
        if birth.stage is Stage.BORN:
            self._keeper.hold(run, birth.pid, birth.pidfd)
            return
        run.birth = None
        if birth.stage is Stage.FAILED:
            self._keeper.fail(run, birth.error)
        elif run.failure is None:
            self._keeper.spawned(run)

    def give_up(self, run: Run) -> None:
        """Want a birth in progress no more."""
        birth, run.birth = run.birth, None
        if birth is not None:
            birth.give_up()
            self._nursery.given_up(birth)

    def close(self) -> None:
        """End the zygotes."""
        self._nursery.close()
        os.close(self._null)
        os.close(self._low)

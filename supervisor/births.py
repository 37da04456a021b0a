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

from supervisor.core.spec import ServiceSpec
from supervisor.kept import Keeping
from supervisor.records import replace
from supervisor.runs import Place, Run
from supervisor.unix import kin, process
from supervisor.unix.birth import Birth, Stage
from supervisor.unix.notify import NotifySocket
from supervisor.unix.nursery import Nursery
from supervisor.unix.poller import Poller
from supervisor.unix.private import make_folders, make_passable, passable_beside
from supervisor.unix.spawn import Newborn, spawn
from supervisor.unix.words import CannotError

_OURS = ("NOTIFY_SOCKET", "LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PID", "WATCHDOG_USEC")
_NOT_PASSED_ON = frozenset({*_OURS, "KEEPD_RECORDS", "WATCHDOG_PID", "FDSTORE", "MAINPID"})


def notify_socket(run: Run, place: Place, kept: int | None = None) -> NotifySocket:
    """Return the ear for a run that tells its readiness itself; OSError.

    A run with another user must get there, and so not through the runtime directory.
    """
    who = run.spec.identity
    if who is None or who.uid == os.geteuid():
        path = f"{place.run_dir}/notify/{run.id}.{run.number}"
        make_folders(os.path.dirname(path), 0o700)
        return NotifySocket(path, kept=kept)
    folder = passable_beside(place.run_dir)
    make_passable(folder)
    return NotifySocket(f"{folder}/{run.id.replace('/', '+')}.{run.number}", who.uid, kept)


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

    def __init__(self, poller: Poller, place: Place, keeper: Keeper, keeping: Keeping) -> None:
        self._poller = poller
        self._keeping = keeping
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
        self.listen(run, {})
        self._keeping.flush()  # it may speak, and be spoken to, from now on, whatever becomes of us
        if needs_zygote(run.spec):
            self._ask(run, out)
        else:
            self._spawn(run, out)

    def listen(self, run: Run, kept: Mapping[str, int]) -> None:
        """Have an ear for a run that speaks; the one that was kept of it has what it has said."""
        if listens(run.spec):
            name = f"notify {run.id}.{run.number}"
            run.ear = notify_socket(run, self._place, kept.get(name))
            self._keeping.keep(name, run.ear.fileno())
            self._poller.watch(run.ear.fileno(), lambda _mask: self._keeper.heard(run))

    def forget(self, run: Run) -> None:
        """Let go of what was kept for a run that is over."""
        if listens(run.spec):
            self._keeping.drop(f"notify {run.id}.{run.number}")
        self._keeping.drop(f"pidfd {run.id}.{run.number}")

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

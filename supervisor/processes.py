"""Carries out the core's actions and reports what became of them: births, signals, deaths.

Nothing here decides, waits or raises: what went wrong is the next report. Of each run exactly one
last word is told, SpawnFailed or Gone, and only when no process of it is left; until then its
leader stays unreaped, so that nobody else can get its number.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import stat
from collections.abc import Callable, Iterable
from typing import Any

from supervisor import ears
from supervisor.births import (
    Births,
    Place,
    Run,
    Streams,
    command_order,
    passable_folder,
    tag,
)
from supervisor.core.events import (
    Action,
    BecameReady,
    Exited,
    Gone,
    Kill,
    Report,
    Spawn,
    Spawned,
    SpawnFailed,
    Terminate,
)
from supervisor.core.service import Service
from supervisor.core.spec import ServiceSpec
from supervisor.ipc import pidfd as pidfds
from supervisor.records import replace
from supervisor.sweeps import Sweeper
from supervisor.unix import cgroup, kin, process, signals
from supervisor.unix.leftovers import sweep_leftovers as _sweep_leftovers
from supervisor.unix.poller import Poller
from supervisor.unix.words import CannotError

__all__ = ["Place", "Processes", "Streams", "sweep_leftovers"]

_CANCELLED = "stopped before its birth was over"


def sweep_leftovers(place: Place, orphans: Callable[[], Iterable[int]] = tuple) -> list[str]:
    """Kill what an earlier keepd of this runtime directory left running; return a line for each."""
    return [str(each) for each in _sweep_leftovers(place.run_dir, place.tree, orphans)]


class Processes:
    """All runs that are not over. `report(id, report)` may be called from inside perform()."""

    def __init__(
        self, poller: Poller, report: Callable[[str, Report], None], streams: Streams, place: Place
    ) -> None:
        self._poller = poller
        self._report = report
        self._streams = streams
        self.no_groups = ""  # why there are no cgroups, in words
        if place.groups and place.tree is None:
            tree, self.no_groups = cgroup.settle(place.project, place.run_dir)
            place = replace(place, tree=tree)
        self.need = ""  # what could not be done, in words; the next sweep tries again
        self.place = place
        self._runs: dict[str, Run] = {}
        self._by_pid: dict[int, Run] = {}
        self._ended: dict[str, Run] = {}  # the leader is dead, the run not over yet
        self._births = Births(poller, place, self)
        self.spared: Callable[[], set[int]] = set  # children that others have, and reap
        self._sweeper = Sweeper(self._by_pid, lambda: self._births.helpers() | self.spared())
        self._settling = False
        self._reaping = False
        process.keep_private()

    # ---- what the master asks for ---------------------------------------------------------------

    def perform(self, id: str, spec: ServiceSpec, action: Action) -> None:  # noqa: A002
        """Carry out an action; what becomes of it is reported."""
        run = self._runs.get(id)
        match action:
            case Spawn(number):
                self._spawn(id, spec, number)
            case Terminate(number) if run is not None and run.number == number:
                self._guarded(self._terminate, run)
            case Kill(number) if run is not None and run.number == number:
                self._guarded(self._kill, run)
            case Kill(number):  # over, and told to be; or lost in a turn that went wrong
                self._report(id, Gone(number, None))
            case _:  # over, and told to be
                return

    def signal(self, id: str, signum: int) -> bool:  # noqa: A002
        """Send a signal to the leader; False if there is none."""
        run = self._runs.get(id)
        if run is None or run.pidfd < 0 or not run.spawned or run.exit is not None:
            return False
        return pidfds.send_signal(run.pidfd, signum)

    def order(self, id: str, argv: tuple[str, ...]) -> dict[str, Any]:  # noqa: A002
        """Return how to bear a command on behalf of a replica that runs; {} if it does not."""
        run = self._runs.get(id)
        return {} if run is None else command_order(run, self.place, argv)

    def hook_order(self, service: Service, number: int, argv: tuple[str, ...]) -> dict[str, Any]:
        """Return how to bear a command that tells of a run, whether it is over or not."""
        marks = kin.Marks(tag(self.place, service.id, number), None)
        run = Run(service.id, number, service.spec, None, marks)
        return command_order(run, self.place, argv)

    def pid(self, id: str) -> int | None:  # noqa: A002
        """Return the pid of the leader, while it lives."""
        run = self._runs.get(id)
        return run.pid if run is not None and run.pid and run.exit is None else None

    def words(self, id: str) -> str:  # noqa: A002
        """Return what the service says of itself (STATUS= of sd_notify), or nothing."""
        run = self._runs.get(id)
        return run.status if run is not None else ""

    def forget(self, id: str) -> None:  # noqa: A002
        """Let go of what is kept from run to run: the replica will not be seen again."""
        if self.place.tree is not None and id not in self._runs:
            self.place.tree.group(id).remove()

    def strangers(self) -> list[int]:
        """Return children of ours that can be attributed to no run: descendants that hid."""
        self._sweeper.look_anew()
        return [pid for pid, run in self._sweeper.strangers() if run is None]

    def kill_strangers(self) -> None:
        """KILL those too: the last act of a shutdown."""
        kin.kill_all(lambda: kin.family(self.strangers()))

    def child_died(self) -> None:
        """Hear SIGCHLD: reap strangers, go on with sweeps."""
        self._reaping = True
        self._settle_soon()

    def _settle_soon(self) -> None:
        if not self._settling:
            self._settling = True
            self._poller.later(self._settle)

    def sweep(self) -> None:
        """Compare what we believe with what is: one poll() over all pidfds."""
        self.need = ""
        alive = {run.pidfd: run for run in self._by_pid.values() if run.exit is None}
        poll = select.poll()
        for fd in alive:
            poll.register(fd, select.POLLIN)
        for fd, _ in poll.poll(0):
            self._died(alive[fd])
        self.child_died()

    def close(self) -> None:
        """Let go of zygotes, descriptors and groups; what still runs is left alone."""
        self._births.close()
        self._sweeper.close()
        for run in self._runs.values():
            self._release(run)
        self._runs.clear()
        self._by_pid.clear()
        with contextlib.suppress(OSError):  # nobody has needed it
            os.rmdir(passable_folder(self.place))
        if self.place.tree is not None:
            self.place.tree.remove()

    # ---- birth ----------------------------------------------------------------------------------

    def _spawn(self, id_: str, spec: ServiceSpec, number: int) -> None:
        if id_ in self._runs:
            self._report(id_, SpawnFailed(number, "the run before it is not over"))
            return
        try:
            out = self._streams.open(id_, number, spec.log)
            at = os.fstat(out)
            output = (at.st_dev, at.st_ino) if stat.S_ISFIFO(at.st_mode) else None
            uid = spec.identity.uid if spec.identity else None
            records = self._streams.records(id_, number, uid) if spec.log.records else ""
            if output and spec.identity:  # it may open its /dev/stdout again by name
                os.fchown(out, spec.identity.uid, -1)
        except OSError as error:
            self._streams.end(id_, number)
            self._report(id_, SpawnFailed(number, f"output: {error.strerror or error}"))
            return
        group = self.place.tree.group(id_) if self.place.tree else None
        marks = kin.Marks(tag(self.place, id_, number), output)
        run = self._runs[id_] = Run(id_, number, spec, group, marks, records=records)
        try:
            self._births.bear(run, out)
        except (OSError, CannotError) as error:
            self.fail(run, getattr(error, "strerror", None) or str(error))

    def hold(self, run: Run, pid: int, pidfd: int) -> None:
        """Take a run's leader: it is our child, and nobody has reaped it."""
        run.pid, run.pidfd = pid, pidfd
        self._by_pid[pid] = run
        self._poller.watch(pidfd, lambda _mask: self._died(run))

    def spawned(self, run: Run) -> None:
        """Say that a birth is over, and went well."""
        run.birth = None
        run.spawned = True
        self._report(run.id, Spawned(run.number))
        if run.ready:
            self._report(run.id, BecameReady(run.number))

    def fail(self, run: Run, words: str) -> None:
        """End a birth; the report comes when no process of it is left."""
        run.failure = run.failure or words
        self._births.give_up(run)
        if run.pid:
            self._kill(run)
        else:
            self._over(run)

    def heard(self, run: Run) -> None:
        """Take what a run says on its notify socket."""
        for report in ears.news(run):
            self._report(run.id, report)

    # ---- death ----------------------------------------------------------------------------------

    def _terminate(self, run: Run) -> None:
        if not run.spawned:
            self.fail(run, _CANCELLED)
        elif run.exit is None:
            pidfds.send_signal(run.pidfd, signals.number(run.spec.stop.signal))
            pidfds.send_signal(run.pidfd, signal.SIGCONT)
        else:
            self._sweeper.terminate(run)

    def _kill(self, run: Run) -> None:
        run.killing = True
        if not run.spawned and run.failure is None:
            self.fail(run, _CANCELLED)
        else:
            self.child_died()
            self._guarded(self._sweeper.kill, run)

    def _died(self, run: Run) -> None:
        self._poller.forget(run.pidfd)
        self._ended[run.id] = run
        self._settle_soon()

    def _settle(self) -> None:
        """Look once at all that has died since: told, swept, reaped."""
        self._settling = False
        self._sweeper.look_anew()
        for run in list(self._ended.values()):
            self._guarded(self._settle_one, run)
        # Only after a SIGCHLD: with many children it takes a while, and somebody is to be born now.
        # And an unknown child may be a newborn that has not been told of yet.
        if self._reaping and not self._births.expecting():
            self._reaping = False
            self._sweeper.reap()

    def _settle_one(self, run: Run) -> None:
        if run.exit is None:
            run.exit = pidfds.peek(run.pidfd)
            if run.exit is None:
                self._poller.watch(run.pidfd, lambda _mask: self._died(run))
                return
            if run.birth is not None:
                run.birth.settle()
        if not self._sweeper.left(run):
            self._over(run)
        elif run.killing or run.failure is not None:
            self._sweeper.kill(run)
        elif not run.told:
            run.told = True
            self._report(run.id, Exited(run.number, run.exit.code))

    def _guarded(self, act: Callable[[Run], None], run: Run) -> None:
        try:
            act(run)
        except OSError as error:  # no descriptors left, say
            self.need = f"cannot look after {run.id}: {error.strerror or error}"

    def _over(self, run: Run) -> None:
        """Say the last word of a run."""
        code = run.exit.code if run.exit is not None else None
        if run.pidfd >= 0:
            pidfds.reap(run.pidfd)
        self._release(run)
        self._runs.pop(run.id, None)
        self._ended.pop(run.id, None)
        self._by_pid.pop(run.pid, None)
        self._streams.end(run.id, run.number)
        if run.failure is not None:
            self._report(run.id, SpawnFailed(run.number, run.failure))
        else:
            self._report(run.id, Gone(run.number, code))

    def _release(self, run: Run) -> None:
        if run.birth is not None:
            run.birth.give_up()
        fd, run.pidfd = run.pidfd, -1  # first: a second time it would be somebody else's number
        if fd >= 0:
            self._poller.forget(fd)
            os.close(fd)
        ear, run.ear = run.ear, None
        if ear is not None:
            self._poller.forget(ear.fileno())
            ear.close()

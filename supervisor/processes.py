"""Carries out the core's actions and reports what became of them: births, signals, deaths.

Nothing here decides, waits or raises: what went wrong is the next report. Of each run exactly one
last word is told, SpawnFailed or Gone, and only when no process of it is left; until then its
leader stays unreaped, so that nobody else can get its number.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable, Iterable
from typing import Any

from supervisor import ears
from supervisor.births import Births, command_order
from supervisor.core.events import (
    Action,
    Adopt,
    BecameReady,
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
from supervisor.deaths import Deaths
from supervisor.inherited import CUT_SHORT, DOUBT
from supervisor.ipc import pidfd as pidfds
from supervisor.ipc.pidfd import Exit
from supervisor.records import replace
from supervisor.runs import Book, Place, Run, Streams, tag
from supervisor.ties import Ties
from supervisor.unix import cgroup, kin, process
from supervisor.unix.leftovers import sweep_leftovers as _sweep_leftovers
from supervisor.unix.poller import Poller
from supervisor.unix.private import passable_beside
from supervisor.unix.words import CannotError

__all__ = ["Processes", "sweep_leftovers"]


def sweep_leftovers(place: Place, orphans: Callable[[], Iterable[int]] = tuple) -> list[str]:
    """Kill what an earlier keepd of this runtime directory left running; return a line for each."""
    return [str(each) for each in _sweep_leftovers(place.run_dir, place.tree, orphans)]


class Processes:
    """All runs that are not over. `report(id, report)` may be called from inside perform()."""

    def __init__(
        self,
        poller: Poller,
        report: Callable[[str, Report], None],
        streams: Streams,
        place: Place,
        ties: Ties,
    ) -> None:
        self._poller = poller
        self._report = report
        self._streams = streams
        self._ties = ties
        self.no_groups = ""  # why there are no cgroups, in words
        if place.groups and place.tree is None:
            tree, self.no_groups = cgroup.settle(place.project, place.run_dir, ties.file.groups)
            ties.file.groups = tree.base if tree else ""
            place = replace(place, tree=tree)
        self.place = place
        self._book = Book()
        self._births = Births(poller, place, self, ties.keeping)
        self.deaths = Deaths(poller, self._book, ties, self._births, streams)
        self.deaths.report = report
        self.deaths.look_into = self._look_into
        process.keep_private()

    # ---- what the master asks for ---------------------------------------------------------------

    def perform(self, id: str, spec: ServiceSpec, action: Action) -> None:  # noqa: A002
        """Carry out an action; what becomes of it is reported."""
        run = self._book.by_id.get(id)
        match action:
            case Spawn(number):
                self._spawn(id, spec, number)
            case Adopt(number):
                self._adopt(id, spec, number)
            case Terminate(number) if run is not None and run.number == number:
                self.deaths.guarded(self.deaths.terminate, run)
            case Kill(number) if run is not None and run.number == number:
                self.deaths.guarded(self.deaths.kill, run)
            case Kill(number):  # over, and told to be; or lost in a turn that went wrong
                self._report(id, Gone(number, None))
            case _:  # over, and told to be
                return

    @property
    def impatient(self) -> bool:
        """Return whether the next sweep should come soon."""
        return bool(self.deaths.need) or self._ties.inherited.waits()

    def signal(self, id: str, signum: int) -> bool:  # noqa: A002
        """Send a signal to the leader; False if there is none."""
        run = self._book.by_id.get(id)
        if run is None or run.pidfd < 0 or not run.spawned or run.exit is not None:
            return False
        return pidfds.send_signal(run.pidfd, signum)

    def order(self, id: str, argv: tuple[str, ...]) -> dict[str, Any]:  # noqa: A002
        """Return how to bear a command on behalf of a replica that runs; {} if it does not."""
        run = self._book.by_id.get(id)
        return {} if run is None else command_order(run, self.place, argv)

    def hook_order(self, service: Service, number: int, argv: tuple[str, ...]) -> dict[str, Any]:
        """Return how to bear a command that tells of a run, whether it is over or not."""
        marks = kin.Marks(tag(self.place, service.id, number), None)
        run = Run(service.id, number, service.spec, None, marks)
        return command_order(run, self.place, argv)

    def pid(self, id: str) -> int | None:  # noqa: A002
        """Return the pid of the leader, while it lives."""
        run = self._book.by_id.get(id)
        return run.pid if run is not None and run.pid and run.exit is None else None

    def words(self, id: str) -> str:  # noqa: A002
        """Return what the service says of itself (STATUS= of sd_notify), or nothing."""
        run = self._book.by_id.get(id)
        if run is not None and run.doubt and self._ties.inherited.in_doubt(id):
            return DOUBT
        return run.status if run is not None else ""

    def ears(self) -> dict[str, int]:
        """Return the sockets on which runs speak to us, by the name they are kept by."""
        heard = [run for run in self._book.by_id.values() if run.ear is not None]
        return {f"notify {r.id}.{r.number}": r.ear.fileno() for r in heard if r.ear}

    def pidfds(self) -> dict[str, int]:
        """Return the leaders that others reap, by the name they are kept by: how each ends."""
        held = [run for run in self._book.by_id.values() if run.inherited and run.pidfd >= 0]
        return {f"pidfd {run.id}.{run.number}": run.pidfd for run in held}

    def forget(self, id: str) -> None:  # noqa: A002
        """Let go of what is kept from run to run: the replica will not be seen again."""
        if self.place.tree is not None and id not in self._book.by_id:
            self.place.tree.group(id).remove()

    def zygotes(self) -> set[int]:
        """Return the pids of our zygotes."""
        return self._births.helpers()

    def strangers(self) -> list[int]:
        """Return children of ours that can be attributed to no run: descendants that hid."""
        self.deaths.sweeper.look_anew()
        return [pid for pid, run in self.deaths.sweeper.strangers() if run is None]

    def kill_strangers(self) -> None:
        """KILL those too: the last act of a shutdown."""
        kin.kill_all(lambda: kin.family(self.strangers()))

    def close(self) -> None:
        """Let go of zygotes, descriptors and groups; what still runs is left alone."""
        self._births.close()
        self.deaths.close()
        with contextlib.suppress(OSError):  # nobody has needed it
            os.rmdir(passable_beside(self.place.run_dir))
        if self.place.tree is not None:
            self.place.tree.remove()

    # ---- birth ----------------------------------------------------------------------------------

    def _spawn(self, id_: str, spec: ServiceSpec, number: int) -> None:
        if id_ in self._book.by_id:
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
        run = self._run(id_, number, spec, output)
        run.records = records
        try:
            self._births.bear(run, out)
        except (OSError, CannotError) as error:
            self.deaths.fail(run, getattr(error, "strerror", None) or str(error))

    def _run(self, id_: str, number: int, spec: ServiceSpec, output: tuple[int, int] | None) -> Run:
        group = self.place.tree.group(id_) if self.place.tree else None
        marks = kin.Marks(tag(self.place, id_, number), output)
        run = self._book.by_id[id_] = Run(id_, number, spec, group, marks)
        return run

    def _adopt(self, id_: str, spec: ServiceSpec, number: int) -> None:
        if id_ in self._book.by_id:
            return
        fifo = self._streams.fifo(id_, number)
        at = None if fifo is None else os.fstat(fifo)
        run = self._run(id_, number, spec, at and (at.st_dev, at.st_ino))
        trace = self._ties.inherited.trace(id_, number)
        run.inherited, run.asked = True, trace.asked
        run.status = self._ties.inherited.said(id_)
        run.doubt = True  # until its leader is held, or known to be gone
        self.deaths.guarded(self._look_into, run)

    def _take_over(self, run: Run) -> None:
        """Hold the leader of a run that another master began, or hear what is left of it."""
        inherited = self._ties.inherited
        trace = inherited.trace(run.id, run.number)
        held = (run.pid, run.pidfd) if run.pidfd >= 0 else None
        run.mark = trace.mark if trace.pid else ""
        found = held or inherited.find(run, trace)
        if found is None:
            run.doubt = False
            taken = kin.stat(trace.pid) is not None  # by somebody else, who may lead a session
            run.pid = (0 if taken else trace.pid) or next(self._book.nobody)
            self._book.by_pid[run.pid] = run
            run.exit = Exit(int(trace.end) if trace.end and trace.end != "failed" else None)
            run.spawned = bool(trace.pid) and trace.end != "failed"
            run.failure = None if run.spawned else CUT_SHORT
            self.deaths.died(run)
            return
        run.pid, run.pidfd = found
        if run.ear is None:
            self._births.listen(run, self._ties.kept)
        self.hold(run, *found)
        run.spawned, run.doubt = True, False
        self._report(run.id, Spawned(run.number))
        if run.killing:
            self.deaths.kill(run)
        elif run.ending:
            self.deaths.terminate(run)

    def hold(self, run: Run, pid: int, pidfd: int) -> None:
        """Take a run's leader: what it is, is noted before anything else happens."""
        run.pid, run.pidfd = pid, pidfd
        self._book.by_pid[pid] = run
        self._ties.file.trace(run.id, run.trace())
        self.deaths.watch(run)
        if run.inherited or self._ties.stores:
            self._ties.keeping.keep(f"pidfd {run.id}.{run.number}", pidfd)

    def spawned(self, run: Run) -> None:
        """Say that a birth is over, and went well."""
        run.birth = None
        run.spawned = True
        self._report(run.id, Spawned(run.number))
        if run.ready:
            self._report(run.id, BecameReady(run.number))

    def fail(self, run: Run, words: str) -> None:
        """End a birth; the report comes when no process of it is left."""
        self.deaths.fail(run, words)

    def heard(self, run: Run) -> None:
        """Take what a run says on its notify socket."""
        before = run.status
        for report in ears.news(run):
            self._report(run.id, report)
        if run.status != before:
            with contextlib.suppress(OSError):  # then a successor does not know it
                self._ties.file.say(run.id, run.status)

    def _look_into(self, run: Run) -> None:
        """Come out of doubt, if that can be."""
        inherited = self._ties.inherited
        if inherited.trace(run.id, run.number).pid or not inherited.in_doubt(run.id):
            self._take_over(run)

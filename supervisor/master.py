"""The loop: wait, hear, decide, do. One thread, ever; it never blocks, and polls only in the sweep.

Everything that happens (a death, a word on the control socket, a signal, time) becomes an event for
the core; whatever the core answers is carried out by others. The master writes no file but the FIFO
of its own events, and leaves only when the core says so, or when its anchor is gone.
"""

from __future__ import annotations

import collections
import contextlib
import gc
import os
import select
import sys
import time
import traceback

from supervisor import beginning, hooks, succession
from supervisor.config import plan as plans
from supervisor.control.server import Server
from supervisor.core import words
from supervisor.core.events import (
    Changed,
    Do,
    Forgot,
    Heard,
    Input,
    Kill,
    Leave,
    Noted,
    Output,
    PlanWanted,
    Report,
    Spawn,
    Spawned,
    SpawnFailed,
    TimePassed,
)
from supervisor.core.supervisor import Supervisor
from supervisor.described import Described
from supervisor.inherited import Inherited, Parent
from supervisor.kept import Keeping
from supervisor.launch import Launch
from supervisor.logs.relay import LogRelay
from supervisor.processes import Processes
from supervisor.readiness import Readiness
from supervisor.reloads import Reloads
from supervisor.runfiles import RunFile
from supervisor.runs import Place
from supervisor.superiors import Anchored, Promoted, Superiors
from supervisor.ties import Ties
from supervisor.unix import notify, process
from supervisor.unix.poller import Poller
from supervisor.upgrades import Upgrades
from supervisor.verbs import Desk, Verbs

DRAIN = 10.0  # seconds that the log writer has for the last words, on a full disk say
SWEEP = 5.0  # seconds between two is_alive sweeps
RETRY = 1.0  # the same, while something could not be done for want of descriptors, say
STUMBLE = 0.1  # seconds; a bug that strikes every turn must not take the machine


def run_master(launch: Launch, anchored: Anchored) -> int:
    """Be the master until the core says Leave; return the exit code of keepd."""
    process.subreaper()
    os.chdir(launch.folder)  # where services start that say nothing else
    try:
        master = Master(launch, anchored)
    except OSError as error:
        print(f"cannot start keepd: {error}", file=sys.stderr)  # noqa: T201 - there is no log yet
        return process.CRASHED
    gc.collect()
    gc.freeze()  # the plan stays: no collection need ever look at it again
    while master.code is None:
        try:
            master.turn()
        except Exception:  # noqa: BLE001 - the one net of this loop: a bug must not end all services
            master.stumbled(traceback.format_exc(limit=-3))
    if master.superiors.promoted:
        raise Promoted(master.heirlooms())
    if master.code != process.CRASHED:  # else all stays as it is, for who takes it over
        master.close()
    return master.code


class Master:
    """The loop and what hangs on it."""

    def __init__(self, launch: Launch, anchored: Anchored) -> None:
        """Take over what an earlier master has left, then want up what the launch names."""
        self.launch, self.anchored = launch, anchored
        self.anchor_pid, self.born = anchored.pid, anchored.born
        self.file = RunFile(launch.run_dir)
        self.plan, self.file.plan = succession.read_plan(launch.run_dir)
        self.code: int | None = None
        self.stopping = False  # all is to end, and that is told
        self.leaving: tuple[float, int] | None = None  # at the latest when, and with what code
        self.reports: collections.deque[tuple[str, Report]] = collections.deque()
        self.urged = False  # the log writer has been given up once
        self.swept = self.now()
        self.in_need = False
        self.poller = Poller()
        self.superiors = Superiors(self.poller, anchored, self)
        past = self.file.past
        before = succession.specs_of(past, self.plan, self.file.plan, launch.run_dir)
        self.supervisor = Supervisor(before, seed=os.getpid())
        self.notes = succession.Notes(self.file, self.supervisor.services)
        self._allow_for_stops()
        self.keeping = Keeping(self.poller, self.superiors.anchor)
        places = (launch.run_dir, launch.log_dir)
        self.relay = LogRelay(self.poller, places, self.say, self.keeping)
        place = Place(launch.run_dir, launch.project, launch.folder, anchored.nofile)
        parent = Parent(anchored.orphans, self.superiors.let_go, anchored.kept)
        ties = Ties(
            *(self.file, self.keeping, Inherited(self.file, parent), anchored.kept),
            stores=notify.stores(),
        )
        self.processes = Processes(self.poller, self._report, self.relay, place, ties)
        services, order = self.supervisor.services, self.processes.order
        self.readiness = Readiness(self.poller, self.relay, services, self._report, order)
        self.described = Described(self, anchored)
        self.hooks = hooks.Hooks(
            self.readiness.probes,
            hooks.Desk(services, self.described.one, self.processes.hook_order, self.say, self.now),
        )
        self.reloads = Reloads(self.poller, self)
        self.upgrades = Upgrades(self.poller, self, launch.run_dir)
        self.processes.deaths.spared = lambda: self.reloads.pids() | self.upgrades.pids()
        self.stumbled_at = 0.0
        self._start(anchored)

    def _start(self, anchored: Anchored) -> None:
        beginning.take_over(self, anchored)
        if self.processes.no_groups:
            self.say(f"no cgroups: {self.processes.no_groups}")
        desk = Desk(
            supervisor=self.supervisor,
            handle=self.handle,
            status=self.described.status,
            signal=self.processes.signal,
            reload=self.reloads.ask,
            upgrade=self.upgrades.ask,
            config=self.plan.config,
            now=self.now,
            log_dir=self.launch.log_dir,
            anchor_pid=self.anchor_pid,
        )
        self.verbs = Verbs(desk)
        path = f"{self.launch.run_dir}/control.sock"
        self.server = Server(self.poller, path, self.verbs.table(), self.say, anchored.sockets())
        self.keeping.keep(f"socket {self.server.inode}", self.server.fileno())
        beginning.begin(self, anchored)
        self.superiors.notify("READY=1")

    def notify(self, text: str) -> None:
        """Tell it to systemd, if that is who has started us."""
        self.superiors.notify(text)

    def become_new(self) -> None:
        """Let the anchor take over to the code that is installed now."""
        self.superiors.become_new()

    def stumbled(self, why: str) -> None:
        """Tell of a turn that went wrong; one that goes wrong again at once is slowed down."""
        self.say(f"cannot go on as usual: {why}")
        if self.now() - self.stumbled_at < STUMBLE:
            select.poll().poll(STUMBLE * 1000)
        self.stumbled_at = self.now()

    @staticmethod
    def now() -> float:
        """Return the time on the one clock that durations are measured by."""
        return time.monotonic()

    def turn(self) -> None:
        """Wait for something to happen, and do what follows from it."""
        self.anchored.beat.beat(self.now())
        self.poller.wait(self._patience())
        self._drain()
        now = self.now()
        if now >= self._next_sweep():
            self.swept = now
            self.processes.deaths.sweep()
            self.readiness.sweep()
            self.keeping.flush()
            if not self.relay.attached:
                self.superiors.ask_for_writer()
            self._drain()
        if self.processes.deaths.need and not self.in_need:
            self.say(f"{self.processes.deaths.need}; trying again every second")
        self.in_need = bool(self.processes.deaths.need)
        heard, deadline = self.poller.heard_at, self.supervisor.next_deadline()
        if deadline is not None and deadline <= heard:  # not `now`: who was not heard is not late
            self.handle(TimePassed(), heard)
            self._drain()
        self.verbs.look()
        self.hooks.look()
        self.reloads.look()
        self.upgrades.look()
        self.superiors.look()
        if self.leaving is not None:
            self._leave(now, *self.leaving)

    def handle(self, event: Input, now: float | None = None) -> None:
        """Tell the core, and carry out what it answers."""
        outputs = self.supervisor.handle(event, self.now() if now is None else now)
        if self.supervisor.shutdown and not self.stopping:
            self.stopping = True
            self.anchored.beat.stop()  # no next master starts anything
            with contextlib.suppress(OSError):
                self.file.begun(False, self.supervisor.exit_code)  # what is started later is anew
        for output in sorted(outputs, key=_rank):  # who reads our words must not delay a birth
            self._carry_out(output)

    def _leave(self, now: float, end: float, code: int) -> None:
        """End when it is time, whatever the log writer is at."""
        if now >= end - DRAIN / 2 and not self.urged:
            self.urged = True
            self.relay.end_writer()  # it may stand still: another goes on where it was
        if now >= end:
            self.code = code

    def switch(self, plan: plans.Plan) -> None:
        """Have this plan from now on, and touch only what it changes."""
        self.plan, self.file.plan = plan, succession.plan_mark(self.launch.run_dir)
        self.handle(PlanWanted(plan.services))
        self.notes.everyone()
        for key, service in self.supervisor.services.items():
            self.relay.change(key, service.spec.log)
        self._allow_for_stops()
        self.superiors.changed = True

    def _allow_for_stops(self) -> None:
        if not self.superiors.managed:  # nobody ends us after TimeoutStopSec
            limit = max(self.supervisor.shutdown_limit, self.supervisor.longest_stop())
            self.supervisor.shutdown_limit = limit

    def close(self) -> None:
        """Let go of everything, so that whoever waits for our end hears it."""
        self.server.close()
        self.reloads.close()
        self.upgrades.close()
        self.readiness.close()
        self.processes.close()
        self.relay.close()
        self.file.close()
        self.poller.close()

    def heirlooms(self) -> dict[str, int]:
        """Return what must stay open whatever becomes of us, by name; ends the log writer.

        Its own end would wait for its turn, and another is to begin at once.
        """
        self.relay.end_writer()
        kept = {**self.relay.fifos(), **self.processes.ears(), **self.processes.pidfds()}
        return {**kept, f"socket {self.server.inode}": self.server.fileno()}

    def _patience(self) -> float:
        times = [self._next_sweep(), *(self.leaving or ())[:1]]
        others = (self.supervisor, self.verbs, self.reloads, self.upgrades, self.hooks)
        deadlines = [other.next_deadline() for other in others]
        times.extend(deadline for deadline in deadlines if deadline is not None)
        return 0.0 if self.reports else max(0.0, min(times) - self.now())

    def _next_sweep(self) -> float:
        return self.swept + (RETRY if self.in_need or self.processes.impatient else SWEEP)

    def _drain(self) -> None:
        for _ in range(len(self.reports)):  # what follows at once waits: others have their turn
            key, report = self.reports.popleft()
            self.handle(Heard(key, report))
            if isinstance(report, Spawned):
                self.readiness.born(key, report.run)

    def _carry_out(self, output: Output) -> None:
        match output:
            case Noted(key):
                self.notes.note(key)
            case Do(key, Spawn(run)) if why := self.notes.obstacle(key):
                self._report(key, SpawnFailed(run, why))
            case Do(key, action):
                if isinstance(action, Kill):
                    self.say(words.kill_words(self.supervisor.services[key]))
                self.processes.perform(key, self.supervisor.services[key].spec, action)
            case Changed(key, before, after):
                self._tell(key, before, after)
            case Forgot(key, how):
                self.readiness.forget(key)
                self.processes.forget(key)
                self.notes.forget(key)
                self.say(f"{key} is removed ({how})")
            case Leave(code):
                self.leaving = (self.now() + DRAIN, code)
                self.reloads.close()
                self.upgrades.close()
                self.hooks.finish(lambda: self._clear_up(code))

    def _clear_up(self, code: int) -> None:
        self.readiness.close()
        with contextlib.suppress(OSError):  # out of descriptors, say; they were asked
            self.processes.kill_strangers()
        self.say(f"keepd leaves with exit code {code}")
        self.relay.finish(lambda: self._left(code))

    def _left(self, code: int) -> None:
        self.code = code
        if not self.supervisor.busy:
            self.file.remove()

    def _tell(self, key: str, before: str, after: str) -> None:
        self.superiors.changed = True
        service = self.supervisor.services.get(key)
        if service is None:  # it is forgotten, which is told
            return
        self.readiness.changed(key, after)
        line = words.changed_words(service, before, after, self.processes.pid(key))
        if line:
            self.say(line)
        self.hooks.changed(key, before, after)

    def _report(self, key: str, report: Report) -> None:
        self.reports.append((key, report))

    def say(self, text: str) -> None:
        """Tell it to keepd's own log."""
        self.relay.say(text)


def _rank(output: Output) -> int:
    return 0 if isinstance(output, Noted) else 1 if isinstance(output, Do) else 2

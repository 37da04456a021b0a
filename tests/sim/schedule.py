"""One schedule: services by chance, an operator at awkward moments, and a shutdown.

Everything follows from the seed: the same seed is the same story, to the last digit.
"""

import random
from dataclasses import dataclass
from typing import Any

from supervisor.core import memory as real_memory
from supervisor.core import service as real_service
from supervisor.core import supervisor as real_supervisor
from supervisor.core.events import (
    BecameReady,
    CheckFailed,
    CheckPassed,
    Exited,
    Gone,
    Heard,
    PlanWanted,
    RestartWanted,
    ShutdownWanted,
    Spawned,
    SpawnFailed,
    StartWanted,
    StopWanted,
    TimePassed,
)

from .deaths import Deaths
from .edits import List
from .kept import Kept
from .survivor import Survivor
from .world import World

EVENTS = 40  # at least so many are handled in every schedule
STEPS = 5_000  # a schedule that takes more goes round in circles
AFTER_ALL = 100.0  # seconds for which the core is watched when it has left
TIME_PASSED = TimePassed()

DEADLY = (*[0.0] * 7, 0.01, 0.04, 0.15)  # how likely the master dies of a word that it hears
BUDGETS = (1, 2, 3, 50)
PAUSES = (0.0, 0.0, 0.02, 0.3, 1.0, 4.0, 15.0, 40.0)  # from one command to the next


@dataclass(frozen=True, slots=True)
class Core:
    """What is tried: the real core, or a mutant of it."""

    Supervisor: Any = real_supervisor.Supervisor
    State: Any = real_service.State
    note: Any = real_memory.note


REAL = Core()


class Schedule(Deaths):
    """A supervisor in a world, and what is done to both."""

    def __init__(self, seed, core=REAL, trace=None):
        self.rng = rng = random.Random(seed)
        self.trace = trace
        self.list = List(rng)
        specs = self.list.specs()
        budget = rng.choice(BUDGETS)
        self.supervisor = core.Supervisor(specs, seed=seed, budget=budget)
        self.world = World(rng, self.step)
        self.witness = Survivor(core, self.world, self.supervisor)
        self.deadline = self.foreseen = None
        self.seed, self.away, self.cut_short = seed, False, False
        self.deadly = rng.choice(DEADLY)
        self.kept = Kept(core, specs, self.keys)
        if self.deadly:
            for key in self.keys:
                self.kept.write(self.supervisor, key)
        self.steps = 0
        self.editing = rng.random() < 0.6
        self.commands = 6 + int(rng.random() * 20)
        if trace:
            trace(f"budget {budget}")
            for name, replicas in specs.items():
                trace(f"{name} x {len(replicas)}: {replicas[0]}")

    @property
    def keys(self):
        return tuple(self.supervisor.services)

    def run(self):
        """Live through it all; raise AssertionError where a promise is broken."""
        self.world.at(0, self.command, StartWanted(self.keys))
        self.world.at(self.rng.random(), self.operate)
        while self.witness.left is None:
            assert self._advance(), "waits for nothing"
            assert self.steps < STEPS, "goes round in circles"
        self.world.at(self.rng.random(), self.command, ShutdownWanted(0.0))
        until = self.world.now + AFTER_ALL
        while self.world.now < until and self._advance():
            assert self.steps < STEPS, "goes round in circles"
        while self.steps < EVENTS and not self.away:
            self.step(self.nonsense())
        self.witness.ended()

    def _advance(self):
        world, due = self.world, self.deadline
        if due is not None and (not world.queue or due < world.queue[0][0]):
            world.now = max(world.now, due)
            self.step(TIME_PASSED)
            return True
        return world.happen()

    def step(self, event):
        """Let the core hear `event`, carry out its answer, and see that all is well."""
        if self.away:
            return
        foreseen, self.foreseen = self.foreseen or self.foresee(), None
        self.steps += 1
        world, supervisor, witness = self.world, self.supervisor, self.witness
        if type(event) is Heard:
            witness.told(event.id, event.report)
        outputs = supervisor.handle(event, world.now)
        self.tell(event, outputs)
        if type(event) is PlanWanted:
            witness.rearranged()
        if outputs:
            witness.saw(outputs)
        if self.deadly:
            if not self.carry_out(event, outputs, foreseen):
                return
        else:
            for output in outputs:
                self.act(output)
        self.deadline = deadline = supervisor.next_deadline()
        witness.check(deadline)
        if event is TIME_PASSED:
            witness.heard_time(deadline, outputs)

    def tell(self, event, outputs):
        if self.trace:
            told = f"{self.world.now:10.3f} {event}"
            self.trace(told + "".join(f"\n{'':15}{o}" for o in outputs))

    def command(self, event):
        if self.away:
            self.world.at(0.5, self.command, event)
            return
        self.foreseen = self.foresee()
        kind = type(event)
        if kind is ShutdownWanted:
            self.witness.command(shutdown=True, patience=event.patience)
        elif kind is PlanWanted:
            if not self.supervisor.shutdown:
                self.kept.plan = event.specs
            self.witness.reload(event.specs)
        else:
            ids = frozenset(event.ids)
            self.witness.command(**{"stop" if kind is StopWanted else "start": ids})
            if kind is RestartWanted:
                self.witness.restarted |= ids
        self.step(event)

    def reload(self):
        """Change the list, and reload it."""
        if self.away:
            self.world.at(0.5, self.reload)
            return
        self.list.edit()
        specs = self.list.specs()
        if self.trace:
            for name, replicas in specs.items():
                self.trace(f"{'':12}{name} x {len(replicas)}: {replicas[:1]}")
        self.command(PlanWanted(specs))

    def operate(self):
        """Do something awkward, and come again; at last shut down."""
        chance, world = self.rng.random, self.world
        if self.witness.left is not None:
            return
        if self.away:
            world.at(chance(), self.operate)
            return
        self.commands -= 1
        if self.editing and chance() < 0.25:
            self.reload()
        if self.commands <= 0 and self.steps >= EVENTS:
            self._end()
            return
        luck = chance()
        if luck < 0.7 and self.keys:
            some = tuple(self.rng.sample(self.keys, 1 + int(chance() ** 2 * len(self.keys))))
            kind = StartWanted if luck < 0.3 else StopWanted if luck < 0.5 else RestartWanted
            self.command(kind(some))
        elif luck < 0.82 and self.keys:
            self.step(self.nonsense())
        elif luck < 0.87:
            self.gap()
        elif luck < 0.9:
            self.step(TIME_PASSED)
        world.at(chance() * self.rng.choice(PAUSES), self.operate)

    def gap(self):
        """Let 30 s pass in which the world goes on and nobody listens."""
        self.world.now += 30.0
        self.witness.passed(30.0)

    def nonsense(self):
        """Return news of a run that is long over, or of one that never was."""
        key = self.rng.choice(self.keys or ("nobody/0",))
        run = self.supervisor.services[key].run if self.keys else 1
        run += self.rng.choice((-2, -1, 1))
        reports = (Spawned(run), BecameReady(run), Exited(run, 1), Gone(run, 0), Gone(run, 1))
        signs = (CheckFailed(run, "mute"), CheckPassed(run), SpawnFailed(run, "cannot"))
        report = self.rng.choice((*reports, *signs))
        return Heard(key if self.rng.random() < 0.9 else "nobody/0", report)

    def _end(self):
        """Shut down, with more or less patience, while the world goes on as before."""
        chance, at = self.rng.random, self.world.at
        at(0, self.command, ShutdownWanted(None if chance() < 0.9 else 3.0))
        if chance() < 0.4:
            at(chance() * 10, self.command, ShutdownWanted(3.0 * chance()))
        if chance() < 0.3:
            at(chance() * 20, self.command, ShutdownWanted(0.0))
        if chance() < 0.4:
            at(chance() * 3, self.command, StartWanted(self.keys))
            at(chance() * 3, self.command, RestartWanted(self.keys[:2]))
        if chance() < 0.1:
            at(chance() * 20, self.gap)
        if self.editing:
            at(chance() * 5, self.reload)


class BrokenPromiseError(AssertionError):
    """A seed whose schedule breaks a promise; its text says which, and how to see it again."""


def replay(seed, core=REAL, trace=None):
    """Run one schedule and return its number of steps; raise BrokenPromiseError with the seed."""
    schedule = Schedule(seed, core, trace)
    try:
        schedule.run()
    except Exception as error:
        what = str(error) or type(error).__name__
        raise BrokenPromiseError(
            f"seed {seed}: {what}\nreplay it: python -m tests.sim {seed}"
        ) from error
    return schedule.steps

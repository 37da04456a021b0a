"""One schedule: services by chance, an operator at awkward moments, and a shutdown.

Everything follows from the seed: the same seed is the same story, to the last digit.
"""

import random
from dataclasses import dataclass
from typing import Any

from supervisor.core import service as real_service
from supervisor.core import supervisor as real_supervisor
from supervisor.core.events import (
    BecameReady,
    CheckFailed,
    CheckPassed,
    Exited,
    Gone,
    Heard,
    RestartWanted,
    ShutdownWanted,
    Spawned,
    SpawnFailed,
    StartWanted,
    StopWanted,
    TimePassed,
)
from supervisor.core.spec import (
    Backoff,
    Condition,
    Health,
    Ready,
    Restart,
    ServiceSpec,
    StartLimit,
    Stop,
    Then,
)

from .witness import Witness
from .world import World

EVENTS = 40  # at least so many are handled in every schedule
STEPS = 5_000  # a schedule that takes more goes round in circles
AFTER_ALL = 100.0  # seconds for which the core is watched when it has left
TIME_PASSED = TimePassed()

NAMES = ("db", "cache", "app", "web", "jobs", "mail", "dns")
CONDITIONS = (Condition.STARTED, Condition.READY, Condition.READY, Condition.COMPLETED)
RESTARTS = (Restart.ALWAYS, Restart.ALWAYS, Restart.ON_FAILURE, Restart.ON_FAILURE, Restart.NEVER)
READIES = (
    *[None] * 4,
    Ready(tcp="localhost:1", timeout=5),
    Ready(tcp="localhost:1"),
    Ready(http="http://localhost/", timeout=0.5),
    Ready(after=0.0),
    Ready(after=2.0),
)
BACKOFFS = (
    Backoff(),
    Backoff(),
    Backoff(first=0.0),
    Backoff(first=1.0, factor=3.0, limit=20.0, jitter=0.5, reset_after=5.0),
)
LIMITS = (
    *[None] * 8,
    StartLimit(starts=1, within=5.0),
    StartLimit(starts=2),
    StartLimit(starts=3, within=20.0),
    StartLimit(starts=4, within=120.0, then=Then.EXIT),
)
HEALTHS = (None, Health(tcp="localhost:1", every=2.0), Health(tcp="localhost:1", failures=1))
WATCHDOGS = (None, None, 2.0, 10.0)
STOPS = (Stop(), Stop(timeout=2.0), Stop(timeout=0.0), Stop(timeout=120.0))
BUDGETS = (1, 2, 3, 50)
PAUSES = (0.0, 0.0, 0.02, 0.3, 1.0, 4.0, 15.0, 40.0)  # from one command to the next


@dataclass(frozen=True, slots=True)
class Core:
    """What is tried: the real core, or a mutant of it."""

    Supervisor: Any = real_supervisor.Supervisor
    State: Any = real_service.State


REAL = Core()


def services(rng):
    """Return 3 to 6 services of 1 to 3 replicas, and who needs whom, as the core takes them."""
    looked_at = rng.random() < 0.2  # all these checks and heartbeats make it long
    names = rng.sample(NAMES, 3 + int(rng.random() ** 2 * 4))
    specs = {}
    for place, name in enumerate(names):
        before = names[:place]
        wanted = {other: rng.choice(CONDITIONS) for other in before if rng.random() < 0.5}
        if place == 1 and not wanted:
            wanted = {names[0]: Condition.READY}
        asked_to_end = rng.random() < 0.25
        specs[name] = ServiceSpec(
            name=name,
            depends_on=wanted,
            restart=RESTARTS[2 + int(rng.random() * 3)] if asked_to_end else rng.choice(RESTARTS),
            ready=None if asked_to_end else rng.choice(READIES),
            health=rng.choice(HEALTHS) if looked_at else None,
            watchdog=rng.choice(WATCHDOGS) if looked_at else None,
            backoff=rng.choice(BACKOFFS),
            start_limit=rng.choice(LIMITS),
            stop=rng.choice(STOPS),
        )
    rng.shuffle(names)
    luck = rng.random
    return {name: (specs[name],) * (1 if luck() < 0.75 else 2 + int(luck() * 2)) for name in names}


class Schedule:
    """A supervisor in a world, and what is done to both."""

    def __init__(self, seed, core=REAL, trace=None):
        self.rng = rng = random.Random(seed)
        self.trace = trace
        specs = services(rng)
        budget = rng.choice(BUDGETS)
        self.supervisor = core.Supervisor(specs, seed=seed, budget=budget)
        self.keys = tuple(self.supervisor.services)
        by_replica = {key: s.spec for key, s in self.supervisor.services.items()}
        self.world = World(rng, by_replica, self.step)
        self.witness = Witness(core, self.world, self.supervisor)
        self.deadline = None
        self.steps = 0
        self.commands = 6 + int(rng.random() * 20)
        if trace:
            trace(f"budget {budget}")
            for name, replicas in specs.items():
                trace(f"{name} x {len(replicas)}: {replicas[0]}")

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
        while self.steps < EVENTS:
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
        self.steps += 1
        world, supervisor, witness = self.world, self.supervisor, self.witness
        if type(event) is Heard:
            witness.told(event.id, event.report)
        outputs = supervisor.handle(event, world.now)
        if self.trace:
            self.trace(f"{world.now:10.3f} {event}" + "".join(f"\n{'':15}{o}" for o in outputs))
        if outputs:
            witness.saw(outputs)
            for output in outputs:
                if hasattr(output, "action"):
                    world.perform(output.id, output.action)
        self.deadline = deadline = supervisor.next_deadline()
        witness.check(deadline)
        if event is TIME_PASSED:
            witness.heard_time(deadline, outputs)

    def command(self, event):
        kind = type(event)
        if kind is ShutdownWanted:
            self.witness.command(shutdown=True, patience=event.patience)
        else:
            ids = frozenset(event.ids)
            self.witness.command(**{"stop" if kind is StopWanted else "start": ids})
        self.step(event)

    def operate(self):
        """Do something awkward, and come again; at last shut down."""
        chance, world = self.rng.random, self.world
        if self.witness.left is not None:
            return
        self.commands -= 1
        if self.commands <= 0 and self.steps >= EVENTS:
            self._end()
            return
        luck = chance()
        if luck < 0.7:
            some = tuple(self.rng.sample(self.keys, 1 + int(chance() ** 2 * len(self.keys))))
            kind = StartWanted if luck < 0.3 else StopWanted if luck < 0.5 else RestartWanted
            self.command(kind(some))
        elif luck < 0.82:
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
        key = self.rng.choice(self.keys)
        run = self.supervisor.services[key].run
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

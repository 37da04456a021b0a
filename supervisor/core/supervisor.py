"""All lives together: dependencies, the budget of starts, the order of a stop, the shutdown.

`Supervisor.handle` is the one way in: it is told what happened and returns what is to be done,
for every input and at any time; it never raises, forks, sleeps or reads a clock. A replica is
started when it is wanted, all it depends on has been reached, and fewer than `budget` replicas
are in STARTING, so that a thousand services do not stampede. Dependencies are looked at whenever
a replica is about to start (level-triggered), never remembered as having been met once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from . import memory
from .deadlines import Deadlines
from .departures import Departures
from .events import (
    Changed,
    DeadlineReached,
    Do,
    Event,
    Forgot,
    Heard,
    Input,
    Leave,
    Noted,
    Output,
    PlanWanted,
    Recalled,
    RestartAsked,
    RestartWanted,
    ShutdownWanted,
    StartAllowed,
    StartAsked,
    StartWanted,
    StopAsked,
    StopHurried,
    StopPlanned,
    StopWanted,
    TimePassed,
)
from .graph import Graph
from .plan import Act, Specs, Step, steps
from .roster import Note, Reached, Roster, reached
from .service import AT_REST, Service, State, decide
from .words import how

BUDGET = 50  # replicas in STARTING at a time
SHUTDOWN_LIMIT = 80.0  # seconds: below the 90 that systemd grants (TimeoutStopSec)
LAST_KILL = 5.0  # seconds from the KILL to all until keepd leaves without what cannot be killed


class Supervisor:
    """Every replica, and what each may do now."""

    def __init__(self, specs: Specs, *, seed: int = 0, budget: int = BUDGET) -> None:
        """Take the spec of each replica, by service; all at rest and unwanted."""
        self._roster = Roster(seed)
        self._roster.arrange(specs)
        self.services = self._roster.services
        self.replicas = self._roster.replicas
        self.budget = budget
        self.shutdown = False
        self.exit_code = 0
        self.shutdown_limit = SHUTDOWN_LIMIT  # seconds for the whole of it
        self.starting = 0  # replicas in STARTING
        self.busy = 0  # replicas not at rest
        self._out: list[Output] = []
        self._turn: dict[str, None] = {}  # ids that are due, first come first served
        self._blocked: dict[str, dict[str, None]] = {}  # service that is waited for: ids
        self._departures = Departures(self.graph)
        self._over: dict[str, None] = {}  # ids that are removed and at rest
        self._deadlines = Deadlines(self.services)
        self._limit: float | None = None  # of the whole shutdown
        self._killed = False  # KILL has been sent to all, there is nothing stronger
        self._left = False

    @property
    def graph(self) -> Graph:
        """Who needs whom."""
        return self._roster.graph

    def handle(self, event: Input, now: float) -> list[Output]:
        """Return what is to be done now that `event` has happened."""
        self._out = []
        match event:
            case Heard(key, report):
                if key in self.services:
                    self._tell(key, report, now)
            case TimePassed():
                self._pass_time(now)
            case _:
                self._command(event, now)
        if not isinstance(event, Recalled):
            self._admit(now)
        if self._over:
            self._forget()
        if self.shutdown and not self.busy:
            self._leave(self.exit_code)
        return self._out

    def _command(self, event: Input, now: float) -> None:
        match event:
            case StopWanted(ids):
                self._stop(ids, now)
            case ShutdownWanted(patience):
                self._shut_down(patience, now)
            case _ if self.shutdown:  # it is too late
                return
            case StartWanted(ids):
                self._start(ids, StartAsked(), now)
            case RestartWanted(ids):
                self._start(ids, RestartAsked(), now)
            case PlanWanted(specs):
                self._switch(specs, now)
            case Recalled(notes):
                self._recall(notes, now)

    def next_deadline(self) -> float | None:
        """Return when TimePassed is due at the latest (monotonic seconds), or None."""
        times = (self._deadlines.first(), self._limit)
        return min((when for when in times if when is not None), default=None)

    def longest_stop(self) -> float:
        """Return how long an ordered stop of everything may take by its timeouts, in seconds."""
        return self._roster.longest_stop() + LAST_KILL

    def waiting_for(self, key: str) -> list[str]:
        """Return the services whose state keeps the replica from starting."""
        return self._roster.waiting_for(self.services[key])

    def hopeless(self) -> set[str]:
        """Return the services that wait for what does not come unless somebody asks for it."""
        return self._roster.hopeless()

    def _tell(self, key: str, event: Event, now: float) -> None:
        service = self.services[key]
        before, was, marked = service.state, reached(service), memory.mark(service)
        timed = None if isinstance(event, DeadlineReached) else service.deadline  # in the heap
        actions = decide(service, event, now)
        if memory.mark(service) != marked:
            self._out.append(Noted(key))
        self._out.extend([Do(key, action) for action in actions])
        if service.deadline != timed:
            self._deadlines.note(service)
        if service.state is not before:
            self._out.append(Changed(key, before, service.state))
        self._count(service, before, was)
        if service.state is not before:
            self._after(service, now)

    def _count(self, service: Service, before: State, was: Reached) -> None:
        """Draw the consequences of where a replica is now for our own counts."""
        if service.due:
            self._turn[service.id] = None
        self.starting += (service.state is State.STARTING) - (before is State.STARTING)
        self.busy += (before in AT_REST) - service.at_rest
        name = service.spec.name
        if (reaches := reached(service)) != was and self._roster.count(name, was, reaches):
            self._turn.update(self._blocked.pop(name, {}))

    def _recall(self, notes: Mapping[str, Note], now: float) -> None:
        """Go on where another master has ended: what is wanted of it now is told next."""
        for service, noted in self._roster.known(notes):
            before, was = service.state, reached(service)
            actions = memory.recall(service, noted, now)
            self._out.extend([Do(service.id, action) for action in actions])
            self._deadlines.note(service)
            self._count(service, before, was)
            if not service.wanted and not service.at_rest:
                self._departures.add(service.spec.name, service.id)
            elif service.removed:
                self._say_farewell(service)

    def _after(self, service: Service, now: float) -> None:
        """Draw the consequences of a new state for the others."""
        if not service.at_rest:
            return
        if service.state is State.FATAL and service.spec.ends_all and not self.shutdown:
            self.exit_code = 1
            self._shut_down(None, now)
        if service.removed:
            self._say_farewell(service)
        self._release(service, now)

    def _release(self, service: Service, now: float) -> None:
        """Let those go that it has held: it is at rest, or does not leave any more."""
        for other in self._departures.done(service.spec.name, service.id):
            self._let_go(other, now)

    def _admit(self, now: float) -> None:
        """Start whoever is due, may, and fits the budget."""
        while self._turn and self.starting < self.budget:
            key = next(iter(self._turn))
            del self._turn[key]
            unmet = self.waiting_for(key)
            if unmet:
                self._blocked.setdefault(unmet[0], {})[key] = None
            elif self.services[key].due:
                self._tell(key, StartAllowed(), now)

    def _start(self, ids: Iterable[str], event: StartAsked | RestartAsked, now: float) -> None:
        """Tell `event` to the replicas, and start what they depend on, where it is down."""
        for key, named in self._roster.starting(ids):
            if not self.services[key].next:  # else it leaves to be restarted
                self._release(self.services[key], now)
            self._tell(key, event if named else StartAsked(), now)

    def _stop(self, ids: Iterable[str], now: float) -> None:
        """Stop the replicas, each when those of them that depend on it have stopped."""
        asked = [key for key in dict.fromkeys(ids) if key in self.services]
        for key in asked:  # all of them first: what comes to rest by it lets others go
            if not self.services[key].at_rest:
                self._departures.add(self.services[key].spec.name, key)
        for key in asked:
            self._tell(key, StopPlanned(), now)
        for name in dict.fromkeys(self.services[key].spec.name for key in asked):
            self._let_go(name, now)

    def _let_go(self, name: str, now: float) -> None:
        """Tell the leaving replicas of `name`, when nothing that needs it, however far, leaves."""
        for key in self._departures.free(name):
            self._tell(key, RestartAsked() if self.services[key].wanted else StopAsked(), now)

    def _switch(self, specs: Specs, now: float) -> None:
        """Have these services and no others, and touch only what that changes."""
        planned = steps(self.services, specs)
        self._arrange(specs, planned)
        for step in planned:
            if step.act is Act.STOP:
                self._tell(step.id, StopPlanned(), now)
                if self.services[step.id].at_rest:
                    self._say_farewell(self.services[step.id])
            elif step.act is Act.START:
                self._start_again(self.services[step.id], now)
        for name in self._departures.waiting():
            self._let_go(name, now)

    def _arrange(self, specs: Specs, planned: Iterable[Step]) -> None:
        """Know another list, and who is to leave by it."""
        marks = {key: memory.mark(service) for key, service in self.services.items()}
        self._roster.arrange(specs, {step.id for step in planned})
        self._departures.rearrange(self.graph)
        for name in list(self._blocked):  # what they wait for may be another by now
            self._turn.update(self._blocked.pop(name))
        for step in planned:  # all of them first: what comes to rest by it lets others go
            service = self.services[step.id]
            if step.act is Act.RESTART:
                service.failures, service.starts = 0, ()
            if step.act in {Act.STOP, Act.RESTART} and not service.at_rest:
                self._departures.add(service.spec.name, step.id)
        for key, service in self.services.items():
            if marks.get(key) != memory.mark(service):
                self._out.append(Noted(key))

    def _start_again(self, service: Service, now: float) -> None:
        if not service.next:  # else it leaves first, as what it was
            self._release(service, now)
        self._tell(service.id, StartAsked(), now)

    def _forget(self) -> None:
        """Let go of those that are removed and at rest."""
        for key in self._over:
            self._turn.pop(key, None)
            self._roster.forget(key)
        self._out = [o for o in self._out if not (isinstance(o, Noted) and o.id in self._over)]
        self._over.clear()

    def _say_farewell(self, service: Service) -> None:
        if service.id not in self._over:
            self._over[service.id] = None
            self._out.append(Forgot(service.id, how(service)))

    def _shut_down(self, patience: float | None, now: float) -> None:
        if not self.shutdown:
            self.shutdown, self._limit = True, now + self.shutdown_limit
        if patience is None:
            self._stop(self.services, now)
            return
        for key in self.services:
            self._tell(key, StopHurried(patience), now)
        if self._limit is not None:  # else we have left already
            limit, killed = now + patience + LAST_KILL, patience > 0 or self._killed
            self._limit = min(self._limit, limit) if killed else limit  # a KILL takes a moment
        self._killed = self._killed or patience <= 0

    def _pass_time(self, now: float) -> None:
        while (key := self._deadlines.take(now)) is not None:
            self._tell(key, DeadlineReached(), now)
        if self._limit is not None and now >= self._limit:
            if self._killed:
                self._leave(1)  # what not even KILL can end (state D) must not hold us for ever
            else:
                self._limit = now + LAST_KILL
                self._shut_down(0.0, now)

    def _leave(self, code: int) -> None:
        if not self._left:
            self._left, self._limit = True, None
            self._out.append(Leave(code))

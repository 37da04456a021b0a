"""All lives together: dependencies, the budget of starts, the order of a stop, the shutdown.

`Supervisor.handle` is the one way in: it is told what happened and returns what is to be done,
for every input and at any time; it never raises, forks, sleeps or reads a clock. A replica is
started when it is wanted, all it depends on has been reached, and fewer than `budget` replicas
are in STARTING, so that a thousand services do not stampede. Dependencies are looked at whenever
a replica is about to start (level-triggered), never remembered as having been met once.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping, Sequence

from .events import (
    Changed,
    DeadlineReached,
    Do,
    Event,
    Heard,
    Input,
    Leave,
    Output,
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
from .service import AT_REST, Service, State, decide
from .spec import Condition, ServiceSpec

BUDGET = 50  # replicas in STARTING at a time
SHUTDOWN_LIMIT = 80.0  # seconds: below the 90 that systemd grants (TimeoutStopSec)
LAST_KILL = 5.0  # seconds from the KILL to all until keepd leaves without what cannot be killed


class Supervisor:
    """Every replica, and what each may do now."""

    def __init__(
        self, specs: Mapping[str, Sequence[ServiceSpec]], *, seed: int = 0, budget: int = BUDGET
    ) -> None:
        """Take the spec of each replica, by service; all at rest and unwanted."""
        self.services: dict[str, Service] = {}
        self.replicas: dict[str, tuple[str, ...]] = {}
        for name, replicas in specs.items():
            self.replicas[name] = tuple(f"{name}/{number}" for number in range(len(replicas)))
            for key, spec in zip(self.replicas[name], replicas, strict=True):
                self.services[key] = Service(key, spec, seed)
        self.graph = Graph({n: r[0].depends_on if r else {} for n, r in specs.items()})
        self.budget = budget
        self.shutdown = False
        self.exit_code = 0
        self.shutdown_limit = SHUTDOWN_LIMIT  # seconds for the whole of it
        self.starting = 0  # replicas in STARTING
        self.busy = 0  # replicas not at rest
        self._out: list[Output] = []
        self._reached = {n: dict.fromkeys(Condition, 0) for n in specs}
        self._turn: dict[str, None] = {}  # ids that are due, first come first served
        self._blocked: dict[str, dict[str, None]] = {}  # service that is waited for: ids
        # ids to be stopped, by service; and the services that wait for those of another to rest
        self._leaving: dict[str, set[str]] = {name: set() for name in specs}
        self._held: dict[str, dict[str, None]] = {}
        self._clear: set[str] = set()  # services of which, and above which, none is leaving
        self._deadlines: list[tuple[float, str]] = []  # a heap; outdated entries are passed over
        self._limit: float | None = None  # of the whole shutdown
        self._killed = False  # KILL has been sent to all, there is nothing stronger
        self._left = False

    def handle(self, event: Input, now: float) -> list[Output]:
        """Return what is to be done now that `event` has happened."""
        self._out = []
        match event:
            case Heard(key, report):
                if key in self.services:
                    self._tell(key, report, now)
            case TimePassed():
                self._pass_time(now)
            case StartWanted(ids) if not self.shutdown:  # in a shutdown it is too late
                self._start(ids, StartAsked(), now)
            case RestartWanted(ids) if not self.shutdown:
                self._start(ids, RestartAsked(), now)
            case StopWanted(ids):
                self._stop(ids, now)
            case ShutdownWanted(patience):
                self._shut_down(patience, now)
        self._admit(now)
        if self.shutdown and not self.busy:
            self._leave(self.exit_code)
        return self._out

    def next_deadline(self) -> float | None:
        """Return when TimePassed is due at the latest (monotonic seconds), or None."""
        while self._deadlines:
            when, key = self._deadlines[0]
            if self.services[key].deadline == when:
                return when if self._limit is None else min(when, self._limit)
            heapq.heappop(self._deadlines)
        return self._limit

    def longest_stop(self) -> float:
        """Return how long an ordered stop of everything may take by its timeouts, in seconds."""
        takes: dict[str, float] = {}
        for name in reversed(self.graph.order):
            own = max((self.services[k].spec.stop.timeout for k in self.replicas[name]), default=0)
            takes[name] = own + max((takes[d] for d in self.graph.dependents[name]), default=0)
        return max(takes.values(), default=0) + LAST_KILL

    def waiting_for(self, key: str) -> list[str]:
        """Return the services whose state keeps the replica from starting."""
        service = self.services[key]
        if not (service.due and service.at_rest):
            return []
        needs = self.graph.needs[service.spec.name]
        return [name for name, condition in needs.items() if not self.has_reached(name, condition)]

    def has_reached(self, name: str, condition: Condition) -> bool:
        """Return whether all replicas of the service are started, ready or completed."""
        return self._reached[name][condition] == len(self.replicas[name])

    def hopeless(self) -> set[str]:
        """Return the services that wait for what does not come unless somebody asks for it."""
        found: set[str] = set()
        for name in self.graph.order:  # what is needed first
            for other, condition in self.graph.needs[name].items():
                if not self.has_reached(other, condition) and any(
                    stays_away(self.services[key], condition, vain=other in found)
                    for key in self.replicas[other]
                ):
                    found.add(name)
        return found

    def _tell(self, key: str, event: Event, now: float) -> None:
        service = self.services[key]
        before, was, noted = service.state, _reaches(service), service.deadline
        if isinstance(event, DeadlineReached):
            noted = None  # it has just been taken from the heap
        actions = decide(service, event, now)
        self._out.extend([Do(key, action) for action in actions])
        if service.deadline is not None and service.deadline != noted:
            heapq.heappush(self._deadlines, (service.deadline, key))
        if service.due:
            self._turn[key] = None
        if service.state is not before:
            self._out.append(Changed(key, before, service.state))
            self.starting += (service.state is State.STARTING) - (before is State.STARTING)
            self.busy += (before in AT_REST) - service.at_rest
        if (reaches := _reaches(service)) != was:
            self._count(service.spec.name, was, reaches)
        if service.state is not before:
            self._after(service, now)

    def _count(self, name: str, was: Sequence[bool], reaches: Sequence[bool]) -> None:
        tally = self._reached[name]
        for condition, old, new in zip(Condition, was, reaches, strict=True):
            tally[condition] += new - old
            if new > old and tally[condition] == len(self.replicas[name]):
                self._turn.update(self._blocked.pop(name, {}))

    def _after(self, service: Service, now: float) -> None:
        """Draw the consequences of a new state for the others."""
        if not service.at_rest:
            return
        if service.state is State.FATAL and service.spec.ends_all and not self.shutdown:
            self.exit_code = 1
            self._shut_down(None, now)
        name = service.spec.name
        self._leaving[name].discard(service.id)
        if name in self._held and not self._leaving[name]:
            for other in self._held.pop(name):
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
        asked = dict.fromkeys(key for key in ids if key in self.services)
        names = dict.fromkeys(self.services[key].spec.name for key in asked)
        needed = set(self.graph.closure(other for n in names for other in self.graph.needs[n]))
        for name in self.graph.closure(names):
            for key in self.replicas[name]:
                if key in asked or (name in needed and self._is_down(self.services[key])):
                    self._leaving[name].discard(key)
                    self._tell(key, event if key in asked else StartAsked(), now)

    def _is_down(self, service: Service) -> bool:
        """Return whether it is to be started for the sake of those that depend on it."""
        if service.state is State.EXITED:  # what is done is not done again, unless it had to stay
            name, graph = service.spec.name, self.graph
            stays = any(graph.needs[n][name] is Condition.READY for n in graph.dependents[name])
            return stays and service.spec.ready is not None
        return not service.wanted or service.state is State.FATAL

    def _stop(self, ids: Iterable[str], now: float) -> None:
        """Stop the replicas, each when those of them that depend on it have stopped."""
        asked = [key for key in dict.fromkeys(ids) if key in self.services]
        for key in asked:  # all of them first: what comes to rest by it lets others go
            if not self.services[key].at_rest:
                self._leaving[self.services[key].spec.name].add(key)
        self._clear.clear()
        for key in asked:
            self._tell(key, StopPlanned(), now)
        for name in dict.fromkeys(self.services[key].spec.name for key in asked):
            self._let_go(name, now)

    def _let_go(self, name: str, now: float) -> None:
        """Stop the leaving replicas of `name`, when nothing that needs it, however far, leaves."""
        walked = []
        for dependent in self.graph.above(name, self._clear):
            if self._leaving[dependent]:
                self._held.setdefault(dependent, {})[name] = None
                return
            walked.append(dependent)
        self._clear.update(walked)
        for key in sorted(self._leaving[name]):
            self._tell(key, StopAsked(), now)

    def _shut_down(self, patience: float | None, now: float) -> None:
        if not self.shutdown:
            self.shutdown, self._limit = True, now + self.shutdown_limit
        if patience is None:
            self._stop(self.services, now)
            return
        for key in self.services:
            self._tell(key, StopHurried(patience), now)
        if self._limit is not None:  # else we have left already
            if patience <= 0 and not self._killed:
                self._limit = now + LAST_KILL  # also where we come late: a KILL takes its time
            self._limit = min(self._limit, now + patience + LAST_KILL)
        self._killed = self._killed or patience <= 0

    def _pass_time(self, now: float) -> None:
        while self._deadlines and self._deadlines[0][0] <= now:
            when, key = heapq.heappop(self._deadlines)
            if self.services[key].deadline == when:
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


def _reaches(service: Service) -> tuple[bool, bool, bool]:
    """Return whether the replica counts as started, ready, completed: as `Condition` has them."""
    completed, running = service.state is State.EXITED, service.state is State.RUNNING
    started = running or (service.state is State.STARTING and service.born)
    proven = completed and service.spec.ready is None  # who never became ready is not, once ended
    return (completed or started, proven or running, completed)


def stays_away(service: Service, condition: Condition, *, vain: bool = False) -> bool:
    """Return whether the replica does not reach the condition unless somebody asks for it.

    `vain`: it could not start either, for what it waits for itself.
    """
    match service.state:
        case State.STARTING | State.RUNNING:
            return False
        case State.STOPPED | State.BACKOFF:
            return vain or not service.wanted
        case State.STOPPING:
            return not service.wanted
        case _:  # EXITED and FATAL: it is over
            return not _reaches(service)[tuple(Condition).index(condition)]

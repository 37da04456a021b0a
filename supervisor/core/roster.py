"""Who is in the list: services and their replicas, who needs whom, and how far each has got.

Those that another list has no more are kept until they are at rest. Nothing is decided here.
"""

from __future__ import annotations

import graphlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from .graph import Graph
from .plan import Specs, hand_over
from .service import Service, State
from .spec import Condition

Reached = tuple[bool, bool, bool]  # started, ready, completed: as `Condition` has them
Note = Mapping[str, Any]
Needs = dict[str, Mapping[str, Condition]]


class Roster:
    """All replicas, by id and by service."""

    def __init__(self, seed: int) -> None:
        """Begin with none."""
        self.services: dict[str, Service] = {}
        self.replicas: dict[str, tuple[str, ...]] = {}  # of each service, its removed ones last
        self.graph = Graph({})
        self._seed = seed
        self._planned: dict[str, int] = {}  # so many replicas a service has by the list
        self._reached: dict[str, dict[Condition, int]] = {}
        self._lasts: dict[str, int] = {}  # the latest run of those that are forgotten

    def arrange(self, specs: Specs, touched: Collection[str] = ()) -> None:
        """Know the services of a list; others that are there are removed from now on.

        Of those that are known already, only who is `touched` gets its spec.
        """
        keys = {name: tuple(f"{name}/{n}" for n in range(len(r))) for name, r in specs.items()}
        planned = {key for ids in keys.values() for key in ids}
        for key, service in self.services.items():
            service.removed = key not in planned
        for name, replicas in specs.items():
            for key, spec in zip(keys[name], replicas, strict=True):
                if key in self.services and key not in touched:
                    continue
                if key in self.services:
                    hand_over(self.services[key], spec)
                else:
                    run = self._lasts.pop(key, 0)  # whose log may not be written to the end yet
                    self.services[key] = Service(key, spec, self._seed, run=run)
        self._planned = {name: len(ids) for name, ids in keys.items()}
        self._connect(keys, {n: r[0].depends_on if r else {} for n, r in specs.items()})

    def _connect(self, keys: dict[str, tuple[str, ...]], needs: Needs) -> None:
        """Make what follows from `services`; the removed keep what they have needed."""
        for service in self.services.values():
            if service.removed:
                name = service.spec.name
                keys[name] = (*keys.get(name, ()), service.id)
                needs.setdefault(name, self.graph.needs[name])
        self.replicas.clear()
        self.replicas.update(keys)
        known = {n: {o: c for o, c in wanted.items() if o in needs} for n, wanted in needs.items()}
        try:
            self.graph = Graph(known)
        except graphlib.CycleError:  # specs of several lists, of which none went round by itself
            self.graph = Graph({name: {} for name in known})
        self._reached = {name: dict.fromkeys(Condition, 0) for name in needs}
        for service in self.services.values():
            self.count(service.spec.name, (False, False, False), reached(service))

    def forget(self, key: str) -> None:
        """Let go of one that is removed and at rest; `graph` still has its name."""
        service = self.services.pop(key)
        name, self._lasts[key] = service.spec.name, service.run
        left = tuple(other for other in self.replicas[name] if other != key)
        if left or name in self._planned:
            self.replicas[name] = left
        else:
            del self.replicas[name]

    def known(self, notes: Mapping[str, Note]) -> Iterator[tuple[Service, Note]]:
        """Yield who is noted, with the note; of those that are forgotten remember the last run."""
        for key, noted in notes.items():
            if key in self.services:
                yield self.services[key], noted
            else:
                self._lasts[key] = noted.get("run", 0)

    def starting(self, ids: Iterable[str]) -> Iterator[tuple[str, bool]]:
        """Yield whom a start of `ids` is for, what is needed first, and whether it was named."""
        known = (key for key in ids if key in self.services)
        asked = dict.fromkeys(key for key in known if not self.services[key].removed)
        names = dict.fromkeys(self.services[key].spec.name for key in asked)
        needed = set(self.graph.closure(other for n in names for other in self.graph.needs[n]))
        for name in self.graph.closure(names):
            for key in self.replicas[name]:
                if key in asked or (name in needed and self._is_down(self.services[key])):
                    yield key, key in asked

    def _is_down(self, service: Service) -> bool:
        """Return whether it is to be started for the sake of those that depend on it."""
        if service.removed:
            return False
        if service.state is State.EXITED:  # what is done is not done again, unless it had to stay
            name, graph = service.spec.name, self.graph
            stays = any(graph.needs[n][name] is Condition.READY for n in graph.dependents[name])
            return stays and service.spec.ready is not None
        return not service.wanted or service.state is State.FATAL

    def hopeless(self) -> set[str]:
        """Return the services that wait for what does not come unless somebody asks for it."""
        found: set[str] = set()
        for name in filter(self.is_planned, self.graph.order):  # what is needed first
            for other, condition in self.graph.needs[name].items():
                if not self.has_reached(other, condition) and any(
                    stays_away(self.services[key], condition, vain=other in found)
                    for key in self.replicas[other]
                ):
                    found.add(name)
        return found

    def longest_stop(self) -> float:
        """Return how long the stop timeouts of a chain of dependents add up to, in seconds."""
        takes: dict[str, float] = {}
        for name in reversed(self.graph.order):
            keys = self.replicas.get(name, ())
            own = max((self.services[key].spec.stop.timeout for key in keys), default=0)
            takes[name] = own + max((takes[d] for d in self.graph.dependents[name]), default=0)
        return max(takes.values(), default=0)

    def waiting_for(self, service: Service) -> list[str]:
        """Return the services whose state keeps the replica from starting."""
        if not (service.due and service.at_rest):
            return []
        needs = self.graph.needs[service.spec.name]
        return [name for name, condition in needs.items() if not self.has_reached(name, condition)]

    def is_planned(self, name: str) -> bool:
        """Return whether the service is in the list, and not only still there."""
        return name in self._planned

    def has_reached(self, name: str, condition: Condition) -> bool:
        """Return whether all replicas of the service are started, ready or completed."""
        return self._reached[name][condition] == self._planned[name]

    def count(self, name: str, was: Reached, now: Reached) -> bool:
        """Note what a replica counts as; return whether its service has got any further by it."""
        tally, further = self._reached[name], False
        for condition, old, new in zip(Condition, was, now, strict=True):
            tally[condition] += new - old
            whole = tally[condition] == self._planned.get(name)
            further = further or (new > old and whole)
        return further


def reached(service: Service) -> Reached:
    """Return whether the replica counts as started, ready, completed."""
    if service.removed or service.next:  # it is about to end, or to be another
        return (False, False, False)
    completed, running = service.state is State.EXITED, service.state is State.RUNNING
    started = running or (service.state is State.STARTING and service.born)
    proven = completed and service.spec.ready is None  # who never became ready is not, once ended
    return (completed or started, proven or running, completed)


def stays_away(service: Service, condition: Condition, *, vain: bool = False) -> bool:
    """Return whether the replica does not reach the condition unless somebody asks for it.

    `vain`: it could not start either, for what it waits for itself.
    """
    if service.removed:  # it is not waited for
        return False
    if service.next:
        return not service.wanted
    match service.state:
        case State.STARTING | State.RUNNING:
            return False
        case State.STOPPED | State.BACKOFF:
            return vain or not service.wanted
        case State.STOPPING:
            return not service.wanted
        case _:  # EXITED and FATAL: it is over
            return not reached(service)[tuple(Condition).index(condition)]

"""A list of services by chance, and what an operator does to it between two reloads."""

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
from supervisor.records import replace

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


class List:
    """3 to 6 services of 1 to 3 replicas, and who needs whom; edited at will."""

    def __init__(self, rng):
        self.rng = rng
        self.edits = 0
        self.looked_at = rng.random() < 0.2  # so many checks and heartbeats make it long
        self.order = rng.sample(NAMES, 3 + int(rng.random() ** 2 * 4))  # who needs others is later
        self.services = {}
        for place, name in enumerate(self.order):
            spec = self.service(name)
            if place == 1 and not spec.depends_on:
                spec = replace(spec, depends_on={self.order[0]: Condition.READY})
            self.services[name] = spec
        names = list(self.services)
        rng.shuffle(names)
        luck = rng.random
        self.counts = {name: 1 if luck() < 0.75 else 2 + int(luck() * 2) for name in names}

    def specs(self):
        """Return what is in the list, as the core takes it."""
        return {name: (self.services[name],) * count for name, count in self.counts.items()}

    def service(self, name):
        rng = self.rng
        asked_to_end = rng.random() < 0.25
        return ServiceSpec(
            name=name,
            depends_on=self.needs(name),
            restart=RESTARTS[2 + int(rng.random() * 3)] if asked_to_end else rng.choice(RESTARTS),
            ready=None if asked_to_end else rng.choice(READIES),
            health=rng.choice(HEALTHS) if self.looked_at else None,
            watchdog=rng.choice(WATCHDOGS) if self.looked_at else None,
            backoff=rng.choice(BACKOFFS),
            start_limit=rng.choice(LIMITS),
            stop=rng.choice(STOPS),
        )

    def needs(self, name):
        before = self.order[: self.order.index(name)]
        others = [other for other in before if other in self.services]
        return {n: self.rng.choice(CONDITIONS) for n in others if self.rng.random() < 0.5}

    def edit(self):
        """Change some of it, or nothing: a comment."""
        for _ in range(self.rng.choice((0, 1, 1, 1, 2, 3, 6))):
            self.edits += 1
            kind = (self.alter, self.alter, self.alter, self.scale, self.add, self.drop)
            self.rng.choice(kind)()

    def alter(self):
        """Change a field, or several, of a service."""
        rng = self.rng
        if not self.counts:
            return
        name = rng.choice(list(self.counts))
        other = self.service(name)
        fields = ("restart", "ready", "backoff", "start_limit", "stop", "depends_on")
        fields += ("health", "watchdog")
        values = {field: getattr(other, field) for field in fields if rng.random() < 0.2}
        if rng.random() < 0.4:
            values["command"] = (f"edit {self.edits}",)
        self.services[name] = replace(self.services[name], **values)

    def scale(self):
        if self.counts:
            self.counts[self.rng.choice(list(self.counts))] = int(self.rng.random() * 4)

    def add(self):
        name = self.rng.choice(NAMES)
        if name not in self.counts:
            if name not in self.order:
                self.order.append(name)
            self.services[name] = self.service(name)
            self.counts[name] = 1 + int(self.rng.random() * 2)

    def drop(self):
        if len(self.counts) < 2:
            return
        gone = self.rng.choice(list(self.counts))
        del self.counts[gone], self.services[gone]
        for name, spec in self.services.items():
            needs = {n: c for n, c in spec.depends_on.items() if n != gone}
            self.services[name] = replace(spec, depends_on=needs)

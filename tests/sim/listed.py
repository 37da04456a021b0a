"""What the list wants of every replica, and whether it is so: the half of the witness that reloads.

It takes the list from the operator's hand, never from the core.
"""

from supervisor.core.spec import Condition, Restart

EPSILON = 1e-6


def hard(spec):
    """Return what a process that runs cannot take over."""
    ready = spec.ready
    kind = ready and (ready.notify, ready.log, ready.tcp, ready.http, ready.after)
    return spec.command, kind, spec.health, spec.watchdog


def same(spec, other):
    return spec is other or spec == other


class Past:
    """What the witness remembers of one replica."""

    __slots__ = (
        *("beat", "failed", "fewest", "most", "since", "starts", "state", "unasked"),
        "well_since",
    )

    def __init__(self, state):
        self.state = state
        self.since = 0.0
        self.starts = []  # of every run
        self.unasked = []  # of the runs since an operator may have asked for this replica
        self.failed = 0  # checks in a row, told while it was RUNNING
        self.beat = 0.0  # the latest that was told, or that was not asked for
        self.well_since = None
        self.fewest = self.most = 0  # failures in a row that may have been counted


class Listed:
    def __init__(self, core, world, supervisor):
        self.core = core
        self.world = world
        self.supervisor = supervisor
        self.services = supervisor.services
        self.state = state = core.State
        self.rest = {state.STOPPED, state.BACKOFF, state.EXITED, state.FATAL}
        self.over = {state.EXITED, state.FATAL}  # wanted, and nothing is to come
        self.pasts = {key: Past(state.STOPPED) for key in self.services}
        self.everyone = dict(self.services)  # those that are forgotten too
        self.plan = {key: service.spec for key, service in self.services.items()}
        self.pending = set()  # in whose run the plan wants something that it cannot take over
        self.restarted = set()  # by an operator, and not at rest since
        self.above = self._dependents()
        self.must_be = set()  # wanted: asked for by name
        self.may_be = set()  # wanted, if they were down: what those need
        self.shutdown_at = None
        self.soft = {}  # the spec that each run has come to have

    def _dependents(self):
        """Return the replicas that need a service, directly or not, by service."""
        needs, above = self.supervisor.graph.needs, {}
        for name in reversed(self.supervisor.graph.order):
            direct = [other for other in needs if name in needs[other]]
            keys = [key for o in direct for key in self.supervisor.replicas.get(o, ())]
            above[name] = {*keys, *(key for other in direct for key in above[other])}
        return above

    def reload(self, specs):
        """Note what the plan is to be from the next step on."""
        self.hopeless = set()  # whoever waits in vain may be helped by another list
        if self.shutdown_at is not None:
            return
        before = self.plan
        self.plan = {f"{n}/{i}": spec for n, r in specs.items() for i, spec in enumerate(r)}
        self.must_be &= self.plan.keys()
        self.may_be &= self.plan.keys()
        up = {key.partition("/")[0]: False for key in before}
        for key in before:
            up[key.partition("/")[0]] |= self.services[key].wanted
        for key, spec in self.plan.items():
            past = self.pasts.setdefault(key, Past(self.state.STOPPED))
            if key not in before and up.get(key.partition("/")[0], True):
                self.must_be.add(key)
                self.may_be.add(key)
            if spec is not before.get(key):
                past.fewest = 0
                past.unasked.clear()
            lives = key in self.services and past.state not in self.rest
            if lives and hard(self.world.runs[key].spec) != hard(spec):
                self.pending.add(key)

    def rearranged(self):
        """Take over the order of what is there by now."""
        self.above = self._dependents()
        self.everyone |= self.services

    def _may_forget(self, key):
        run = self.world.runs.get(key)
        assert key not in self.plan, f"{key} is forgotten, and is in the list"
        assert run is None or run.told, f"{key} is forgotten, and run {run.number} lives"
        self.pasts[key].state = self.state.STOPPED  # whoever comes under this name begins anew

    def _leaves(self, key):
        service = self.services.get(key)
        if service is None or service.state in self.rest:
            return False
        return not service.wanted or key in self.pending

    def unmet(self, key):
        """Return the replicas that keep another from starting."""
        return [
            other
            for name, condition in self.services[key].spec.depends_on.items()
            for other in self.plan
            if other.partition("/")[0] == name and not self._reaches(other, condition)
        ]

    def _reaches(self, key, condition):
        service, state = self.services[key], self.state
        if key in self.pending:
            return False
        if service.state is state.EXITED:
            return condition is not Condition.READY or service.spec.ready is None
        if condition is Condition.COMPLETED:
            return False
        if service.state is state.RUNNING:
            return True
        told = service.state is state.STARTING and self.world.runs[key].spawned_told_at is not None
        return told and condition is Condition.STARTED

    def _rests_as_planned(self, key, service):
        run = self.world.runs.get(key)
        assert run is None or run.told, f"{key} {service.state}, and run {run.number} lives"
        assert key in self.plan, f"{key} is not in the list, and not forgotten"
        assert same(service.spec, self.plan[key]), f"{key} is not what the list says"
        spec, state = service.spec, service.state
        if state is self.state.EXITED and service.wanted:
            assert spec.restart is not Restart.ALWAYS, f"{key} rests, and always is to run"
        if state is self.state.FATAL:
            given_up = spec.restart is Restart.NEVER or spec.start_limit
            assert given_up, f"{key} is given up, and nothing in the list says so"
        if service.wanted:
            remembered = service.due or service.deadline is not None or service.state in self.over
            assert remembered, f"{key} {service.state}, wanted and forgotten"
        else:
            assert service.deadline is None, f"{key} waits, and is not wanted"
            assert not service.due, f"{key} is to be started, and is not wanted"

    def _lives_as_planned(self, key, service):
        if key in self.plan and key not in self.pending:
            run = self.world.runs[key].spec
            assert hard(run) == hard(self.plan[key]), f"{key} runs as it was before"
            assert same(service.spec, self.plan[key]), f"{key} is not what the list says"
            self.soft[key] = service.spec

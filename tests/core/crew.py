"""All lives together, told as a story: what keepd hears and what it has done."""

from supervisor.core.events import (
    BecameReady,
    Changed,
    Do,
    Gone,
    Heard,
    Leave,
    Noted,
    Spawn,
    Spawned,
    StartWanted,
    TimePassed,
)
from supervisor.core.service import State
from supervisor.core.spec import Backoff, Condition, ServiceSpec
from supervisor.core.supervisor import BUDGET, Supervisor

NOW = 1000.0
STEADY = Backoff(jitter=0)  # pauses of 0.2, 0.4, 0.8 s, without chance


def service(name, *needs, **options):
    """Return a spec that needs others to be ready: by name, or by (name, condition)."""
    pairs = [(need, Condition.READY) if isinstance(need, str) else need for need in needs]
    return ServiceSpec(name=name, depends_on=dict(pairs), **{"backoff": STEADY, **options})


def by_id(pair):
    return pair[0]


class Crew:
    """A supervisor of some services, each in as many replicas as its spec says."""

    def __init__(self, *specs, budget=BUDGET, seed=0, now=NOW):
        by_name = {spec.name: (spec,) * spec.replicas for spec in specs}
        self.supervisor = Supervisor(by_name, seed=seed, budget=budget)
        self.now = now

    @property
    def keys(self):
        return tuple(self.supervisor.services)

    def state(self, key):
        return self.supervisor.services[key].state

    def all_in(self, state):
        return [key for key in self.keys if self.state(key) is state]

    def hears(self, event, *, does=None, leaves=None):
        """Tell `event`, and assert that it does exactly `does` (an action by replica)."""
        outputs = self.supervisor.handle(event, self.now)
        done = [(output.id, output.action) for output in outputs if isinstance(output, Do)]
        assert sorted(done, key=by_id) == sorted((does or {}).items(), key=by_id)
        assert [o.code for o in outputs if isinstance(o, Leave)] == [leaves][: leaves is not None]
        return outputs

    def done(self, event):
        """Tell `event`, and return what is done, as (replica, action)."""
        outputs = self.supervisor.handle(event, self.now)
        assert all(isinstance(output, Noted | Do | Changed) for output in outputs)
        return [(output.id, output.action) for output in outputs if isinstance(output, Do)]

    def waits(self, seconds, **expected):
        """Let time pass until the next deadline, which is to come after `seconds`."""
        assert abs(self.supervisor.next_deadline() - self.now - seconds) < 1e-6
        self.now = max(self.now + seconds, self.supervisor.next_deadline())
        self.hears(TimePassed(), **expected)

    def run(self, key):
        return self.supervisor.services[key].run

    def born(self, key, **expected):
        self.hears(Heard(key, Spawned(self.run(key))), **expected)

    def ready(self, key, **expected):
        self.hears(Heard(key, BecameReady(self.run(key))), **expected)

    def gone(self, key, code=-15, **expected):
        self.hears(Heard(key, Gone(self.run(key), code)), **expected)

    def all_run(self):
        """Start everything, and let every birth succeed and every readiness come."""
        ahead = self.done(StartWanted(self.keys))
        while ahead:
            key, action = ahead.pop(0)
            assert isinstance(action, Spawn)
            ahead += self.done(Heard(key, Spawned(action.run)))
            ahead += self.done(Heard(key, BecameReady(action.run)))
        assert self.all_in(State.RUNNING) == list(self.keys)

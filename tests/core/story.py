"""One replica told as a story: what it hears, what it does, what it becomes."""

import pytest

from supervisor.core.events import DeadlineReached, Gone, Spawn, Spawned, StartAllowed, StartAsked
from supervisor.core.service import Service, State, decide
from supervisor.core.spec import Backoff, ServiceSpec

NOW = 1000.0
STEADY = Backoff(jitter=0)  # pauses of 0.2, 0.4, 0.8 s, without chance


class Story:
    """Web's life, with `options` of its spec, from `now`."""

    def __init__(self, *, now=NOW, seed=0, **options):
        spec = ServiceSpec(name="web", **{"backoff": STEADY, **options})
        self.service = Service("web/0", spec, seed)
        self.now = now

    @property
    def state(self):
        return self.service.state

    @property
    def pause(self):
        """Return how long it is until the deadline; None without one."""
        deadline = self.service.deadline
        return None if deadline is None else pytest.approx(deadline - self.now)

    def hears(self, event, *, does=(), becomes=None):
        """Tell `event`, and assert that it does exactly `does`; without `becomes`, no new state."""
        expected = self.state if becomes is None else becomes
        assert list(decide(self.service, event, self.now)) == list(does)
        assert self.state is expected

    def passes(self, seconds):
        """Let time pass in which nobody looks at the clock."""
        self.now += seconds

    def waits(self, seconds, *, does=(), becomes=None):
        """Let time pass until the deadline, which is to be reached after `seconds`, not before."""
        assert self.pause == seconds
        if seconds:
            before, self.now = self.now, self.now + seconds * 0.999
            self.hears(DeadlineReached())
            self.now = before
        self.now = max(self.now + seconds, self.service.deadline)
        self.hears(DeadlineReached(), does=does, becomes=becomes)

    def starts(self):
        """Be asked for by an operator and allowed to start."""
        self.hears(StartAsked(), becomes=State.STOPPED)
        self.is_allowed()

    def is_allowed(self):
        self.hears(StartAllowed(), does=[Spawn(self.service.run + 1)], becomes=State.STARTING)

    def runs(self, seconds=0.0):
        """Start and be born, and live for so long."""
        if not self.service.due:
            self.starts()
        else:
            self.is_allowed()
        self.hears(Spawned(self.service.run), becomes=State.RUNNING)
        self.passes(seconds)

    def ends(self, code, *, becomes):
        """Be gone, by itself, with `code`."""
        self.hears(Gone(self.service.run, code), becomes=becomes)

    def crashes(self):
        """Fail, and wait for the end of the pause."""
        self.ends(1, becomes=State.BACKOFF)
        self.waits(self.service.deadline - self.now)
        assert self.service.due

"""Who watches every step and knows what must hold after it.

The witness trusts neither the core's counters nor its reasons: from what was commanded, told and
done it works out by itself what may be. It raises AssertionError with a sentence.
"""

from supervisor.core.events import (
    Beat,
    Changed,
    CheckFailed,
    CheckPassed,
    Do,
    Leave,
    Spawn,
    Terminate,
)
from supervisor.core.health import LATE
from supervisor.core.spec import Condition, Restart, Then
from supervisor.core.supervisor import LAST_KILL, SHUTDOWN_LIMIT

UNBORN = 0.1  # seconds
EPSILON = 1e-6


class Past:
    """What the witness remembers of one replica."""

    __slots__ = (
        "beat",
        "failed",
        "fewest",
        "most",
        "since",
        "starts",
        "state",
        "unasked",
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


class Witness:
    def __init__(self, core, world, supervisor):
        self.core = core
        self.world = world
        self.supervisor = supervisor
        self.services = supervisor.services
        self.state = state = core.State
        self.rest = {state.STOPPED, state.BACKOFF, state.EXITED, state.FATAL}
        self.over = {state.EXITED, state.FATAL}  # wanted, and nothing is to come
        self.pasts = {key: Past(state.STOPPED) for key in self.services}
        self.above = self._dependents()
        self.must_be = set()  # wanted: asked for by name
        self.may_be = set()  # wanted, if they were down: what those need
        self.shutdown_at = None
        self.hurried = False
        self.exit_code = 0
        self.ends_by = None
        self.left = None
        self.hopeless = set()  # services that the core believes to wait in vain

    def _dependents(self):
        """Return the replicas that need a service, directly or not, by service."""
        needs, above = self.supervisor.graph.needs, {}
        for name in reversed(self.supervisor.graph.order):
            direct = [other for other in needs if name in needs[other]]
            keys = [key for other in direct for key in self.supervisor.replicas[other]]
            above[name] = {*keys, *(key for other in direct for key in above[other])}
        return above

    def command(self, *, start=frozenset(), stop=frozenset(), shutdown=False, patience=None):
        """Note what an operator is about to ask for."""
        now = self.world.now
        self.hopeless = set()
        self.must_be -= stop
        self.may_be -= stop
        if start and self.shutdown_at is None:
            needed = {key for key in self.services if self._needed(key, start)}
            self.may_be |= start | needed
            self.must_be |= start | {
                key for key in needed if self.pasts[key].state not in self.over
            }
            for past in self.pasts.values():
                past.fewest = 0
                past.unasked.clear()
        if shutdown:
            if self.shutdown_at is None:
                self._shut_down(now)
            if patience is not None:
                self.hurried = True
                self.ends_by = min(self.ends_by, now + patience + 2 * LAST_KILL)

    def _needed(self, key, others):
        return not others.isdisjoint(self.above[self.services[key].spec.name])

    def _shut_down(self, now):
        self.must_be, self.may_be = set(), set()
        self.shutdown_at = now
        self.ends_by = now + SHUTDOWN_LIMIT + LAST_KILL

    def passed(self, gap):
        """Note that for so long nothing could be handled."""
        if self.ends_by is not None:
            self.ends_by += gap

    def told(self, key, report):
        """Note a sign of health before the core hears it; other news do not matter here."""
        kind, past, run = type(report), self.pasts.get(key), self.world.runs.get(key)
        if kind not in {CheckFailed, CheckPassed, Beat} or past is None:
            return
        if past.state is not self.state.RUNNING or report.run != run.number:
            return
        self._may_be_forgiven(key)
        self._be_patient(key)
        if kind is Beat:
            past.beat = self.world.now
        elif kind is CheckFailed:
            past.failed, past.well_since = past.failed + 1, None
        elif past.well_since is None:
            past.failed, past.well_since = 0, self.world.now

    def _may_be_forgiven(self, key):
        past, reset_after = self.pasts[key], self.services[key].spec.backoff.reset_after
        well = past.state is self.state.RUNNING and past.well_since is not None
        if well and self.world.now - past.well_since >= reset_after - EPSILON:
            past.fewest = 0
            past.most *= self.world.now - past.well_since < reset_after + EPSILON

    def saw(self, outputs):
        """Judge what the core has answered, before it is carried out."""
        spawned = False
        for output in outputs:
            kind = type(output)
            if kind is Do:
                if type(output.action) is Spawn:
                    self._may_spawn(output.id, output.action)
                    spawned = True
                elif type(output.action) is Terminate:
                    self._may_end(output.id)
            elif kind is Changed:
                self._may_change(output)
            elif kind is Leave:
                self._may_leave(output.code)
        return spawned

    def _may_spawn(self, key, action):
        past, run = self.pasts[key], self.world.runs.get(key)
        assert self.shutdown_at is None, f"{key} started in a shutdown"
        assert run is None or not run.alive, f"two of {key}: run {run.number} still lives"
        assert action.run == len(past.starts) + 1, f"{key}: run {action.run} out of turn"
        unmet = self.unmet(key)
        assert not unmet, f"{key} started without {unmet}"
        past.starts.append(self.world.now)
        past.unasked.append(self.world.now)

    def _may_end(self, key):
        service = self.services[key]
        by_order = not service.wanted and service.cause == "asked" and not self.hurried
        if by_order and self.pasts[key].state in {self.state.STARTING, self.state.RUNNING}:
            for other in self.above[service.spec.name]:
                early = self._leaves(other)
                assert not early, f"{key} told to stop while {other}, which needs it, still leaves"

    def _leaves(self, key):
        service = self.services[key]
        return not service.wanted and service.state not in self.rest

    def unmet(self, key):
        """Return the replicas that keep another from starting."""
        return [
            other
            for name, condition in self.services[key].spec.depends_on.items()
            for other in self.supervisor.replicas[name]
            if not self._reaches(other, condition)
        ]

    def _reaches(self, key, condition):
        service, state = self.services[key], self.state
        if service.state is state.EXITED:
            return condition is not Condition.READY or service.spec.ready is None
        if condition is Condition.COMPLETED:
            return False
        if service.state is state.RUNNING:
            return True
        told = service.state is state.STARTING and self.world.runs[key].spawned_told_at is not None
        return told and condition is Condition.STARTED

    def _may_change(self, output):
        key, after, now = output.id, output.after, self.world.now
        past, service, state = self.pasts[key], self.services[key], self.state
        assert output.before is past.state, f"{key} left {output.before}, but was {past.state}"
        self._may_be_forgiven(key)
        if after is state.RUNNING:
            self._may_run(key)
            past.failed, past.well_since = 0, None if service.spec.health else now
            past.beat = now
        elif after is state.BACKOFF:
            self._may_back_off(key)
        elif after is state.EXITED:
            past.fewest = past.most = 0
            ended = service.last.code == 0 and service.spec.restart is not Restart.ALWAYS
            assert ended, f"{key} rests after {service.last}"
        elif after is state.FATAL:
            self._may_give_up(key)
        elif after is state.STOPPING and service.cause == "overdue":
            self._may_be_overdue(key)
        elif past.state is state.RUNNING and after is state.STOPPING:
            self._may_be_ill(key)
        past.state, past.since = after, now

    def _may_run(self, key):
        run, ready, now = self.world.runs[key], self.services[key].spec.ready, self.world.now
        if ready is None:
            assert run.spawned_told_at is not None, f"{key} RUNNING, and nobody said it was born"
        elif ready.after is None:
            assert run.ready_told, f"{key} RUNNING, and nobody said it was ready"
        else:
            lived = now - run.spawned_told_at + EPSILON
            assert lived >= ready.after, f"{key} RUNNING before it has lived for {ready.after} s"

    def _may_be_overdue(self, key):
        past, spec, now = self.pasts[key], self.services[key].spec, self.world.now
        taken = now - past.starts[-1] + EPSILON
        assert taken >= spec.start_timeout, f"{key} overdue after {taken} s"
        born = self.world.runs[key].spawned_told_at is not None
        unready = spec.ready is not None and spec.ready.after is None
        assert unready or not born, f"{key} overdue, and there was nothing to wait for"

    def _may_be_ill(self, key):
        past, service, spec = self.pasts[key], self.services[key], self.services[key].spec
        ill = spec.health is not None and past.failed >= spec.health.failures
        late = self._late(key)
        hung = late is not None and -EPSILON <= late <= LATE + EPSILON
        if service.cause == "unhealthy":
            assert ill or hung, f"{key} not healthy after {past.failed} checks, beat {past.beat}"
        else:
            assert not (ill and service.wanted), f"{key} ends, and it is not said to be ill"

    def _may_back_off(self, key):
        service, past, now = self.services[key], self.pasts[key], self.world.now
        spec, backoff = service.spec, service.spec.backoff
        past.fewest, past.most = past.fewest + 1, past.most + 1
        waits = service.state is self.state.BACKOFF and service.deadline is not None
        pause = service.deadline - now if waits else 0.0  # it may have started again at once
        least = (
            UNBORN if waits and not service.born else 0.0
        )  # what cannot be born is not tried at full speed
        least, most = max(least, backoff.delay(past.fewest, 0)), backoff.delay(past.most, 1)
        least, most = least - EPSILON, max(least, most) + EPSILON
        assert least <= pause <= most, f"{key} waits {pause} s: not within {least} to {most}"
        assert spec.restart is not Restart.NEVER, f"{key} is to start again, and never should"
        if limit := spec.start_limit:
            recent = sum(now + pause - start < limit.within for start in past.unasked)
            assert recent < limit.starts, f"{key} goes on after {recent} starts: beyond its limit"

    def _may_give_up(self, key):
        service, past, now = self.services[key], self.pasts[key], self.world.now
        limit = service.spec.start_limit
        past.most += 1
        if service.spec.restart is Restart.NEVER:
            assert service.last.code != 0 or service.last.reason, f"{key} FATAL after a good end"
            return
        assert limit is not None, f"{key} FATAL without a limit"
        recent = sum(now - start < limit.within for start in past.starts)
        assert recent >= limit.starts, f"{key} FATAL after {recent} starts: within its limit"
        if limit.then is Then.EXIT and self.shutdown_at is None:
            self.exit_code = 1
            self._shut_down(now)

    def _is_over(self, key):
        service = self.services[key]
        return service.state in self.over or (service.state in self.rest and not service.wanted)

    def _may_leave(self, code):
        assert self.left is None, "left twice"
        assert self.shutdown_at is not None, "left without a shutdown"
        alive = [run for run in self.world.runs.values() if run.alive]
        assert all(run.survived for run in alive), f"left, and {alive[0].key} still lives"
        silent = any(not run.told for run in self.world.runs.values())
        assert code == (1 if silent else self.exit_code), f"left with {code}"
        self.left = code

    def check(self, deadline):
        """Assert what must hold between two steps; `deadline` is what the core wants to hear."""
        core, world, state, rest = self.supervisor, self.world, self.state, self.rest
        runs, now, first = world.runs, world.now, core._limit
        starting = busy = 0
        due = []
        for key, service in self.services.items():
            is_now, when = service.state, service.deadline
            assert is_now is self.pasts[key].state, f"{key} became {is_now} in silence"
            assert service.wanted or key not in self.must_be, f"{key} is not wanted, but should be"
            assert key in self.may_be or not service.wanted, f"{key} is wanted: nobody asked for it"
            if when is not None and (first is None or when < first):
                first = when
            assert self._may_go_on(key), f"{key} goes on, and should not"
            if is_now in rest:
                run = runs.get(key)
                assert run is None or run.told, f"{key} {is_now}, and run {run.number} lives"
                if service.due:
                    due.append(key)
                if service.wanted:
                    remembered = service.due or when is not None or is_now in self.over
                    assert remembered, f"{key} {is_now}, wanted and forgotten"
                else:
                    assert when is None, f"{key} waits, and is not wanted"
                    assert not service.due, f"{key} is to be started, and is not wanted"
            else:
                busy += 1
                starting += is_now is state.STARTING
                waits = when is not None or is_now is state.RUNNING
                assert waits, f"{key} {is_now} without a deadline"
                if not service.wanted and is_now is not state.STOPPING:
                    held = any(self._leaves(other) for other in self.above[service.spec.name])
                    assert held, f"{key} is to be stopped, and nobody tells it"
        assert starting <= core.budget, f"{starting} in STARTING at once"
        assert (starting, busy) == (core.starting, core.busy), "lost count"
        assert deadline == first, f"wants to hear at {deadline}, not at {first}"
        if starting < core.budget:
            for key in due:
                assert self.unmet(key), f"{key} could start, and does not"
        self._check_hopes(due)
        if self.ends_by is not None and self.left is None:
            assert now <= self.ends_by + EPSILON, "the shutdown takes for ever"

    def _may_go_on(self, key):
        service, past = self.services[key], self.pasts[key]
        if past.state is not self.state.RUNNING:
            return True
        checked, beats = service.spec.health, service.spec.watchdog is not None
        looks = service.deadline is not None or not beats
        return looks and (not checked or past.failed < checked.failures)

    def _late(self, key):
        """Return for how long a heartbeat has been missing; None where none is wanted."""
        past, watchdog = self.pasts[key], self.services[key].spec.watchdog
        if watchdog is None or past.state is not self.state.RUNNING:
            return None
        return self.world.now - past.beat - watchdog

    def _be_patient(self, key):
        if (self._late(key) or 0.0) > LATE - EPSILON:
            self.pasts[key].beat = self.world.now  # nobody was there to hear it

    def _check_hopes(self, due):
        if not due and not self.hopeless:
            return
        before, self.hopeless = self.hopeless, self.supervisor.hopeless()
        assert before <= self.hopeless, f"{before} need not wait in vain, though nobody asked"
        for key in due:
            without = self.unmet(key)
            if without and all(map(self._is_over, without)):
                name = self.services[key].spec.name
                assert name in self.hopeless, f"{key} waits in vain, and is said to have hope"

    def heard_time(self, deadline, outputs):
        """Assert that a deadline that was handled does not come at once again."""
        for key in self.pasts:
            late = self._late(key)
            if late is not None and late >= 0:
                assert late > LATE - EPSILON, f"{key} goes on without a heartbeat"
                self._be_patient(key)
        again = deadline is not None and deadline <= self.world.now
        assert outputs or not again, f"spins at {deadline}"

    def ended(self):
        """Judge the end of it all."""
        assert self.left is not None, "never left"
        for key, run in self.world.runs.items():
            assert not run.alive or run.stuck, f"{key} survived"

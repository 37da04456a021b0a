"""Who watches every step and knows what must hold after it.

The witness trusts neither the core's counters nor its reasons: from what was commanded, told and
done it works out by itself what may be. It raises AssertionError with a sentence.
"""

from supervisor.core.events import Changed, Do, Forgot, Leave, Spawn, Terminate
from supervisor.core.spec import Restart, Then
from supervisor.core.supervisor import LAST_KILL, SHUTDOWN_LIMIT

from .listed import EPSILON
from .nurse import Nurse

UNBORN = 0.1  # seconds


class Witness(Nurse):
    def __init__(self, core, world, supervisor):
        super().__init__(core, world, supervisor)
        self.hurried = False
        self.exit_code = 0
        self.ends_by = None
        self.left = None
        self.crowd = 0  # so many more than allowed start at once by notes of which some are lost
        self.hopeless = set()  # services that the core believes to wait in vain

    def command(self, *, start=frozenset(), stop=frozenset(), shutdown=False, patience=None):
        """Note what an operator is about to ask for."""
        now = self.world.now
        self.hopeless = set()
        start &= self.plan.keys()
        self.must_be -= stop
        self.may_be -= stop
        if start and self.shutdown_at is None:
            needed = {key for key in self.plan if self._needed(key, start)}
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
            elif kind is Forgot:
                self._may_forget(output.id)
            elif kind is Leave:
                self._may_leave(output.code)
        return spawned

    def _may_spawn(self, key, action):
        past, run = self.pasts[key], self.world.runs.get(key)
        assert self.shutdown_at is None, f"{key} started in a shutdown"
        assert run is None or not run.alive, f"two of {key}: run {run.number} still lives"
        assert action.run == len(past.starts) + 1, f"{key}: run {action.run} out of turn"
        assert self.services[key].spec == self.plan[key], f"{key} started as it was before"
        unmet = self.unmet(key)
        assert not unmet, f"{key} started without {unmet}"
        past.starts.append(self.world.now)
        past.unasked.append(self.world.now)

    def _may_end(self, key):
        service, past = self.services[key], self.pasts[key]
        if service.cause != "asked" or past.state not in {self.state.STARTING, self.state.RUNNING}:
            return
        by_plan = key in self.pending and key not in self.restarted
        if service.wanted:
            assert by_plan or key in self.restarted, f"{key} ended, and nobody wanted that"
        if (service.wanted and not by_plan) or self.hurried:
            return
        if key in self.pending:
            patience = service.deadline - self.world.now - self.soft[key].stop.timeout
            assert abs(patience) < EPSILON, f"{key} stops by the rules of its next run"
        for other in self.above[service.spec.name]:
            early = self._leaves(other)
            assert not early, f"{key} told to stop while {other}, which needs it, still leaves"

    def _may_change(self, output):
        key, after, now = output.id, output.after, self.world.now
        past, service, state = self.pasts[key], self.everyone[key], self.state
        assert output.before is past.state, f"{key} left {output.before}, but was {past.state}"
        self._may_be_forgiven(key)
        if after is state.RUNNING:
            self._may_run(key)
            self._runs_now(key)
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
        if after in self.rest:
            self.pending.discard(key)
            self.restarted.discard(key)
        past.state, past.since = after, now

    def _may_run(self, key):
        run, now = self.world.runs[key], self.world.now
        ready = run.spec.ready
        if ready is None:
            assert run.spawned_told_at is not None, f"{key} RUNNING, and nobody said it was born"
        elif ready.after is None:
            assert run.ready_told, f"{key} RUNNING, and nobody said it was ready"
        else:
            lived = now - run.spawned_told_at + EPSILON
            assert lived >= ready.after, f"{key} RUNNING before it has lived for {ready.after} s"

    def _may_be_overdue(self, key):
        past, spec, now = self.pasts[key], self.world.runs[key].spec, self.world.now
        taken = now - past.starts[-1] + EPSILON
        assert taken >= spec.start_timeout, f"{key} overdue after {taken} s"
        born = self.world.runs[key].spawned_told_at is not None
        unready = spec.ready is not None and spec.ready.after is None
        assert unready or not born, f"{key} overdue, and there was nothing to wait for"

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
        if key in self.pending:
            return False
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
        core, state, rest = self.supervisor, self.state, self.rest
        missing = self.plan.keys() - self.services.keys()
        assert not missing, f"{missing} in the list, and unknown"
        now, first = self.world.now, core._limit
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
                self._rests_as_planned(key, service)
                if service.due:
                    due.append(key)
            else:
                busy += 1
                starting += is_now is state.STARTING
                waits = when is not None or is_now is state.RUNNING
                assert waits, f"{key} {is_now} without a deadline"
                self._lives_as_planned(key, service)
                if self._leaves(key) and is_now is not state.STOPPING:
                    held = any(self._leaves(other) for other in self.above[service.spec.name])
                    assert held, f"{key} is to be stopped, and nobody tells it"
        assert starting <= max(core.budget, self.crowd), f"{starting} in STARTING at once"
        self.crowd = min(self.crowd, starting)
        assert (starting, busy) == (core.starting, core.busy), "lost count"
        assert deadline == first, f"wants to hear at {deadline}, not at {first}"
        if starting < core.budget:
            for key in due:
                assert self.unmet(key), f"{key} could start, and does not"
        self._check_hopes(due)
        if self.ends_by is not None and self.left is None:
            assert now <= self.ends_by + EPSILON, "the shutdown takes for ever"

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
        self._beat_in_time()
        again = deadline is not None and deadline <= self.world.now
        assert outputs or not again, f"spins at {deadline}"

    def ended(self):
        """Judge the end of it all."""
        assert self.left is not None, "never left"
        for key, run in self.world.runs.items():
            assert not run.alive or run.stuck, f"{key} survived"

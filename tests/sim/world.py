"""A world in which processes are records and an hour passes in no time.

Here is the truth: who lives, who is being born, what was said. `World` carries out what the core
asks for, as badly as a real machine does at its worst, and says afterwards what became of it. It
judges nothing (see witness.py) and knows nothing of why things are asked for.
"""

import heapq
import itertools

from supervisor.core.events import (
    Adopt,
    Beat,
    BecameReady,
    CheckFailed,
    CheckPassed,
    Exited,
    Gone,
    Heard,
    Kill,
    Spawn,
    Spawned,
    SpawnFailed,
    Terminate,
)
from supervisor.core.spec import Restart

FOR_EVER = 10**9
LAST_WORDS = (SpawnFailed, Gone)


class Run:
    """One run of a replica, as it truly is."""

    __slots__ = (
        "alive",
        "code",
        "deaf",
        "deaf_others",
        "ill",
        "is_ready",
        "key",
        "leader",
        "number",
        "others",
        "ready_told",
        "said",
        "spawned_told_at",
        "spec",
        "stuck",
        "survived",
        "told",
        "unborn",
    )

    def __init__(self, key, number, spec):
        self.key = key
        self.spec = spec  # that it was born with
        self.number = number
        self.unborn = True  # its birth is asked for, and has not come to an end
        self.alive = True  # something of it exists, or may come to exist
        self.leader = False
        self.deaf = False  # the leader does not hear TERM
        self.ill = 0.0  # how likely a check fails
        self.others = 0  # grandchildren, which TERM ends
        self.deaf_others = 0  # grandchildren, which only KILL ends
        self.stuck = 0  # so many KILLs it survives (state D, a race with fork)
        self.survived = False  # a KILL, at least once
        self.code = None
        self.said = False  # the last word is on its way
        self.told = False  # the last word has been delivered
        self.spawned_told_at = None
        self.is_ready = self.ready_told = False


class World:
    """Processes, the clock, and the post that brings their news."""

    def __init__(self, rng, step):
        self.rng = rng
        self.chance = rng.random
        self.step = step  # takes an input of the core
        self.now = 100.0
        self.queue = []
        self.count = itertools.count()
        self.runs = {}  # the latest Run by replica
        self.master = 0  # how many there have been; news for one that is dead are lost

    def at(self, delay, happens, *what):
        heapq.heappush(self.queue, (self.now + delay, next(self.count), happens, what))

    def happen(self):
        """Let the next thing happen; return False where there is none."""
        if not self.queue:
            return False
        when, _, happens, what = heapq.heappop(self.queue)
        self.now = max(self.now, when)
        happens(*what)
        return True

    def perform(self, key, action, spec):
        kind = type(action)
        if kind is Spawn:
            assert key not in self.runs or not self.runs[key].alive, f"two of {key}"
            self.runs[key] = run = Run(key, action.run, spec)
            self._conceive(run)
            return
        if kind is Adopt:
            return
        run = self.runs.get(key)
        assert run is not None, f"{key}: {action} without a run"
        assert run.number == action.run, f"{key}: {action} meant for run {run.number}"
        assert not run.told, f"{key}: {action} after the last word"
        if kind is Terminate:
            self._terminate(run)
        elif kind is Kill:
            self._kill(run)

    def _conceive(self, run):
        luck = self.chance()
        if luck < 0.5:
            self.at(0, self._be_born, run)
        elif luck < 0.8:
            self.at(self.chance() * 0.5, self._be_born, run)
        elif luck < 0.87:
            self.at(20 * self.chance(), self._be_born, run)
        elif luck < 0.95:
            self.at(self.chance(), self._fail, run)
        # else: it hangs until somebody kills it

    def _be_born(self, run):
        if not run.unborn:
            return
        chance = self.chance
        run.unborn, run.leader = False, True
        run.deaf = chance() < 0.12
        if chance() < 0.3:
            run.others, run.deaf_others = int(chance() * 3), int(chance() * 2)
        if (luck := chance()) < 0.05:
            run.stuck = FOR_EVER if luck < 0.004 else 1 + int(chance() * 2)
        self.say(run, Spawned(run.number))
        spec = run.spec
        if spec.ready and spec.ready.after is None and chance() < 0.85:
            self.at(chance() * 3 if chance() < 0.8 else chance() * 40, self._be_ready, run)
        if spec.watchdog:
            self.at(0, self._beat, run, chance() < 0.3)
        if spec.health:
            run.ill = 0.0 if chance() < 0.5 else chance()
            self.at(chance() * spec.health.every, self._be_checked, run)
        if (luck := chance()) < 0.6:
            lived = 0 if luck < 0.08 else chance() * (2 if luck < 0.3 else 40)
            good = 0.7 if spec.restart is not Restart.ALWAYS else 0.3
            self.at(lived, self._end_leader, run, 0 if chance() < good else 1)

    def _be_ready(self, run):
        if run.leader:
            run.is_ready = True
            self.say(run, BecameReady(run.number))

    def _beat(self, run, hangs):
        if run.survived:  # a KILL, in state D: it does nothing any more
            return
        if run.leader and not (hangs and self.chance() < 0.2):
            self.say(run, Beat(run.number))
            self.at(run.spec.watchdog * 0.4, self._beat, run, hangs)

    def _be_checked(self, run):
        if not run.leader or run.survived:
            return
        chance, every = self.chance, run.spec.health.every
        if chance() < 0.1:
            run.ill = 0.0 if run.ill else chance()
        failed = chance() < run.ill
        self.say(run, CheckFailed(run.number, "mute") if failed else CheckPassed(run.number))
        self.at(every, self._be_checked, run)

    def _fail(self, run):
        if run.unborn:
            run.unborn = run.alive = False
            self._last(run, SpawnFailed(run.number, "cannot"))

    def _end_birth(self, run):
        if run.unborn:
            run.unborn = run.alive = False
            failed = self.chance() < 0.5
            last = SpawnFailed(run.number, "killed") if failed else Gone(run.number, -9)
            self._last(run, last)

    def _end_leader(self, run, code):
        if not run.leader:
            return
        run.leader, run.code = False, code
        if self.chance() < 0.4:
            run.others = 0  # they notice, and follow
        if run.others or run.deaf_others:
            self.say(run, Exited(run.number, code))
        self._end_if_empty(run)

    def _end_others(self, run, deaf):
        run.others = 0
        if deaf:
            run.deaf_others = 0
        self._end_if_empty(run)

    def _end_if_empty(self, run):
        if not (run.leader or run.others or run.deaf_others or run.unborn):
            run.alive = False
            self._last(run, Gone(run.number, run.code))

    def _terminate(self, run):
        if run.unborn:
            self.at(self.chance() * 0.2, self._end_birth, run)
        elif run.leader:
            if not run.deaf:
                delay = 0 if self.chance() < 0.6 else self.chance() * 4
                self.at(delay, self._end_leader, run, -15 if self.chance() < 0.6 else 0)
        elif run.others:
            self.at(self.chance(), self._end_others, run, False)

    def _kill(self, run):
        if run.stuck:
            run.stuck -= 1
            run.survived = True
        elif run.unborn:
            self.at(self.chance() * 0.1, self._end_birth, run)
        elif self.chance() < 0.3:
            self.at(0, self._end_leader, run, -9)
            self.at(self.chance() * 0.1, self._end_others, run, True)
        else:
            self.at(self.chance() * 0.1, self._end_all, run)

    def _end_all(self, run):
        run.others = run.deaf_others = 0
        if run.leader:
            self._end_leader(run, -9)
        else:
            self._end_if_empty(run)

    def adopt(self, service, number):
        """Look after a run for another master, and tell what that does not know."""
        run = self.runs.get(service.id)
        if run is None or run.number != number:  # noted, and never asked for
            self.runs[service.id] = run = Run(service.id, number, service.spec)
            run.unborn = run.alive = False
        run.said = run.told = False
        if not service.born:
            run.spawned_told_at = None
        run.ready_told = service.state == "RUNNING"
        if run.unborn and self.chance() < 0.3:
            self._end_birth(run)
        elif not run.alive:
            self._tell_the_end(run, service.born)
        elif not run.unborn:
            self._tell_what_is(run, service.born)

    def _tell_the_end(self, run, born):
        run.said = True
        known = run.code if self.chance() < 0.5 else None
        unborn = not born and self.chance() < 0.7
        self.say(run, SpawnFailed(run.number, "cut") if unborn else Gone(run.number, known))

    def _tell_what_is(self, run, born):
        if not born:
            self.say(run, Spawned(run.number))
        if not run.leader:
            self.say(run, Exited(run.number, run.code if self.chance() < 0.5 else None))
        elif run.is_ready and not run.ready_told and self.chance() < 0.9:
            self.say(run, BecameReady(run.number))

    def _last(self, run, report):
        if not run.said:
            run.said = True
            self.say(run, report)

    def say(self, run, report):
        """Put news into the post, which may be late, and may deliver it twice."""
        luck, to = self.chance(), self.master
        if luck < 0.8:
            self.at(0, self.deliver, to, run, report)
        else:
            self.at((luck - 0.8) * (2 if luck < 0.95 else 20), self.deliver, to, run, report)
        if self.chance() < 0.06:
            self.at(self.chance() * 5, self.deliver, to, run, report)

    def deliver(self, to, run, report):
        if to != self.master:
            return
        kind = type(report)
        if kind is Spawned:
            if run.spawned_told_at is None:
                run.spawned_told_at = self.now
        elif kind is BecameReady:
            run.ready_told = True
        elif kind in LAST_WORDS:
            run.told = True
        self.step(Heard(run.key, report))

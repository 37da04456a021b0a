"""The drill itself: a fault every so often, and eyes open in between.

Single-threaded: it looks, hits when it is time, looks again; and at the end it waits until all is
as it was, or its patience is over.
"""

from __future__ import annotations

import contextlib
import os
import random
import select
import signal
import time

from supervisor.ipc.pidfd import send_signal, wait
from supervisor.records import field, record

from . import faults, watch
from .faults import EVERYTHING, THEIRS, Victim
from .report import Fault, Outcome
from .watch import Watch

TYPE_CHECKING = False  # see control/client.py
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

PATIENCE = 30.0  # seconds until all must be as it was
_BUSY = 10  # milliseconds between two looks, while something is missing
_CALM = 50
_SCAN = 0.2  # seconds between two looks for doubles
_MANAGED = 3.0  # seconds between two deaths of the anchor: a manager may give up otherwise
_STOPS = 0.2  # the share of stops, where both are wanted
_TRIES = 20  # to find somebody to hit, before the next turn


@record(frozen=True)
class Orders:
    """What the operator wants."""

    kinds: tuple[str, ...]
    names: frozenset[str]  # ids of replicas that may be hit
    how: str  # kill, stop or both
    length: float  # seconds
    every: float
    stopped: float  # how long a stop lasts
    seed: int


@record()
class Drill:
    """One drill on one keepd."""

    orders: Orders
    watch: Watch
    outcome: Outcome
    revive: Callable[[], bool] | None = None  # starts keepd again after the death of everything
    status: dict[str, Any] = field(default_factory=dict)  # the latest answer
    open: list[Fault] = field(default_factory=list)
    stop: faults.Stop | None = None
    scanned: float = 0.0
    anchor_hit: float = 0.0
    dice: random.Random = field(default_factory=random.Random)

    def run(self) -> None:
        """Do it; a Ctrl-C ends it in order, and what was seen stays in the outcome."""
        begun = time.monotonic()
        self.dice.seed(self.orders.seed)
        try:
            self._begin()
            self._fire(begun + self.orders.length)
            self._calm_down()
        except KeyboardInterrupt:
            self.outcome.interrupted = True
        finally:
            if self.stop is not None:
                self.stop.end()
            self.outcome.seconds = time.monotonic() - begun
            lives = self.watch.lives.values()
            self.outcome.asked = sum(life.asked for life in lives)
            self.outcome.not_asked = self.watch.why
            self.outcome.doubles = sorted(self.watch.doubles)

    def _begin(self) -> None:
        self.watch.begin(self.status)
        self.outcome.before = watch.growth(self.status)

    def _fire(self, end: float) -> None:
        due = time.monotonic() + self.orders.every
        while (now := time.monotonic()) < end:
            self._look()
            if now >= due and self.stop is None:
                due = max(due + self.orders.every, now) if self._strike() else now
            _pause(_BUSY if self.open else _CALM)

    def _calm_down(self) -> None:
        """Wait until all is as it was."""
        end = time.monotonic() + PATIENCE
        while True:
            self._look()
            waits = [one["next_start_in"] or 0.0 for one in faults.replicas(self.status)]
            missing = self._missing()
            if not missing and not self.open and self.stop is None:
                break
            if time.monotonic() > end + max(waits, default=0.0):
                names = [fault.name for fault in self.open]
                self.outcome.missing = list(dict.fromkeys([*missing, *names]))
                break
            _pause(_BUSY)
        self.watch.look()
        self.outcome.after = watch.growth(self.status)

    def _look(self) -> None:
        """Hear what is new, and close what is over."""
        now = time.monotonic()
        if self.stop is not None and self.stop.over():
            self.stop = None
            for fault in self.open:
                fault.since = now
        status = self.watch.ask()
        if status is not None:
            self.status = status
            self.watch.hear(status)
            for fault in list(self.open):
                if self._recovered(fault):
                    fault.back = time.monotonic() - fault.since
                    self.open.remove(fault)
        if now - self.scanned > _SCAN:
            self.scanned = now
            self.watch.look()

    def _recovered(self, fault: Fault) -> bool:
        if self.stop is not None and fault.how == "stop":
            return False
        if fault.kind not in THEIRS:
            return not self._missing()
        mine = [one for one in faults.replicas(self.status) if one["id"] == fault.name]
        return all(self._settled(fault, one) for one in mine)

    @staticmethod
    def _settled(fault: Fault, one: dict[str, Any]) -> bool:
        """Return whether a replica that was hit runs again, or stays down as its list has it."""
        killed = fault.kind == "replica" and fault.how == "kill"
        fresh = one["run"] > fault.run or not killed
        return one["state"] in watch.DOWN or (one["state"] in watch.FINE and fresh)

    def _missing(self) -> list[str]:
        hit = {fault.name for fault in self.outcome.faults if fault.kind in THEIRS}
        return self.watch.missing(self.status, hit) if self.status else ["keepd"]

    def _strike(self) -> bool:
        """Hit somebody; False if there was nobody to be had."""
        for _ in range(_TRIES):
            kind = self.dice.choice(self.orders.kinds)
            if kind == EVERYTHING:
                if self._end_everything():
                    return True
                continue
            victim = self._found(kind)
            pidfd = faults.hold(victim) if victim else None
            if victim is None or pidfd is None:
                continue
            try:
                if self._still(victim):
                    self._hit(victim, pidfd)
                    return True
            finally:
                os.close(pidfd)
        return False

    def _found(self, kind: str) -> Victim | None:
        daemon = self.status["daemon"]
        now = time.monotonic()
        if kind == "anchor" and daemon["mode"] == "managed" and now < self.anchor_hit + _MANAGED:
            return None
        who = faults.victims(self.status, (kind,), set(self.orders.names))
        who = [one for one in who if watch.up(one.pid)] or faults.newborns(daemon["pid"], (kind,))
        return self.dice.choice(who) if who else None

    def _still(self, victim: Victim) -> bool:
        """Return whether, with its pidfd in our hand, it is still what it was: no later process."""
        if victim in faults.newborns(self.status["daemon"]["pid"], (victim.kind,)):
            return True
        status = self.watch.ask()
        if status is None:
            return victim.kind == "anchor"  # it was looked at by its title
        self.status = status
        self.watch.hear(status)
        return victim in faults.victims(status, (victim.kind,), set(self.orders.names))

    def _hit(self, victim: Victim, pidfd: int) -> None:
        both = self.orders.how == "both"
        stops = self.dice.random() < _STOPS if both else self.orders.how == "stop"
        now = time.monotonic()
        if stops:
            self.stop = faults.Stop(pidfd, self.orders.stopped)
        elif not faults.kill(pidfd):
            return  # it was gone before, or is deaf to KILL: not a fault of ours
        if victim.kind == "anchor":
            self.anchor_hit = now
        if victim.kind in THEIRS:
            self.watch.hit(victim.name, 0 if stops or victim.kind == "child" else victim.run)
        how = "stop" if stops else "kill"
        self._noted(Fault(victim.kind, victim.name, how, now, now, run=victim.run))

    def _noted(self, fault: Fault) -> None:
        if fault.kind not in THEIRS:
            for other in self.open:  # what comes on top of it is not to be counted twice
                other.since = fault.since if other.kind not in THEIRS else other.since
        self.open.append(fault)
        self.outcome.faults.append(fault)

    def _end_everything(self) -> bool:
        """Kill all that is keepd's in one instant, and start it again; False if not all is here."""
        status = None if self.open else self.watch.ask()
        if status is None or self.revive is None:
            return False
        with contextlib.ExitStack() as stack:
            held = []
            for victim in faults.victims(status, faults.OURS, set()):
                pidfd = faults.hold(victim)
                if pidfd is not None:
                    stack.callback(os.close, pidfd)
                    held.append(pidfd)
            # Stopped first: else a master could take its anchor's place before it is killed.
            try:
                for pidfd in held:
                    send_signal(pidfd, signal.SIGSTOP)
                _pause(STANDSTILL)
            finally:  # also where we are to end: nobody stays stopped
                for pidfd in held:
                    send_signal(pidfd, signal.SIGKILL)
            for pidfd in held:
                wait(pidfd, PATIENCE)
        now = time.monotonic()
        self.revive()  # where it fails, all of it stays missing, which is told
        self._noted(Fault(EVERYTHING, EVERYTHING, "kill", now, now))
        return True


STANDSTILL = 20  # milliseconds that processes have to heed a signal


def _pause(milliseconds: int) -> None:
    select.poll().poll(milliseconds)

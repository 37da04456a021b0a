"""Tells an operator's commands what has happened: which of them, when, and what is said to them.

The commands are run by the prober process, never here. A hook that is slow, hangs or fails delays
nothing but later hooks of the same service and event: what happens meanwhile, or too soon after the
last one, is counted into the next.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from supervisor.core.service import AT_REST, Cause, Service, State
from supervisor.probes import Order, Probes
from supervisor.records import record

MOST = 8  # that run at once
LAST = 2.0  # seconds that they have in the end
_SLACK = 0.5  # seconds after which the end does not wait for the prober either

Kind = tuple[str, str]  # service, event


@record()
class Waiting:
    """An event that no command has been told of yet: the latest of `count`."""

    key: str
    run: int
    count: int
    facts: dict[str, Any]


@record(frozen=True)
class Desk:
    """What hooks need of the master."""

    services: Mapping[str, Service]
    describe: Callable[[str], dict[str, Any]]  # a replica as `status` has it
    order: Callable[[Service, int, tuple[str, ...]], Order]  # for a command on behalf of a run
    say: Callable[[str], None]
    now: Callable[[], float]


def events(service: Service, before: str, after: str) -> list[str]:
    """Return what is said to have happened when a replica goes from one state to another."""
    found = []
    last = service.last  # the service itself may be in its next run by now
    lived = last is not None and (last.code is not None or last.lived > 0)
    if after in AT_REST and before not in AT_REST and lived:
        found.append("exit")
    match State(after):
        case State.RUNNING:
            found.append("ready")
        case State.STOPPING if service.cause is Cause.UNHEALTHY:
            found.append("unhealthy")
        case State.BACKOFF:
            found.append("backoff")
        case State.FATAL:
            found.append("failed")
    return found


class Hooks:
    """All hooks that run, or wait for their turn or the end of their cool-down."""

    def __init__(self, probes: Probes, desk: Desk) -> None:
        """Wait for something to happen."""
        self._probes = probes
        self._desk = desk
        self._waiting: dict[Kind, Waiting] = {}
        self._running: dict[int, Kind] = {}
        self._cool: dict[Kind, float] = {}  # when the next may begin
        self._number = 0
        self._done: Callable[[], None] | None = None
        self._end: float | None = None  # when, in the end, none may run any more
        probes.hooked = self._hooked

    def changed(self, key: str, before: str, after: str) -> None:
        """Hear that a replica has come into another state."""
        service = self._desk.services.get(key)
        on = service.spec.on if service else None
        if service is None or on is None:
            return
        for event in events(service, before, after):
            if getattr(on, event) is not None:
                kind = (service.spec.name, event)
                earlier = self._waiting.get(kind)
                count = earlier.count + 1 if earlier is not None else 1
                facts = {"event": event, "service": kind[0], "at": _wall(), "count": count}
                facts |= self._desk.describe(key)
                self._waiting[kind] = Waiting(key, service.run, count, facts)
        self.look()

    def look(self) -> None:
        """Begin what may begin now."""
        now = self._desk.now()
        busy = set(self._running.values())
        for kind, waiting in list(self._waiting.items()):
            if len(self._running) >= MOST or (self._end is not None and now >= self._end):
                break
            cool = self._done is not None or self._cool.get(kind, now) <= now
            if cool and kind not in busy:
                del self._waiting[kind]
                self._begin(kind, waiting, now)
        if self._end is not None and (not self._running or now >= self._end + _SLACK):
            self._leave()

    def next_deadline(self) -> float | None:
        """Return when look() is due."""
        busy = set(self._running.values())
        times = [self._cool[kind] for kind in self._waiting if kind in self._cool.keys() - busy]
        if self._end is not None:
            return self._end + _SLACK
        return min(times, default=None) if len(self._running) < MOST else None

    def finish(self, done: Callable[[], None]) -> None:
        """Tell what has not been told, and call `done` when that is over, or has taken too long."""
        self._done = done
        self._end = self._desk.now() + LAST
        self._probes.hurry(LAST)
        self.look()

    def _leave(self) -> None:
        done, self._done, self._end = self._done, None, None
        self._waiting.clear()
        if done is not None:
            done()

    def _begin(self, kind: Kind, waiting: Waiting, now: float) -> None:
        service = self._desk.services.get(waiting.key)
        on = service.spec.on if service else None
        command = getattr(on, kind[1]) if on else None
        if service is None or on is None or command is None:  # not in the list any more
            return
        self._cool[kind] = now + on.cooldown
        self._number += 1
        self._running[self._number] = kind
        order = dict(self._desk.order(service, waiting.run, command))
        order["stdin"] = json.dumps(waiting.facts) + "\n"
        limit = on.timeout if self._end is None else min(on.timeout, self._end - now)
        self._probes.hook(self._number, order, limit)

    def _hooked(self, number: int, why: str) -> None:
        """Hear that a hook is over; `why` says what went wrong, if anything did."""
        service, event = self._running.pop(number, ("", ""))
        if why and service:
            self._desk.say(f"{service}: the hook on {event} failed: {why}")
        self.look()


def _wall() -> str:
    at = datetime.fromtimestamp(time.time(), UTC)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")

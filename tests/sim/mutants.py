"""Faults put into the core on purpose, to see that the simulated world notices.

Each mutant is the source of the core with a few words exchanged, compiled into modules of its own;
the real ones are left alone.
"""

import sys
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from supervisor.core import (
    deadlines,
    departures,
    health,
    memory,
    plan,
    roster,
    service,
    states,
    supervisor,
)

from .schedule import Core

# Each after those that it imports from.
FILES = {
    "health": health,
    "states": states,
    "memory": memory,
    "deadlines": deadlines,
    "service": service,
    "plan": plan,
    "roster": roster,
    "departures": departures,
}
FILES |= {"supervisor": supervisor}
SOURCES = {name: Path(it.__file__).read_text(encoding="utf-8") for name, it in FILES.items()}


@dataclass(frozen=True, slots=True)
class Mutant:
    """The core with `swaps` (old text, new text) made in one of its files."""

    name: str
    file: str
    swaps: tuple[tuple[str, str], ...]

    def core(self):
        """Return the mutant, compiled; raise ValueError where the source has moved on."""
        source = SOURCES[self.file]
        for old, new in self.swaps:
            if source.count(old) != 1:
                raise ValueError(f"{self.name}: {source.count(old)} times in {self.file}.py: {old}")
            source = source.replace(old, new)
        return grown(SOURCES | {self.file: source})


def grown(sources):
    """Return a core compiled from these sources, each module with the names of those before it."""
    made = {}
    for name, source in sources.items():
        module = made[name] = ModuleType(f"supervisor.core.{name}")
        module.__package__ = "supervisor.core"
        code = compile(source, f"mutant of {name}.py", "exec", dont_inherit=True)
        before = {f"supervisor.core.{n}": other for n, other in made.items()}
        with patched(before):
            exec(code, module.__dict__)
    supervisor, state = made["supervisor"].Supervisor, made["service"].State
    return Core(Supervisor=supervisor, State=state, note=made["memory"].note)


@contextmanager
def patched(modules):
    """Let imports find these modules meanwhile."""
    package = sys.modules["supervisor.core"]
    kept = {name: sys.modules.get(name) for name in modules}
    parts = {name.rpartition(".")[2]: module for name, module in modules.items()}
    attributes = {part: getattr(package, part) for part in parts}
    sys.modules.update(modules)
    for part, module in parts.items():
        setattr(package, part, module)
    try:
        yield
    finally:
        sys.modules.update(kept)
        for part, module in attributes.items():
            setattr(package, part, module)


def life(name, *swaps):
    return Mutant(name, "service", swaps)


def pulse(name, *swaps):
    return Mutant(name, "health", swaps)


def lives(name, *swaps):
    return Mutant(name, "supervisor", swaps)


def times(name, *swaps):
    return Mutant(name, "deadlines", swaps)


def notes(name, *swaps):
    return Mutant(name, "memory", swaps)


def leaves(name, *swaps):
    return Mutant(name, "departures", swaps)


def plans(name, *swaps):
    return Mutant(name, "plan", swaps)


def lists(name, *swaps):
    return Mutant(name, "roster", swaps)


MUTANTS = (
    life(
        "forgets-run-numbers",
        ("if event.run != service.run or service.at_rest:", "if service.at_rest:"),
    ),
    life(
        "hears-last-words-twice",
        ("if event.run != service.run or service.at_rest:", "if event.run != service.run:"),
    ),
    life("never-counts-its-runs", ("    service.run += 1\n", "")),
    life(
        "restarts-while-leftovers-live",
        ("return _end(service, Cause.ENDED, now)", '_finish(service, code, "", now)'),
    ),
    life(
        "no-kill-at-deadline",
        ("now + KILL_AGAIN\n            return (Kill(service.run),)", "now + KILL_AGAIN"),
    ),
    life(
        "kills-only-once",
        ("service.deadline = now + KILL_AGAIN\n            return", "return"),
    ),
    life("waits-for-ever-for-a-start", (", now + service.spec.start_timeout)", ")")),
    life("stops-without-a-deadline", (", now + service.spec.stop.timeout)", ")")),
    life("takes-birth-for-readiness", ("if service.spec.ready is None:", "if True:")),
    life("takes-no-delay-for-none", ("and ready.after is not None:", "and ready.after:")),
    life(
        "stop-does-not-cancel-a-start",
        ("service.wanted = service.due = False", "service.wanted = False"),
    ),
    life(
        "stop-leaves-the-backoff",
        ("if service.state in {State.BACKOFF, State.FATAL}:", "if False:"),
    ),
    life(
        "restart-forgets-to-start",
        ("service.next:\n        service.due = True\n", "service.next:\n"),
    ),
    life(
        "backoff-forgets-to-start",
        (
            "case State.BACKOFF:\n            service.due = True",
            "case State.BACKOFF:\n            pass",
        ),
    ),
    life("backoff-never-grows", ("service.failures += 1\n", "service.failures = 1\n")),
    life(
        "backoff-never-resets",
        (
            "State.RUNNING:\n            return _look_again(service, now)",
            "State.RUNNING:\n            pass",
        ),
        (
            "service.pulse, now):\n        service.failures = 0",
            "service.pulse, now):\n        pass",
        ),
    ),
    life(
        "hears-of-illness-and-goes-on",
        (
            "if illness:\n        service.reason = illness",
            "if False:\n        service.reason = illness",
        ),
    ),
    life(
        "is-ill-and-not-to-blame",
        ("_end(service, Cause.UNHEALTHY, now)", "_end(service, Cause.ENDED, now)"),
    ),
    pulse("one-failed-check-is-enough", ("pulse.failed >= spec.health.failures", "pulse.failed")),
    pulse(
        "a-passed-check-changes-nothing",
        (
            "            since = now if",
            "            return pulse\n            since = now if",
        ),
    ),
    pulse(
        "no-heartbeat-is-none-missed",
        ("if failures else None, pulse.beat_by)", "if failures else None,)"),
    ),
    pulse("a-heartbeat-changes-nothing", ("case Beat() if", "case Beat() if False and")),
    pulse("hears-no-beat-while-it-is-away", ("now - pulse.beat_by <= LATE", "True")),
    pulse("good-without-proof", ("return Pulse(None if spec.health else now", "return Pulse(now")),
    life(
        "backoff-forgiven-by-a-long-start",
        (
            "if service.state is State.RUNNING and health",
            "if service.state is not State.RUNNING or health",
        ),
    ),
    life("start-limit-off-by-one", (">= limit.starts", "> limit.starts")),
    life("start-limit-without-a-window", ("start - earlier < limit.within", "True")),
    life("restarts-what-never-should", ("service.spec.restart is Restart.NEVER or ", "")),
    life("takes-failure-for-success", ("elif code == 0 and", "elif code != 0 and")),
    lives(
        "budget-ignored", ("while self._turn and self.starting < self.budget:", "while self._turn:")
    ),
    lives(
        "dependency-not-rechecked",
        (
            "unmet = self.waiting_for(key)",
            "unmet = [] if self.services[key].run else self.waiting_for(key)",
        ),
    ),
    lists(
        "one-replica-is-enough",
        ("[condition] == self._planned[name]\n\n", "[condition] > 0\n\n"),
    ),
    lists("takes-a-pause-for-the-end", ("return vain or not service.wanted", "return True")),
    lists("waits-for-what-was-stopped", ("return vain or not service.wanted", "return vain")),
    lists("hopes-for-what-has-failed", ("return not reached(service)[", "return False and [")),
    lists("starts-those-beside-it", ("(name in needed and self", "(self")),
    lists("starts-without-what-it-needs", ("name in needed and self", "False and self")),
    lives(
        "forgets-who-waits",
        ("self._turn.update(self._blocked.pop(name, {}))", "self._blocked.pop(name, None)"),
    ),
    lists("ended-is-ready", ("completed and service.spec.ready is None", "completed")),
    leaves("stop-in-wrong-order", ("if self._leaving[dependent]:", "if False:")),
    leaves(
        "stop-order-of-neighbours-only",
        ("self._graph.above(name, self._clear)", "self._graph.dependents[name]"),
    ),
    leaves(
        "stop-holds-for-ever",
        ("return tuple(self._held.pop(name))", "return tuple(self._held.pop(name))[:0]"),
    ),
    lives(
        "start-cancels-a-shutdown",
        ("case _ if self.shutdown:", "case _ if False:"),
    ),
    lives("shutdown-without-a-limit", ("True, now + self.shutdown_limit", "True, None")),
    lives("leaves-too-early", ("if self.shutdown and not self.busy:", "if self.shutdown:")),
    lives("leaves-twice", ("if not self._left:", "if True:")),
    lives("forgets-why-it-leaves", ("self.exit_code = 1", "self.exit_code = 0")),
    lives(
        "limit-after-leaving",
        ("if self._limit is not None:  # else", "if True:  # else"),
        ("min(self._limit, limit)", "min(self._limit or now, limit)"),
    ),
    lives(
        "drops-a-renewed-deadline",
        ("None if isinstance(event, DeadlineReached) else service.deadline", "service.deadline"),
    ),
    times(
        "hears-outdated-deadlines",
        (
            "if self._waits(key, when):\n                return when",
            "if True:\n                return when",
        ),
    ),
    plans("reload-restarts-for-nothing", ("not all(change.live for change in changes)", "True")),
    plans("reload-restarts-nothing", ("not all(change.live for change in changes)", "False")),
    plans("reload-starts-the-stopped", ("if not service.wanted:", "if False:")),
    plans("reload-starts-beside-the-stopped", ("if others and not any(", "if False and not any(")),
    plans("reload-stops-by-the-new-rules", ("service.next = spec", "service.spec = spec")),
    plans(
        "reload-leaves-the-fatal", ("return service.state is State.FATAL and freed", "return False")
    ),
    life(
        "reload-forgets-the-new-spec", ("service.next or service.spec, None", "service.spec, None")
    ),
    lists("removed-still-counts", ("if service.removed or service.next:", "if service.next:")),
    lists("pending-still-counts", ("if service.removed or service.next:", "if service.removed:")),
    lists("reload-forgets-the-last-run", ("self._lasts.pop(key, 0)", "0")),
    lists(
        "reload-forgets-the-new-order",
        ("self.graph = Graph(known)", "self.graph = self.graph or Graph(known)"),
    ),
    lives("reload-forgets-who-waits", ("for name in list(self._blocked):", "for name in ():")),
    lives(
        "reload-forgets-the-living",
        (
            "if self.services[step.id].at_rest:\n                    self._say",
            "if True:\n                    self._say",
        ),
    ),
    lives(
        "reload-never-forgets",
        ("if service.removed:\n            self._say", "if False:\n            self._say"),
    ),
    lives("reload-keeps-the-removed", ("self._tell(step.id, StopPlanned(), now)", "pass")),
    lives(
        "restart-is-lost-by-a-start",
        ("if not self.services[key].next:  # else it leaves to be restarted", "if True:"),
    ),
    lives("reload-lets-nobody-go", ("for name in self._departures.waiting():", "for name in ():")),
    notes("forgets-what-was-wanted", ('_ALWAYS = ("run", "wanted", ', '_ALWAYS = ("run", ')),
    notes("forgets-its-run", ('_ALWAYS = ("run", "wanted", ', '_ALWAYS = ("wanted", ')),
    notes("forgets-its-failures", ('"failures", "restarts", "since")', '"restarts", "since")')),
    notes("forgets-its-removal", ('"wanted", "removed", ', '"wanted", ')),
    notes("forgets-how-often-it-started", ("for at in accumulate(starts))", "for at in ())")),
    notes(
        "due-in-silence",
        ("        service.due,\n", ""),
        ("None if service.state is State.RUNNING else", "None if not service.patient else"),
    ),
    notes("born-in-silence", ("        service.born,\n", "")),
    notes("fails-in-silence", ("        service.failures,\n", "")),
    notes("kills-who-was-told", ("elif service.killed:", "elif True:")),
    notes("adopts-nobody", ("    return [Adopt(service.run)]\n", "    return []\n")),
    notes(
        "starts-what-lives",
        (
            "service.cause = Cause(service.cause)",
            "service.cause, service.state, service.due = Cause.ASKED, State.STOPPED, True",
        ),
    ),
    lives("starts-before-it-knows-the-plan", ("if not isinstance(event, Recalled):", "if True:")),
    lives(
        "is-born-in-silence",
        (
            "if memory.mark(service) != marked:",
            "if memory.mark(service) != marked and service.state is not State.STARTING:",
        ),
    ),
    lives(
        "notes-what-it-has-done",
        (
            "            self._out.append(Noted(key))\n        self._out",
            "            pass\n        self._out",
        ),
        (
            "if service.deadline != timed:",
            "self._out.append(Noted(key))\n        if service.deadline != timed:",
        ),
    ),
    lives(
        "reload-in-silence", ("if marks.get(key) != memory.mark(service):", "if key not in marks:")
    ),
    lives(
        "adds-in-silence",
        ("if marks.get(key) != memory", "if marks.get(key, memory.mark(service)) != memory"),
    ),
    lives(
        "forgets-who-was-to-leave",
        (
            "self._departures.add(service.spec.name, service.id)\n            elif",
            "pass\n            elif",
        ),
    ),
    lists("forgets-the-runs-of-the-forgotten", ('= noted.get("run", 0)', "= 0")),
)

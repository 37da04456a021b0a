"""Faults put into the core on purpose, to see that the simulated world notices.

Each mutant is the source of the core with a few words exchanged, compiled into modules of its own;
the real ones are left alone.
"""

from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from supervisor.core import health as real_health
from supervisor.core import service as real_service
from supervisor.core import supervisor as real_supervisor

from .schedule import Core

SOURCES = {
    "health": Path(real_health.__file__).read_text(encoding="utf-8"),
    "service": Path(real_service.__file__).read_text(encoding="utf-8"),
    "supervisor": Path(real_supervisor.__file__).read_text(encoding="utf-8"),
}


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
        if self.file == "supervisor":
            return Core(Supervisor=compiled("supervisor", source).Supervisor)
        if self.file == "health":
            service = compiled("service", SOURCES["service"])
            service.health = compiled("health", source)
        else:
            service = compiled("service", source)
        supervisor = compiled("supervisor", SOURCES["supervisor"])
        for name in ("AT_REST", "Service", "State", "decide"):
            setattr(supervisor, name, getattr(service, name))
        return Core(Supervisor=supervisor.Supervisor, State=service.State)


def compiled(name, source):
    """Return a module made of `source`, whose relative imports are those of the core."""
    module = ModuleType(f"supervisor.core.{name}")
    module.__package__ = "supervisor.core"
    exec(compile(source, f"mutant of {name}.py", "exec"), module.__dict__)
    return module


def life(name, *swaps):
    return Mutant(name, "service", swaps)


def pulse(name, *swaps):
    return Mutant(name, "health", swaps)


def lives(name, *swaps):
    return Mutant(name, "supervisor", swaps)


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
        ("ASKED:\n        service.due = True\n", "ASKED:\n"),
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
    pulse("flapping-is-a-good-life", ("well_since=None, failed=", "failed=")),
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
    lives(
        "one-replica-is-enough",
        ("[condition] == len(self.replicas[name])\n\n", "[condition] > 0\n\n"),
    ),
    lives("takes-a-pause-for-the-end", ("return vain or not service.wanted", "return True")),
    lives("waits-for-what-was-stopped", ("return vain or not service.wanted", "return vain")),
    lives("hopes-for-what-has-failed", ("return not _reaches(service)[", "return False and [")),
    lives("starts-those-beside-it", ("(name in needed and self", "(self")),
    lives("starts-without-what-it-needs", ("name in needed and self", "False and self")),
    lives(
        "forgets-who-waits",
        ("self._turn.update(self._blocked.pop(name, {}))", "self._blocked.pop(name, None)"),
    ),
    lives("ended-is-ready", ("completed and service.spec.ready is None", "completed")),
    lives("stop-in-wrong-order", ("if self._leaving[dependent]:", "if False:")),
    lives(
        "stop-order-of-neighbours-only",
        ("self.graph.above(name, self._clear)", "self.graph.dependents[name]"),
    ),
    lives("stop-holds-for-ever", ("for other in self._held.pop(name):", "for other in ():")),
    lives(
        "start-cancels-a-shutdown",
        ("case StartWanted(ids) if not self.shutdown:", "case StartWanted(ids):"),
    ),
    lives("shutdown-without-a-limit", ("True, now + self.shutdown_limit", "True, None")),
    lives("leaves-too-early", ("if self.shutdown and not self.busy:", "if self.shutdown:")),
    lives("leaves-twice", ("if not self._left:", "if True:")),
    lives("forgets-why-it-leaves", ("self.exit_code = 1", "self.exit_code = 0")),
    lives(
        "limit-after-leaving",
        ("if self._limit is not None:  # else", "if True:  # else"),
        ("min(self._limit, now +", "min(self._limit or now, now +"),
    ),
    lives("drops-a-renewed-deadline", ("if isinstance(event, DeadlineReached):", "if False:")),
    lives(
        "hears-outdated-deadlines",
        (
            "if self.services[key].deadline == when:\n                return",
            "if True:\n                return",
        ),
    ),
)

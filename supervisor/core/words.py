"""What became of a replica, in words for people: log lines and status say the same."""

from __future__ import annotations

import signal

from .service import Cause, Ended, Service, State
from .spec import Restart


def span(seconds: float) -> str:
    """Return a duration as a person says it: 0.25 s, 12 s, 3 min 5 s, 2 h 10 min, 4 d 3 h."""
    if seconds < 10:
        return f"{max(seconds, 0.0):.2g} s"
    whole = int(seconds)
    for unit, size, small, part in (
        ("d", 86400, "h", 3600),
        ("h", 3600, "min", 60),
        ("min", 60, "s", 1),
    ):
        if whole >= size:
            rest = whole % size // part
            return f"{whole // size} {unit}" + (f" {rest} {small}" if rest else "")
    return f"{whole} s"


def signal_name(code: int | None) -> str | None:
    """Return the name of the signal that an exit code stands for, if it does."""
    if code is None or code >= 0:
        return None
    try:
        return signal.Signals(-code).name
    except ValueError:  # a real-time signal has no name of its own
        return f"signal {-code}"


def exit_words(code: int | None) -> str:
    """Return how a process ended."""
    if code is None:
        return "ended, its exit code is not known"
    name = signal_name(code)
    return f"killed by {name}" if name else f"exited with {code}"


def ended_words(ended: Ended) -> str:
    """Return how a run ended, and why where the code does not say it."""
    if ended.code is None and ended.reason:
        return ended.reason
    text = f"{exit_words(ended.code)} after {span(ended.lived)}"
    return f"{ended.reason} ({text})" if ended.reason else text


def changed_words(service: Service, before: str, after: str, pid: int | None) -> str:
    """Return the line that tells of a new state; nothing where there is nothing to tell.

    By the time it is told, the service may be in a later state than `after`.
    """
    line = ""
    match State(after):
        case State.RUNNING:
            line = f"{service.id} {'is ready' if service.spec.ready else 'started'}"
            line += f" (pid {pid})" if pid else ""  # it may have ended already
        case State.STOPPING:
            line = f"{service.id} {_stopping(service)}"
        case State.BACKOFF:
            line = f"{_failed(service)}; next start {_soon(service)}"
        case State.EXITED:
            line = f"{service.id} {how(service)}: done"
        case State.FATAL:
            line = f"{_failed(service)}; {_given_up(service)}"
        case State.STOPPED if before == State.STOPPING:
            line = f"{service.id} stopped ({how(service)})"
    return line


def kill_words(service: Service) -> str:
    """Return the line that tells of a KILL."""
    if service.cause is Cause.ENDED:
        return f"{service.id}: killing what it left behind"
    return f"{service.id} {service.reason or 'is to end at once'}: killing it"


def how(service: Service) -> str:
    """Return how the latest run of a replica has ended."""
    return ended_words(service.last) if service.last else "never started"


def _stopping(service: Service) -> str:
    match service.cause:
        case Cause.OVERDUE:
            return f"was {service.reason}: stopping it"
        case Cause.UNHEALTHY:
            return f"is {service.reason}: stopping it"
        case Cause.ENDED:
            return f"{exit_words(service.code)} and left processes behind"
        case _:
            return "stopping"


def _failed(service: Service) -> str:
    last = service.last
    if last is not None and last.code is None and last.reason:
        return f"cannot start {service.id}: {last.reason}"
    return f"{service.id} {ended_words(last) if last else 'failed'}"


def _given_up(service: Service) -> str:
    """Return why it is not started again, and what follows for the others."""
    limit = service.spec.start_limit
    if limit is None or service.spec.restart is Restart.NEVER:
        return "not started again"
    times = "once" if limit.starts == 1 else f"{limit.starts} times"
    line = f"not started again: {times} within {span(limit.within)} is its limit"
    return f"{line}, and the end of keepd" if service.spec.ends_all else line


def _soon(service: Service) -> str:
    if service.state is not State.BACKOFF or service.deadline is None:
        return "at once"
    return f"in {span(service.deadline - service.since)}"

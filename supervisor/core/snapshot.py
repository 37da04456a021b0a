"""The answer to `status`: what the core believes, with what the shell knows of it, as plain data.

The object is stable (version 1): fields may be added, none is renamed or removed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any

from supervisor.records import record

from .roster import stays_away
from .service import Ended, Service, State
from .supervisor import Supervisor
from .words import ended_words, signal_name, span


@record(frozen=True)
class Clocks:
    """One instant on both clocks: durations are of `now`, dates of `wall`."""

    now: float  # seconds, CLOCK_MONOTONIC
    wall: float  # seconds since 1970


@record(frozen=True)
class Facts:
    """What only the shell knows of a replica."""

    pid: Callable[[str], int | None]
    note: Callable[[str], str]  # the latest word on why it is not ready, or said by itself


def services(
    supervisor: Supervisor, ids: Iterable[str], facts: Facts, clocks: Clocks
) -> dict[str, Any]:
    """Return the `services` part of the status object, for the replicas named."""
    found: dict[str, Any] = {}
    for key in ids:
        service = supervisor.services[key]
        name = service.spec.name
        if name not in found:
            found[name] = {"wanted": 0, "replicas": []}
        found[name]["wanted"] += service.wanted
        found[name]["replicas"].append(_replica(supervisor, service, facts, clocks))
    return found


def _replica(
    supervisor: Supervisor, service: Service, facts: Facts, clocks: Clocks
) -> dict[str, Any]:
    running = service.state is State.RUNNING
    live = service.born and not service.at_rest
    waiting = supervisor.waiting_for(service.id)
    return {
        "id": service.id,
        "state": service.state,
        "wanted": service.wanted,
        "ready": running,
        "healthy": running and not service.pulse.failed,
        "pid": facts.pid(service.id),
        "run": service.run,
        "restarts": service.restarts,
        "uptime": round(clocks.now - service.born_at, 3) if live else None,
        "last_exit": _last_exit(service.last, clocks),
        "next_start_in": _next_start(service, clocks.now),
        "waiting_for": waiting,
        "text": _text(service, _awaited(supervisor, service, waiting), facts, clocks.now),
    }


def _last_exit(last: Ended | None, clocks: Clocks) -> dict[str, Any] | None:
    if last is None:
        return None
    at = datetime.fromtimestamp(clocks.wall - (clocks.now - last.at), UTC)
    return {
        "code": last.code if last.code is not None and last.code >= 0 else None,
        "signal": signal_name(last.code),
        "text": ended_words(last),
        "at": at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
    }


def _next_start(service: Service, now: float) -> float | None:
    if service.state is not State.BACKOFF:
        return None
    return round(max((service.deadline or now) - now, 0.0), 3)


def _awaited(supervisor: Supervisor, service: Service, names: list[str]) -> list[str]:
    """Return in words what a replica waits for, and who does not come to it by itself."""
    found = []
    for name in names:
        condition = supervisor.graph.needs[service.spec.name][name]
        replicas = [supervisor.services[key] for key in supervisor.replicas[name]]
        away = next((one for one in replicas if stays_away(one, condition)), None)
        found.append(f"{name}: {condition}" + (f" ({away.id} is {away.state})" if away else ""))
    return found


def _text(service: Service, waiting: list[str], facts: Facts, now: float) -> str:
    """Return what a person wants to know of the replica beside its state."""
    if waiting or service.removed:
        return f"waits for {', '.join(waiting)}" if waiting else "removed from the list"
    last = service.last
    how = f"{ended_words(last)}, {span(now - last.at)} ago" if last else ""
    match service.state:
        case State.STARTING | State.RUNNING:
            said = _ailing(service) or facts.note(service.id)
            return said or (f"last: {how}" if how and service.restarts else "")
        case State.STOPPING:
            left = (service.deadline or now) - now
            return f"killed in {span(left)}" if left > 0 else ""
        case State.BACKOFF:
            return f"{how}; next start in {span(_next_start(service, now) or 0.0)}"
        case State.STOPPED if service.due:
            return "waits for its turn"
        case _:
            return how


def _ailing(service: Service) -> str:
    """Return what its checks say against it, and how much is left until it is restarted."""
    pulse, checked = service.pulse, service.spec.health
    if service.state is not State.RUNNING or not pulse.failed or checked is None:
        return ""
    return f"not healthy: {pulse.why} ({pulse.failed} of {checked.failures})"

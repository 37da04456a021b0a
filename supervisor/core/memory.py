"""What is remembered of a replica beyond the death of a master, and how a life goes on from it.

A note is plain data, and holds all that decides what happens next: state and run, what is wanted,
the pace of its failures. Its times are of the one clock, which the kernel keeps while we do not.
Not in it are the specs, which are in the plan, and what is asked of the world again: its health.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from . import health
from .events import Action, Adopt, Kill, Terminate
from .spec import ServiceSpec
from .states import AT_REST, Cause, Ended, Service, State

_STARTS = 16  # of the latest starts, that a start limit counts, so many are noted
_WORDS = 100  # characters of a reason
_PLAIN = (
    *("run", "wanted", "due", "born", "born_at", "failures", "restarts", "since", "deadline"),
    *("patient", "exited", "code"),
)
_FRESH = Service("", ServiceSpec(name="", command=()))
_DEFAULTS = tuple((name, getattr(_FRESH, name)) for name in _PLAIN)


def mark(service: Service) -> tuple[object, ...]:
    """Return what a new note is made for when it changes."""
    return (
        service.state,
        service.wanted,
        service.due,
        service.born,
        service.failures,
        service.exited,
        service.cause,
        None if service.state is State.RUNNING else service.deadline,
    )


def note(service: Service) -> dict[str, Any]:
    """Return what is to be remembered, as JSON takes it; what is as in the beginning is left out.

    At most some 500 bytes: of reasons and starts only the latest.
    """
    found: dict[str, Any] = {"state": service.state.value, "cause": service.cause.value}
    for name, default in _DEFAULTS:
        value = getattr(service, name)
        if value != default:
            found[name] = round(value, 4) if type(value) is float else value
    if service.starts:
        found["starts"] = [round(at, 3) for at in service.starts[-_STARTS:]]
    if service.reason:
        found["reason"] = service.reason[:_WORDS]
    if service.last:
        last = service.last
        found["last"] = [last.code, last.reason[:_WORDS], round(last.at, 3), round(last.lived, 3)]
    return found


def recall(service: Service, noted: Mapping[str, Any], now: float) -> list[Action]:
    """Let a fresh replica be what was noted of it, and return what is to be done to go on."""
    for name in _PLAIN:
        if name in noted:
            setattr(service, name, noted[name])
    service.state, service.cause = State(noted["state"]), Cause(noted["cause"])
    service.starts = tuple(noted.get("starts", ()))
    service.reason = noted.get("reason", "")
    service.last = Ended(*noted["last"]) if "last" in noted else None
    if service.state in AT_REST:
        return []
    if service.state is State.STARTING:  # while nobody listened it could not tell
        after = service.spec.ready.after if service.spec.ready else None
        service.deadline = now + service.spec.start_timeout
        if service.born and after is not None:
            service.deadline = service.born_at + after
    elif service.state is State.RUNNING:
        service.pulse = health.begin(service.spec, now)
        service.deadline = health.next_look(service.spec, service.pulse, service.failures)
    elif service.exited or service.patient:
        return [Adopt(service.run), Terminate(service.run)]
    else:
        return [Adopt(service.run), Kill(service.run)]
    return [Adopt(service.run)]

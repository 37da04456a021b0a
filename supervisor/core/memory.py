"""What is remembered of a replica beyond the death of a master, and how a life goes on from it.

A note is plain data, and holds all that decides what happens next: state and run, what is wanted,
the pace of its failures. Its times are of the one clock, which the kernel keeps while we do not.
Not in it are the specs, which are in the plan, and what is asked of the world again: its health.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import accumulate, pairwise
from typing import Any

from . import health
from .events import Action, Adopt, Kill, Terminate
from .spec import ServiceSpec
from .states import AT_REST, Cause, Ended, Service, State

SIZE = 500  # bytes, at most, that a note takes as JSON together with the id of its replica
_STARTS = 16  # of the latest starts, that a start limit counts, at most so many are noted
_ALWAYS = ("run", "wanted", "removed", "failures", "restarts", "since")
_RESTING = (*_ALWAYS, "due", "deadline")
_BEARING = (*_ALWAYS, "cause", "born", "born_at", "deadline")
_STOPPING = (*_BEARING, "patient", "killed", "exited", "code")
_NAMES = dict.fromkeys(AT_REST, _RESTING) | {
    State.STARTING: _BEARING,
    State.RUNNING: (*_ALWAYS, "cause", "born", "born_at"),
    State.STOPPING: _STOPPING,
}
_NUMBERS = (int, float)
_LAST = ((int, type(None)), (str,), _NUMBERS, _NUMBERS)  # the kinds of what makes an Ended
_FRESH = Service("", ServiceSpec(name="", command=()))
_DEFAULTS = {name: getattr(_FRESH, name) for name in (*_STOPPING, *_RESTING)}


def mark(service: Service) -> tuple[object, ...]:
    """Return what a new note is made for when it changes."""
    return (
        service.state,
        service.wanted,
        service.removed,
        service.due,
        service.born,
        service.failures,
        service.starts,
        service.patient,
        service.killed,
        service.exited,
        service.cause,
        None if service.state is State.RUNNING else service.deadline,
    )


def note(service: Service) -> dict[str, Any]:
    """Return what is to be remembered, as JSON takes it; what is as in the beginning is left out.

    Reasons are cut, and the oldest starts left out, where it would be longer than SIZE.
    """
    found: dict[str, Any] = {"state": service.state.value}
    for name in _NAMES[service.state]:
        value = getattr(service, name)
        if value != _DEFAULTS[name]:
            found[name] = round(value, 6) if type(value) is float else value
    if "cause" in found:
        found["cause"] = service.cause.value
    last = service.last
    if last:
        found["last"] = [last.code, "", round(last.at, 3), round(last.lived, 6)]
    if service.starts:
        found["starts"] = _gaps(service.starts, _room(service, found, "starts"))
    room = _room(service, found, "reason")  # repr is as long as JSON is, but for words
    if service.state is State.STOPPING and (words := cut(service.reason, room)):
        found["reason"] = words
        room -= sum(map(_width, words))
    if last:
        found["last"][1] = cut(last.reason, room)
    return found


def forgotten(run: int) -> dict[str, Any]:
    """Return the note on a replica that is forgotten: should it come again, it counts on."""
    return {"run": run, "removed": True}


def is_sound(noted: Mapping[str, Any]) -> bool:
    """Return whether this may be a note of ours: it comes from a file, and is mere data."""
    others = {"state": "STOPPED", "starts": [], "reason": "", "last": [None, "", 0.0, 0.0]}
    whole = {**_DEFAULTS, **others, **noted}
    starts, last = whole["starts"], whole["last"]
    return (
        whole.keys() == {*_DEFAULTS, *others}
        and all(_is_like(whole[name], default) for name, default in _DEFAULTS.items())
        and whole["state"] in list(State)
        and isinstance(starts, list)
        and all(type(start) is int for start in starts)
        and isinstance(whole["reason"], str)
        and isinstance(last, list)
        and [type(each) in kinds for each, kinds in zip(last, _LAST, strict=False)] == [True] * 4
    )


def _is_like(value: object, default: object) -> bool:
    """Return whether a value is of the kind that its default is of."""
    if isinstance(default, Cause):
        return value in list(Cause)
    if default is None:  # a deadline, an exit code
        return value is None or type(value) in _NUMBERS
    if isinstance(default, float):
        return type(value) in _NUMBERS
    return type(value) is type(default) and (type(value) is bool or str(value).isdecimal())


def recall(service: Service, noted: Mapping[str, Any], now: float) -> list[Action]:
    """Let a fresh replica be what was noted of it, and return what is to be done to go on."""
    for name in _DEFAULTS:
        if name in noted:
            setattr(service, name, noted[name])
    service.state = State(noted.get("state", State.STOPPED))
    service.cause = Cause(service.cause)
    starts = noted.get("starts", ())
    service.starts = tuple(at / 1000 for at in accumulate(starts))
    service.reason = noted.get("reason", "")
    service.last = Ended(*noted["last"]) if "last" in noted else None
    return [] if service.state in AT_REST else _resume(service, now)


def _resume(service: Service, now: float) -> list[Action]:
    """Return what is to be done for a run that was there."""
    if service.state is State.STARTING:  # while nobody listened it could not tell
        after = service.spec.ready.after if service.spec.ready else None
        service.deadline = max(service.deadline or now, now + service.spec.start_timeout)
        if service.born and after is not None:
            service.deadline = service.born_at + after
    elif service.state is State.RUNNING:
        service.pulse = health.begin(service.spec, now)
        service.deadline = health.next_look(service.spec, service.pulse, service.failures)
    elif service.killed:
        return [Adopt(service.run), Kill(service.run)]
    else:
        return [Adopt(service.run), Terminate(service.run)]
    return [Adopt(service.run)]


def _room(service: Service, found: Mapping[str, Any], name: str) -> int:
    """Return how many bytes are left for the words or numbers of one more entry."""
    return SIZE - len(repr([service.id, found])) - len(f', "{name}": ""')


def _width(letter: str) -> int:
    """Return how many bytes a letter takes in JSON, at most."""
    if " " <= letter <= "~":
        return 2 if letter in '"\\' else 1
    return 12 if letter > "\uffff" else 6


def cut(words: str, room: int) -> str:
    """Return as many of the first letters as there is room for."""
    for place, taken in enumerate(accumulate(map(_width, words))):
        if taken > room:
            return words[:place]
    return words


def _gaps(starts: tuple[float, ...], room: int) -> list[int]:
    """Return the latest starts, in milliseconds: the first, and how much later the others came."""
    times = [round(at * 1000) for at in starts[-_STARTS:]]
    while len(found := [*times[:1], *(later - at for at, later in pairwise(times))]) > 1:
        if len(repr(found)) <= room + 2:
            break
        del times[0]
    return found

"""What another list of services would change: a pure comparison, replica by replica.

`reload` does what is planned here, and `plan` shows it: there is one answer to what is touched and
why. What is equal is not touched. A field is marked `live` where it is listed (spec.py) if a
change of it does nothing to a process that runs: such a change alone restarts nothing. Those
marked `early` have done their work when the list is read, and are not compared at all.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from supervisor.records import Field, field, fields, is_record, record

from .service import Service, State
from .spec import Restart, ServiceSpec

_UNTYPED = ("args", "kwargs")  # what YAML has: 1 and true are equal, and not the same

Specs = Mapping[str, Sequence[ServiceSpec]]  # of each service one per replica


class Act(enum.StrEnum):
    """What becomes of a replica."""

    START = "start"  # it is new, or its new spec is a reason to try again
    STOP = "stop"  # it is not in the list any more: stopped, and forgotten
    RESTART = "restart"  # its process cannot take over what has changed
    KEEP = "keep"  # what has changed is taken over as it is, or waits for its next start


@record(frozen=True)
class Change:
    """One field that differs; the values are data of the list, and may be secrets."""

    name: str  # "command", "stop.timeout", "env.PORT"
    live: bool  # it needs no restart
    before: Any
    after: Any


@record(frozen=True)
class Step:
    """What becomes of one replica, and why."""

    id: str
    act: Act
    why: str  # in words: "added", "command, env.PORT"
    changes: tuple[Change, ...] = field(default=())


def steps(services: Mapping[str, Service], specs: Specs) -> list[Step]:
    """Return what `specs` change, in their order; what is to be stopped comes last."""
    found: list[Step] = []
    cache: dict[tuple[int, int], tuple[Change, ...]] = {}
    planned = set()
    for name, replicas in specs.items():
        for number, spec in enumerate(replicas):
            key = f"{name}/{number}"
            planned.add(key)
            service = services.get(key)
            if service is None or service.removed:
                found.append(_added(key, services))
                continue
            pair = (id(meant(service)), id(spec))  # replicas share their specs
            if pair not in cache:
                cache[pair] = tuple(differences(meant(service), spec))
            if cache[pair]:
                found.append(_changed(service, spec, cache[pair]))
    gone = (key for key, service in services.items() if key not in planned and not service.removed)
    return [*found, *(Step(key, Act.STOP, "removed") for key in gone)]


def meant(service: Service) -> ServiceSpec:
    """Return the spec of the plan in force, which may be that of the next run."""
    return service.next or service.spec


def removed(services: Mapping[str, Service], specs: Specs) -> tuple[list[str], int]:
    """Return the names of the services that `specs` do without, and how many there are now."""
    names = dict.fromkeys(s.spec.name for s in services.values() if not s.removed)
    return [name for name in names if name not in specs], len(names)


def differences(before: ServiceSpec, after: ServiceSpec) -> Iterator[Change]:
    """Yield what differs, part by part."""
    if before is not after:
        yield from _compared(before, after, "", live=False)


def needs_restart(changes: Sequence[Change]) -> bool:
    """Return whether a process that runs cannot take all of them over."""
    return not all(change.live for change in changes)


def hand_over(service: Service, spec: ServiceSpec) -> None:
    """Give a replica another spec: now, or with its next run where this one needs its own."""
    present = not service.at_rest
    if present and (service.next or needs_restart(tuple(differences(service.spec, spec)))):
        service.next = spec
    else:
        service.spec = spec


def _added(key: str, services: Mapping[str, Service]) -> Step:
    name, _, _ = key.rpartition("/")
    others = [s for s in services.values() if s.spec.name == name and not s.removed]
    if others and not any(other.wanted for other in others):
        return Step(key, Act.KEEP, f"added; {name} is stopped")
    return Step(key, Act.START, "added")


def _changed(service: Service, spec: ServiceSpec, changes: tuple[Change, ...]) -> Step:
    why = ", ".join(change.name for change in changes)
    restarts, act = needs_restart(changes), Act.KEEP
    if not service.wanted:
        why += "; it is stopped"
    elif not service.at_rest:
        act = Act.RESTART if restarts else Act.KEEP
    elif (restarts and not service.due) or _reopens(service, spec):
        act = Act.START
    return Step(service.id, act, why, changes)


def _reopens(service: Service, spec: ServiceSpec) -> bool:
    """Return whether who rests for good would not rest under the new spec."""
    before = service.spec
    if service.state is State.EXITED:
        return spec.restart is Restart.ALWAYS
    never = before.restart is Restart.NEVER
    freed = (never and spec.restart is not Restart.NEVER) or before.start_limit != spec.start_limit
    return service.state is State.FATAL and freed


def _compared(before: Any, after: Any, prefix: str, *, live: bool) -> Iterator[Change]:  # noqa: ANN401 - records
    each: Field[Any]
    for each in fields(before):
        old, new = getattr(before, each.name), getattr(after, each.name)
        if old is new or (old == new and (each.name not in _UNTYPED or _same(old, new))):
            continue
        if each.metadata.get("early"):
            continue
        name, lives = prefix + each.name, live or bool(each.metadata.get("live"))
        if is_record(old) and is_record(new):
            yield from _compared(old, new, f"{name}.", live=lives)
        elif isinstance(old, Mapping) and isinstance(new, Mapping):
            for key in sorted({*old, *new}):
                if key not in old or key not in new or not _same(old[key], new[key]):
                    yield Change(f"{name}.{key}", lives, old.get(key), new.get(key))
        else:
            yield Change(name, lives, old, new)


def _same(old: Any, new: Any) -> bool:  # noqa: ANN401 - whatever a list may hold
    """Return whether two values are equal and of one type, all the way down: 1 is not true."""
    match old, new:
        case (Mapping(), Mapping()):
            same_keys = old.keys() == new.keys()
            return same_keys and all(_same(value, new[key]) for key, value in old.items())
        case ((list() | tuple()), (list() | tuple())):
            return len(old) == len(new) and all(map(_same, old, new))
        case _:
            return type(old) is type(new) and bool(old == new)

"""From the services as files list them to drafts that keep all rules, each alone and together."""

from __future__ import annotations

import graphlib
from collections.abc import Mapping as Dict
from typing import Any, Final

from supervisor.core.spec import Condition, Restart, ServiceSpec

from . import forms, names
from .faults import Faults
from .files import Listed
from .nodes import Mapping, Scalar
from .rules import Draft, Rules
from .schema import Schema, joined

MOST_REPLICAS: Final = 100_000  # of one project
_MOST_CYCLES: Final = 20
_MOST_NAMES: Final = 20  # of a circle that is told


def drafted(listed: Dict[str, Listed], faults: Faults) -> dict[str, Draft]:
    """Return a draft of every service, also of those with faults."""
    schema = Schema(faults)
    drafts = {name: _draft(name, service, schema, faults) for name, service in listed.items()}
    for draft in drafts.values():
        _dependencies(draft, drafts, faults)
    _cycles(drafts, faults)
    total = sum(draft.spec.replicas for draft in drafts.values())
    if total > MOST_REPLICAS:
        at = max(drafts.values(), key=lambda draft: draft.spec.replicas)
        what = f"{total:,} replicas in all; one project has at most {MOST_REPLICAS:,}"
        faults.add(at.mark("replicas"), joined(at.key, "replicas"), what)
    return drafts


def _draft(name: str, service: Listed, schema: Schema, faults: Faults) -> Draft:
    """Read one service; a fault in a field leaves that field at its default."""
    key = joined("services", name)
    at = service.entry.key.at
    fault = names.name_fault(name)
    if fault:
        faults.add(at, key, *fault)
    elif names.reserved(name):
        faults.add(at, key, f"the name {name} is reserved for keepd itself")
    value = service.entry.value
    own = forms.normalized(schema.mapping(value, key))
    node = forms.applied(service.defaults, own)
    values: dict[str, Any] = schema.fields(node, ServiceSpec, key)
    draft = Draft(name, key, at, node, ServiceSpec(name=name))
    if not (isinstance(value, Mapping) or (isinstance(value, Scalar) and value.null)):
        return draft  # told already: there are no keys to keep any rule
    return Rules(draft, own, faults).kept(values)


def _dependencies(draft: Draft, drafts: Dict[str, Draft], faults: Faults) -> None:
    """Tell of dependencies that can never be met."""
    key = joined(draft.key, "depends_on")
    for name, condition in draft.spec.depends_on.items():
        at = getattr(name, "mark", draft.at)
        if name not in drafts:
            others = [other for other in drafts if other != draft.name]
            faults.add(at, joined(key, name), "there is no such service", faults.like(name, others))
        elif condition is Condition.COMPLETED and drafts[name].spec.restart is Restart.ALWAYS:
            what = f"'{name}' never completes: it has restart: always"
            advice = f"give '{name}' restart: on-failure or never"
            faults.add(at, joined(key, name), what, advice)


def _cycles(drafts: Dict[str, Draft], faults: Faults) -> None:
    """Tell of services that wait for each other, each circle by its path."""
    graph = {
        name: [other for other in draft.spec.depends_on if other in drafts]
        for name, draft in drafts.items()
    }
    order = {name: number for number, name in enumerate(drafts)}
    for _ in range(_MOST_CYCLES):
        try:
            graphlib.TopologicalSorter(graph).prepare()
        except graphlib.CycleError as error:
            circle: list[str] = error.args[1][:0:-1]  # each needs the next
            first = min(range(len(circle)), key=lambda number: order[circle[number]])
            circle = circle[first:] + circle[:first]
            _tell_circle(circle, drafts[circle[0]], faults)
            graph[circle[-1]].remove(circle[0])  # and look for others
        else:
            return


def _tell_circle(circle: list[str], draft: Draft, faults: Faults) -> None:
    """Tell of one circle, at the place where its first service names the next."""
    after = circle[1] if len(circle) > 1 else circle[0]
    at = next(name for name in draft.spec.depends_on if name == after)
    path = [*circle, circle[0]]
    if len(path) > _MOST_NAMES:
        path = [*path[: _MOST_NAMES - 2], "...", *path[-2:]]
    what = "services wait for each other" if len(circle) > 1 else "it waits for itself"
    key = joined(draft.key, "depends_on")
    faults.add(getattr(at, "mark", draft.at), key, f"{what}: {' -> '.join(path)}")

"""From one master to the next: what an earlier one had, as the core and the world need it.

The specs that runs were born with are those of the plan in force, or of one before it where a
reload was cut short; the ordinary comparison of plans then replaces what is to be replaced.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping
from typing import Any

from supervisor.config import plan as plans
from supervisor.core.plan import Specs
from supervisor.core.service import Service
from supervisor.core.spec import ServiceSpec
from supervisor.launch import earlier, mark
from supervisor.records import replace
from supervisor.runfiles import Past, RunFile

_UNKNOWN = ("a command of an earlier plan",)


def read_plan(run_dir: str) -> tuple[plans.Plan, str]:
    """Return the plan in force and its mark; OSError, ValueError."""
    return _read(f"{run_dir}/applied.json")


def _read(path: str) -> tuple[plans.Plan, str]:
    with open(path, "rb") as file:
        text = file.read()
    return plans.decode(text), mark(text)


def specs_of(past: Past, plan: plans.Plan, plan_mark: str, run_dir: str) -> Specs:
    """Return the specs that the noted replicas were born with; none for others."""
    by_service: dict[str, dict[int, Mapping[str, Any]]] = {}
    for key, noted in past.notes.items():
        if "state" not in noted:  # it is forgotten
            continue
        name, _, number = key.rpartition("/")
        by_service.setdefault(name, {})[int(number)] = noted
    if not past.begun:  # nobody has wanted all of the others yet
        for name, specs in plan.services.items():
            known = by_service.setdefault(name, {})
            known.update({number: {} for number in range(len(specs)) if number not in known})
    find = _finder(plan, plan_mark, run_dir)
    order = [*(n for n in plan.services if n in by_service), *by_service.keys() - plan.services]
    return {
        name: [
            find(name, n, by_service[name].get(n) or None) for n in range(max(by_service[name]) + 1)
        ]
        for name in order
    }


def _finder(
    plan: plans.Plan, plan_mark: str, run_dir: str
) -> Callable[[str, int, Mapping[str, Any] | None], ServiceSpec]:
    known = {plan_mark: plan}
    for path in earlier(run_dir):
        with contextlib.suppress(OSError, ValueError):  # it is no use
            before, before_mark = _read(path)
            known[before_mark] = before

    def find(name: str, number: int, noted: Mapping[str, Any] | None) -> ServiceSpec:
        born_by = known.get(plan_mark if not noted else noted.get("plan", ""))
        specs = born_by.services.get(name, ()) if born_by else ()
        if number < len(specs):
            return specs[number]
        like = plan.services.get(name, ()) or (ServiceSpec(name=name, command=()),)
        return replace(like[0], command=_UNKNOWN, python=None)

    return find


class Notes:
    """Writes down what the core wants noted; what cannot be noted is not born."""

    def __init__(self, file: RunFile, services: Mapping[str, Service]) -> None:
        self._file = file
        self._services = services
        self._failed: dict[str, str] = {}  # id: why
        self._noted: set[str] = set()  # by this master, under the plan in force

    def note(self, key: str) -> None:
        """Note a replica as it is."""
        service = self._services.get(key)
        if service is None:
            return
        self._noted.add(key)
        try:
            self._file.note(service)
            self._failed.pop(key, None)
        except OSError as error:
            self._failed[key] = error.strerror or str(error)

    def obstacle(self, key: str) -> str:
        """Return why a birth must not be; nothing if it may."""
        if key in self._failed:
            self.note(key)
        if key in self._failed:
            return f"its birth cannot be noted: {self._failed[key]}"
        return ""

    def everyone(self) -> None:
        """Note all of them: another plan is in force."""
        self._noted.clear()
        self.rest()

    def rest(self) -> None:
        """Note those of whom this master has noted nothing yet."""
        for key in self._services:
            if key not in self._noted:
                self.note(key)

    def forget(self, key: str) -> None:
        """Let go of a replica that will not be seen again."""
        self._failed.pop(key, None)
        self._noted.discard(key)
        with contextlib.suppress(OSError):
            self._file.forget(key)


def plan_mark(run_dir: str) -> str:
    """Return the mark of the plan in force; OSError."""
    with open(os.path.join(run_dir, "applied.json"), "rb") as file:
        return mark(file.read())

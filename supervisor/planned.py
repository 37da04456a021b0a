"""What a reload changes, or would: judged as a whole, and in words for people and for programs.

Values of environments and arguments are never told: they may be secrets.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from supervisor.config.plan import Plan
from supervisor.core.plan import Act, Change, Step, removed, steps
from supervisor.core.service import Service
from supervisor.records import fields, is_record, record

MOST_LINES = 50  # of one reload, in keepd's own log
MOST_STEPS = 5_000  # in one answer
_SECRET = ("env.", "args", "kwargs")
_FIXED = {"name": "name", "run_dir": "runtime_dir", "log_dir": "log_dir"}
_TOLD = {Act.START: "starts", Act.STOP: "stops", Act.RESTART: "restarts", Act.KEEP: "goes on"}


@record(frozen=True)
class Outline:
    """The difference between two plans."""

    config: str
    steps: list[Step]
    unchanged: int  # replicas
    gone: list[str]  # names of services
    most_go: str  # why it needs a second thought, or nothing
    moved: str  # why it cannot be at all, or nothing

    def count(self, act: Act) -> int:
        """Return to how many replicas this happens."""
        return sum(step.act is act for step in self.steps)

    def log_lines(self) -> Iterator[str]:
        """Yield what keepd's own log says of it."""
        counts = [f"{self.count(act)} {word}" for act, word in _WORDS.items() if self.count(act)]
        yield f"reload: {', '.join(counts) or 'nothing has changed'}, {self.unchanged} untouched"
        for step in self.steps[:MOST_LINES]:
            yield f"reload: {step.id} {_TOLD[step.act]} ({step.why})"
        if len(self.steps) > MOST_LINES:
            yield f"reload: and {len(self.steps) - MOST_LINES} more"

    def as_json(self, *, dry: bool) -> dict[str, Any]:
        """Return it as plain data."""
        return {
            "dry_run": dry,
            "config": self.config,
            "counts": {act.value: self.count(act) for act in Act} | {"untouched": self.unchanged},
            "removed": self.gone,
            "needs_yes": bool(self.most_go),
            "steps": [_as_json(step) for step in self.steps[:MOST_STEPS]],
        }


_WORDS = {
    Act.START: "to start",
    Act.RESTART: "to restart",
    Act.KEEP: "changed without a restart",
    Act.STOP: "to stop",
}


def outline(services: Mapping[str, Service], before: Plan, after: Plan) -> Outline:
    """Return what has to happen for `after`, and what speaks against it."""
    found = steps(services, after.services)
    gone, there = removed(services, after.services)
    known = sum(1 for service in services.values() if not service.removed)
    touched = sum(step.why != "added" and not step.why.startswith("added;") for step in found)
    moved = [
        f"{key} is {old!r}, and would be {new!r}"
        for name, key in _FIXED.items()
        if (old := getattr(before, name)) != (new := getattr(after, name))
    ]
    why = "; only `keepd down` and `keepd up` can change that" if moved else ""
    most = f"it removes {len(gone)} of {there} services" if len(gone) > max(1, there / 2) else ""
    return Outline(
        config=after.config,
        steps=found,
        unchanged=known - touched,
        gone=gone,
        most_go=most,
        moved=", ".join(moved) + why,
    )


def _as_json(step: Step) -> dict[str, Any]:
    changes = [_change(change) for change in step.changes]
    return {"id": step.id, "act": step.act.value, "why": step.why, "changes": changes}


def _change(change: Change) -> dict[str, Any]:
    told = {"field": change.name, "needs_restart": not change.live}
    if change.name.startswith(_SECRET):
        return told
    return told | {"before": _plain(change.before), "after": _plain(change.after)}


def _plain(value: Any) -> Any:  # noqa: ANN401 - what JSON takes
    if not is_record(value):
        return value
    return {each.name: getattr(value, each.name) for each in fields(value)}

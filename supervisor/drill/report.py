"""What came of it: figures, the promises that were broken, and both in words."""

from __future__ import annotations

import statistics

from supervisor.records import asdict, field, record

from .lines import Lines

TYPE_CHECKING = False  # see control/client.py
if TYPE_CHECKING:
    from typing import Any

_SHOWN = 10  # lines of one sort


@record()
class Fault:
    """One blow, and how long it took until everything was as before."""

    kind: str
    name: str
    how: str  # kill or stop
    at: float
    since: float  # recovery is counted from here: the blow, or the end of the stop
    back: float | None = None  # seconds; None: not yet
    run: int = 0  # of a replica, when it was hit


@record()
class Outcome:
    """All that was seen."""

    seed: int
    seconds: float = 0.0
    interrupted: bool = False
    spared: dict[str, str] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    asked: int = 0
    not_asked: list[str] = field(default_factory=list)
    doubles: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)  # who did not come back in time
    lines: Lines | None = None
    before: dict[str, int] = field(default_factory=dict)
    after: dict[str, int] = field(default_factory=dict)


def broken(outcome: Outcome) -> list[str]:
    """Return the promises that were broken, each in a line; none is what one hopes for."""
    found = [*outcome.doubles, *outcome.not_asked]
    found += [f"{name} was not back in time" for name in outcome.missing]
    for what in ("lost", "doubled", "torn"):
        count = getattr(outcome.lines, what) if outcome.lines else 0
        if count:
            found.append(f"{count} lines of the witnesses were {what}")
    return found


def as_data(outcome: Outcome) -> dict[str, Any]:
    """Return it as plain data."""
    return {
        "version": 1,
        "seed": outcome.seed,
        "seconds": round(outcome.seconds, 3),
        "interrupted": outcome.interrupted,
        "spared": outcome.spared,
        "faults": _by_kind(outcome.faults),
        "restarts": {"asked": outcome.asked, "not_asked": outcome.not_asked},
        "doubles": outcome.doubles,
        "missing": outcome.missing,
        "lines": asdict(outcome.lines) if outcome.lines else None,
        "before": outcome.before,
        "after": outcome.after,
        "broken": broken(outcome),
    }


def _by_kind(faults: list[Fault]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for kind in dict.fromkeys(fault.kind for fault in faults):
        ours = [fault for fault in faults if fault.kind == kind]
        times = [fault.back for fault in ours if fault.back is not None]
        found[kind] = {
            "killed": sum(fault.how == "kill" for fault in ours),
            "stopped": sum(fault.how == "stop" for fault in ours),
            "median": round(statistics.median(times), 4) if times else None,
            "longest": round(max(times), 4) if times else None,
        }
    return found


def table(outcome: Outcome) -> list[str]:
    """Return it as people read it."""
    lines = [f"{'':12} {'KILLED':>6} {'STOPPED':>7}  BACK AFTER (MEDIAN, LONGEST)"]
    for kind, one in _by_kind(outcome.faults).items():
        back = "-" if one["median"] is None else f"{_ms(one['median'])}, {_ms(one['longest'])}"
        lines.append(f"{kind:12} {one['killed']:6} {one['stopped']:7}  {back}")
    lines.append("")
    asked, others = outcome.asked, len(outcome.not_asked)
    lines.append(f"restarts of services: {asked} asked for by a hit, {others} not asked for")
    lines.append(f"doubles seen: {len(outcome.doubles)}")
    if outcome.lines is not None:
        seen = outcome.lines
        lines.append(
            f"lines of the witnesses: {seen.written} written, {seen.lost} lost, "
            f"{seen.doubled} doubled, {seen.torn} torn"
        )
    if outcome.before and outcome.after:
        lines.append(_grown(outcome.before, outcome.after))
    return [*lines, *_verdict(outcome)]


def _grown(before: dict[str, int], after: dict[str, int]) -> str:
    mib = 1 << 20
    return (
        f"keepd itself, before and after: {before['processes']} and {after['processes']} processes,"
        f" {before['descriptors']} and {after['descriptors']} descriptors,"
        f" {before['memory'] / mib:.1f} and {after['memory'] / mib:.1f} MiB"
    )


def _verdict(outcome: Outcome) -> list[str]:
    found = broken(outcome)
    if not outcome.faults:
        return ["nobody was hit"]
    if outcome.interrupted and not found:
        return ["interrupted: what was seen until then broke no promise"]
    if not found:
        return ["every promise was kept"]
    more = [f"  and {len(found) - _SHOWN} more"] if len(found) > _SHOWN else []
    return ["broken:", *(f"  {line}" for line in found[:_SHOWN]), *more]


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"

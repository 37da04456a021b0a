"""What is known of the health of a run: the checks that it has passed, and has not; heartbeats.

A run is ill when so many checks in a row have failed as its spec says, when its heartbeat is
missing, or when it says so itself. It has a good life, which makes its earlier failures forgotten,
only while nothing speaks against it: from when it is ready where nobody checks, else from the first
check that it has passed.
"""

from __future__ import annotations

from supervisor.records import record, replace

from .events import Ailed, Beat, CheckFailed, CheckPassed, Sign
from .spec import ServiceSpec

LATE = 1.0  # seconds; a heartbeat missed by more than that was missed by us: we were not there


@record(frozen=True)
class Pulse:
    """The health of one run since it became ready."""

    well_since: float | None = None  # None: not known yet, or not well
    failed: int = 0  # checks, in a row
    why: str = ""  # the latest of them has failed, in words
    beat_by: float | None = None  # when it is late with its heartbeat
    complaint: str = ""  # its own words on why it cannot go on


def begin(spec: ServiceSpec, now: float) -> Pulse:
    """Return the pulse of a run that has just become ready."""
    beat_by = None if spec.watchdog is None else now + spec.watchdog
    return Pulse(None if spec.health else now, beat_by=beat_by)


def resume(spec: ServiceSpec, pulse: Pulse, since: float) -> Pulse:
    """Return the pulse of a run that is found alive, and became ready before we were there."""
    checked = spec.health is not None or spec.watchdog is not None  # and by nobody meanwhile
    return pulse if checked else replace(pulse, well_since=since)


def heard(spec: ServiceSpec, pulse: Pulse, sign: Sign, now: float) -> Pulse:
    """Return the pulse after a sign of health, or of the lack of it."""
    match sign:
        case CheckPassed():
            since = now if pulse.well_since is None else pulse.well_since
            return replace(pulse, well_since=since, failed=0, why="")
        case CheckFailed(_, why):
            return replace(pulse, well_since=None, failed=pulse.failed + 1, why=why)
        case Beat() if spec.watchdog is not None:
            return patient(pulse, now + spec.watchdog)
        case Ailed(_, why):
            return replace(pulse, complaint=why)
    return pulse


def patient(pulse: Pulse, until: float) -> Pulse:
    """Return the pulse of a run whose next heartbeat is due later; never earlier."""
    return pulse if pulse.beat_by is None else replace(pulse, beat_by=max(pulse.beat_by, until))


def looked_at(spec: ServiceSpec, pulse: Pulse, now: float) -> Pulse:
    """Return the pulse at a deadline; much too late it was us who stood still."""
    if spec.watchdog is None or pulse.beat_by is None or now - pulse.beat_by <= LATE:
        return pulse
    return patient(pulse, now + spec.watchdog)


def illness(spec: ServiceSpec, pulse: Pulse, now: float) -> str:
    """Return why the run is to be restarted, in words; nothing if it is not."""
    if pulse.complaint:
        return f"not healthy: {pulse.complaint}"
    if spec.health is not None and pulse.failed >= spec.health.failures:
        return f"not healthy: {pulse.why}" + (
            f" ({pulse.failed} times)" if pulse.failed > 1 else ""
        )
    if pulse.beat_by is not None and now >= pulse.beat_by:
        return f"not healthy: no heartbeat within {spec.watchdog:g} s"
    return ""


def is_good(spec: ServiceSpec, pulse: Pulse, now: float) -> bool:
    """Return whether its life has been good for so long that earlier failures are forgotten."""
    forgets = _forgets(spec, pulse)
    return forgets is not None and now >= forgets


def next_look(spec: ServiceSpec, pulse: Pulse, failures: int) -> float | None:
    """Return when there will be something to see: good enough a life, or a missing heartbeat."""
    times = (_forgets(spec, pulse) if failures else None, pulse.beat_by)
    return min((at for at in times if at is not None), default=None)


def _forgets(spec: ServiceSpec, pulse: Pulse) -> float | None:
    """Return when earlier failures are forgotten: one sum for all who compare with it."""
    return None if pulse.well_since is None else pulse.well_since + spec.backoff.reset_after

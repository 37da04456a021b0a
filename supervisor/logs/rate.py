"""How many lines of a stream are written in a second; the others are suppressed, and counted.

Pure: by the place where a stream stands and the time of its batch alone, as all that decides what
is written. A line that has been begun is ended; a suppressed one is suppressed to its end.
"""

from __future__ import annotations

from typing import Any

from supervisor.records import record

_SECOND = 1_000_000  # microseconds


@record(frozen=True)
class Quota:
    """What has been used of the lines of a second, and what there was beyond."""

    second: int = 0  # since the epoch
    used: int = 0  # lines that were begun in it
    muted: int = 0  # lines that are suppressed, and not told of yet
    inside: bool = False  # the last of them goes on


def told(quota: Quota, micros: int, rate: int, *, now: bool = False) -> tuple[int, Quota]:
    """Return how many suppressed lines are to be told of at that time, and the quota then.

    They are told of when lines may be written again, or `now`.
    """
    if not rate and not quota.muted:
        return 0, quota
    second, used = micros // _SECOND, quota.used
    if second != quota.second:
        used = 0
    if quota.muted and (now or not rate or used < rate):
        return quota.muted, Quota(second, used, 0, quota.inside)
    return 0, Quota(second, used, quota.muted, quota.inside)


def kept(data: bytes, quota: Quota, rate: int, *, begun: bool) -> tuple[bytes, Quota]:
    """Return what of the data may be written, and the quota then; `begun`: a line goes on."""
    if quota.inside:
        newline = data.find(b"\n")
        if newline < 0:
            return b"", quota
        data = data[newline + 1 :]
        quota = Quota(quota.second, quota.used, quota.muted)
    if not rate or not data:
        return data, quota
    unended = not data.endswith(b"\n")
    begin = data.count(b"\n") + unended - begun
    room = max(rate - quota.used, 0)
    if begin <= room:
        return data, Quota(quota.second, quota.used + begin, quota.muted)
    rest = data.split(b"\n", room + begun)[room + begun]
    muted = quota.muted + begin - room
    return data[: len(data) - len(rest)], Quota(quota.second, quota.used + room, muted, unended)


def first(units: list[Any], quota: Quota, rate: int) -> tuple[list[Any], Quota]:
    """Return those of the units, each as good as a line, that may be written; the quota then."""
    if not rate:
        return units, quota
    room = max(rate - quota.used, 0)
    some = units[:room]
    muted = quota.muted + len(units) - len(some)
    return some, Quota(quota.second, quota.used + len(some), muted, quota.inside)


def patience(quota: Quota, micros: int) -> float | None:
    """Return the seconds until suppressed lines are to be told of; None: there are none."""
    if not quota.muted:
        return None
    if micros // _SECOND != quota.second:
        return 0.0
    return (_SECOND - micros % _SECOND) / _SECOND

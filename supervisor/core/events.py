"""The words between the supervisor and the world: what happened, and what to do.

A service may be run many times. Every word about a process carries the number of
its run, so that a report that is late, doubled or out of order can do no harm.
Of each run exactly one last word is told: SpawnFailed or Gone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from supervisor.records import record

from .spec import ServiceSpec


@record(frozen=True)
class StartAsked:
    """The operator wants the service up."""


@record(frozen=True)
class RestartAsked:
    """The operator wants the service stopped, if it runs, and started."""


@record(frozen=True)
class StopPlanned:
    """The service is not wanted any more; its dependents stop first, then it hears StopAsked."""


@record(frozen=True)
class StopAsked:
    """The operator, or a shutdown, wants the service down now."""


@record(frozen=True)
class StopHurried:
    """The operator is impatient: `patience` seconds are left until KILL."""

    patience: float


@record(frozen=True)
class StartAllowed:
    """Dependencies are met and the budget of starts has room: start now."""


@record(frozen=True)
class DeadlineReached:
    """The clock has passed the service's deadline."""


@record(frozen=True)
class Spawned:
    """The process has been born: its exec, or the import of its function, is behind it."""

    run: int


@record(frozen=True)
class SpawnFailed:
    """There is no process of this run, and there will be none."""

    run: int
    error: str  # in words: "no such file: 'gunicron'"


@record(frozen=True)
class BecameReady:
    """The process can do its work."""

    run: int


@record(frozen=True)
class CheckPassed:
    """The latest check of its health went well; told at first, and after one that did not."""

    run: int


@record(frozen=True)
class CheckFailed:
    """The latest check of its health did not go well; told every time."""

    run: int
    why: str  # in words: "connection refused"


@record(frozen=True)
class Beat:
    """The service has given a sign of life (WATCHDOG=1 of sd_notify)."""

    run: int


@record(frozen=True)
class Ailed:
    """The service says itself that it cannot do its work any more."""

    run: int
    why: str


@record(frozen=True)
class TimeAsked:
    """The service needs longer for what it is at: so many seconds from now, at least."""

    run: int
    seconds: float


@record(frozen=True)
class Exited:
    """The leader has ended, but other processes of the run are still there."""

    run: int
    code: int | None  # as subprocess has it: negative for a signal; None if nobody knows


@record(frozen=True)
class Gone:
    """The leader has ended, and no process of the run is left."""

    run: int
    code: int | None


Request = StartAsked | RestartAsked | StopPlanned | StopAsked | StopHurried | StartAllowed
Sign = CheckPassed | CheckFailed | Beat | Ailed  # of the health of a run
Report = Spawned | SpawnFailed | BecameReady | Sign | TimeAsked | Exited | Gone
Event = Request | Report | DeadlineReached


@record(frozen=True)
class Spawn:
    """Bring a process of this run to life; answer Spawned or SpawnFailed."""

    run: int


@record(frozen=True)
class Terminate:
    """Send the stop signal to the leader; where it has gone already, TERM to the rest of the run.

    A birth that has not got to its exec is simply killed.
    """

    run: int


@record(frozen=True)
class Kill:
    """KILL to all that is left of this run, whoever its parent or session; again where need be.

    Where nothing is known of the run, Gone is told (once more).
    """

    run: int


@record(frozen=True)
class Adopt:
    """Look after a run that an earlier master began, if anything of it is left.

    What is found is told as of any run: at least its last word, Gone or SpawnFailed, where nothing
    is. Spawned is told where its birth was not over when that master ended.
    """

    run: int


Action = Spawn | Terminate | Kill | Adopt


@record(frozen=True)
class StartWanted:
    """The operator wants these replicas up, and what they depend on."""

    ids: tuple[str, ...]


@record(frozen=True)
class RestartWanted:
    """The operator wants these replicas ended and started."""

    ids: tuple[str, ...]


@record(frozen=True)
class StopWanted:
    """The operator wants these replicas down, dependents before what they depend on."""

    ids: tuple[str, ...]


@record(frozen=True)
class ShutdownWanted:
    """Everything is to stop, and then keepd; with `patience`, at once and in so many seconds."""

    patience: float | None = None


@record(frozen=True)
class PlanWanted:
    """The operator wants these services and no others; what is equal is not to be touched."""

    specs: Mapping[str, Sequence[ServiceSpec]]  # of each service one per replica


@record(frozen=True)
class Recalled:
    """What an earlier master has noted of each replica: a life goes on where that one left it.

    Told once, to a supervisor that has heard nothing yet, of the specs that the runs were born
    with. Nothing is started, and nobody let go in its turn, before PlanWanted or ShutdownWanted.
    """

    notes: Mapping[str, Mapping[str, Any]]  # by id, as memory.py writes them


@record(frozen=True)
class Heard:
    """News of one replica."""

    id: str
    report: Report


@record(frozen=True)
class TimePassed:
    """The clock has moved: whatever is due is done."""


Wanted = StartWanted | RestartWanted | StopWanted | ShutdownWanted | PlanWanted
Input = Wanted | Recalled | Heard | TimePassed


@record(frozen=True)
class Noted:
    """The replica is to be noted as it is after this answer, before any of that is carried out."""

    id: str


@record(frozen=True)
class Do:
    """Carry out `action` for the replica."""

    id: str
    action: Action


@record(frozen=True)
class Changed:
    """The replica went from one state to another: tell those who watch."""

    id: str
    before: str
    after: str


@record(frozen=True)
class Forgot:
    """The replica is not in the list any more, and nothing of it is left: this is its last word."""

    id: str
    how: str  # it ended: "exited with 0 after 3 s"


@record(frozen=True)
class Leave:
    """Nothing is left to do: keepd ends with this exit code."""

    code: int


Output = Noted | Do | Changed | Forgot | Leave

"""One replica as data: where it may be in its life, why a run of it ends, what is remembered."""

from __future__ import annotations

import enum

from supervisor.records import record

from . import health
from .spec import ServiceSpec


class State(enum.StrEnum):
    """Where a replica is in its life."""

    STOPPED = "STOPPED"  # down: not wanted, or waiting for its turn (`due`)
    STARTING = "STARTING"  # a process is asked for, or is not yet ready
    RUNNING = "RUNNING"  # born, and ready where readiness is asked for
    STOPPING = "STOPPING"  # told to end; killed at the deadline
    BACKOFF = "BACKOFF"  # ended too soon; started again at the deadline
    EXITED = "EXITED"  # ended by itself, and its policy lets it rest
    FATAL = "FATAL"  # failed for good; waits for the operator


class Cause(enum.StrEnum):
    """Why a run ends."""

    ASKED = "asked"  # by the operator, or by a shutdown: no failure
    OVERDUE = "overdue"  # it was not ready in time: a failure
    UNHEALTHY = "unhealthy"  # it ran and could not do its work: a failure
    ENDED = "ended"  # by nobody: its leader ended by itself; what that left is cleared away


AT_REST = frozenset({State.STOPPED, State.BACKOFF, State.EXITED, State.FATAL})


@record()
class Ended:
    """How the last run ended."""

    code: int | None  # as subprocess has it; None: nobody knows, or there was no process
    reason: str  # in words, where the code does not say it: "no such file: 'gunicron'"
    at: float  # monotonic
    lived: float  # seconds from its birth


@record()
class Service:
    """One replica: what it should be, and what it is."""

    id: str
    spec: ServiceSpec  # of the run there is, else of the next one
    seed: int = 0
    next: ServiceSpec | None = None  # of the next run, where the present one is to end for it
    removed: bool = False  # not in the list any more: forgotten as soon as it is at rest
    state: State = State.STOPPED
    wanted: bool = False
    due: bool = False  # at rest, and to be started as soon as it is allowed
    run: int = 0  # the number of the latest run; reports of others are not heard
    born: bool = False
    born_at: float = 0.0
    failures: int = 0  # in a row, for the backoff
    restarts: int = 0  # starts that no operator asked for
    starts: tuple[float, ...] = ()  # the latest ones, as many as the start limit counts
    since: float = 0.0  # when it came into its state
    deadline: float | None = None  # the one instant at which it wants to hear DeadlineReached
    cause: Cause = Cause.ASKED
    pulse: health.Pulse = health.Pulse()  # what is known of its health, while it is RUNNING
    patient: bool = False  # its stop may be put off, at its own request
    killed: bool = False  # there is nothing stronger that it could be sent
    exited: bool = False  # the leader has ended, what it left is being cleared away
    code: int | None = None
    reason: str = ""
    last: Ended | None = None

    @property
    def at_rest(self) -> bool:
        """Return whether no process of it exists or is being born."""
        return self.state in AT_REST

"""Where a replica may be in its life, and why a run of it ends: the words of the whole house."""

from __future__ import annotations

import enum


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

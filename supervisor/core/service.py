"""The life of one replica: events in, actions out.

Everything that decides whether a service runs, restarts or gives up is in this file. Nothing here
forks, sleeps or reads a clock: `now` is an argument (seconds, monotonic), and what should be done
to the world is returned, never done. The operator's commands only set the goal; what follows from
it is decided by `decide` alone, which has an answer for every state and event, and never raises.
"""

from __future__ import annotations

import zlib

from . import health
from .events import (
    Action,
    Ailed,
    Beat,
    BecameReady,
    CheckFailed,
    CheckPassed,
    DeadlineReached,
    Event,
    Exited,
    Gone,
    Kill,
    Report,
    RestartAsked,
    Sign,
    Spawn,
    Spawned,
    SpawnFailed,
    StartAllowed,
    StartAsked,
    StopAsked,
    StopHurried,
    StopPlanned,
    Terminate,
    TimeAsked,
)
from .spec import Restart
from .states import AT_REST, Cause, Ended, Service, State

__all__ = ["AT_REST", "Cause", "Ended", "Service", "State", "decide"]

UNBORN_PAUSE = 0.1  # seconds: what cannot even be born is not tried without end at full speed
KILL_AGAIN = 5.0  # seconds: what survives a KILL (state D, a race with fork) gets another one


def decide(service: Service, event: Event, now: float) -> tuple[Action, ...]:
    """Move `service` as `event` has it, and return what is to be done. Never raises."""
    match event:
        case _ if isinstance(event, Report):
            if event.run != service.run or service.at_rest:
                return ()  # news of an earlier run, or told twice
            return _report(service, event, now)
        case DeadlineReached():
            if service.deadline is None or now < service.deadline:
                return ()
            return _deadline(service, now)
        case _:
            return _request(service, event, now)


def _request(service: Service, event: Event, now: float) -> tuple[Action, ...]:
    match service.state, event:
        case ((State.STARTING | State.RUNNING), StartAsked()):
            service.wanted = True
        case State.STOPPING, StartAsked() if service.wanted:
            pass  # it was not given up: what follows is decided when it is gone
        case ((State.STARTING | State.RUNNING | State.STOPPING), (StartAsked() | RestartAsked())):
            service.wanted, service.failures, service.starts = True, 0, ()
            return _end(service, Cause.ASKED, now)
        case _, (StartAsked() | RestartAsked()):
            service.wanted, service.failures, service.starts = True, 0, ()
            service.due = True
            _enter(service, State.STOPPED, now)
        case _, StopPlanned():
            _disown(service, now)
        case _, StopAsked():
            _disown(service, now)
            return () if service.at_rest else _end(service, Cause.ASKED, now)
        case _, StopHurried(patience):
            _disown(service, now)
            return () if service.at_rest else _hurry(service, patience, now)
        case _, StartAllowed() if service.due and service.at_rest:
            return _spawn(service, now)
    return ()


def _report(service: Service, event: Event, now: float) -> tuple[Action, ...]:
    match service.state, event:
        case _, Spawned():
            _be_born(service, now)
        case State.STARTING, BecameReady():
            _be_born(service, now)
            _run(service, now)
        case _, SpawnFailed(_, error):
            _finish(service, None, service.reason or error, now)
        case _, Gone(_, code):
            code = service.code if service.exited else code
            _finish(service, code, service.reason, now)
        case ((State.STARTING | State.RUNNING), Exited(_, code)):
            service.exited, service.code = True, code
            return _end(service, Cause.ENDED, now)
        case State.RUNNING, (CheckPassed() | CheckFailed() | Beat() | Ailed()):
            return _diagnose(service, event, now)
        case _, TimeAsked(_, seconds):
            _give_time(service, now + seconds)
        case State.STOPPING, Exited(run, code) if not service.exited:
            service.exited, service.code = True, code
            return (Terminate(run),)  # the leader obeyed; now the rest is asked
    return ()


def _deadline(service: Service, now: float) -> tuple[Action, ...]:
    service.deadline, ready = None, service.spec.ready
    match service.state:
        case State.STARTING if service.born and ready and ready.after is not None:
            _run(service, now)
        case State.STARTING:
            service.reason = f"not {'ready' if service.born else 'born'} in time"
            return _end(service, Cause.OVERDUE, now)
        case State.RUNNING:
            return _look_again(service, now)
        case State.STOPPING:
            service.patient, service.killed = False, True
            service.reason = service.reason or "did not end in time"
            service.deadline = now + KILL_AGAIN
            return (Kill(service.run),)
        case State.BACKOFF:
            service.due = True
    return ()


def _enter(service: Service, state: State, now: float, deadline: float | None = None) -> None:
    service.state, service.since, service.deadline = state, now, deadline


def _disown(service: Service, now: float) -> None:
    service.wanted = service.due = False
    if service.state in {State.BACKOFF, State.FATAL}:
        _enter(service, State.STOPPED, now)


def _spawn(service: Service, now: float) -> tuple[Action, ...]:
    limit = service.spec.start_limit
    service.restarts += service.failures > 0
    service.run += 1
    service.starts = (*service.starts, now)[-limit.starts :] if limit else ()
    service.due = service.born = service.exited = service.killed = False
    service.code, service.reason, service.cause = None, "", Cause.ENDED
    _enter(service, State.STARTING, now, now + service.spec.start_timeout)
    return (Spawn(service.run),)


def _be_born(service: Service, now: float) -> None:
    if service.born and service.state is State.RUNNING:  # told by who has found it again
        service.pulse = health.resume(service.spec, service.pulse, service.since)
        service.deadline = health.next_look(service.spec, service.pulse, service.failures)
    if service.born:
        return
    service.born, service.born_at = True, now
    if service.state is State.STARTING:
        if service.spec.ready is None:
            _run(service, now)
        elif service.spec.ready.after is not None:
            service.deadline = now + service.spec.ready.after


def _run(service: Service, now: float) -> None:
    service.pulse = health.begin(service.spec, now)
    _enter(service, State.RUNNING, now)
    _look_again(service, now)


def _look_again(service: Service, now: float) -> tuple[Action, ...]:
    """End a run that is ill; else come back when there is something to see."""
    service.pulse = health.looked_at(service.spec, service.pulse, now)
    _forgive(service, now)
    illness = health.illness(service.spec, service.pulse, now)
    if illness:
        service.reason = illness
        return _end(service, Cause.UNHEALTHY, now)
    when = health.next_look(service.spec, service.pulse, service.failures)
    kept = None if service.spec.watchdog is None else service.deadline
    # Not put off at each heartbeat: who comes too early sees then that there was one.
    service.deadline = when if kept is None or when is None else min(when, kept)
    return ()


def _give_time(service: Service, until: float) -> None:
    """Put off the deadline of what a service is at, when it asks for that; never for a KILL."""
    ready = service.spec.ready
    if service.state is State.RUNNING:
        service.pulse = health.patient(service.pulse, until)
    starting = service.state is State.STARTING and service.born and ready and ready.after is None
    stopping = service.state is State.STOPPING and service.patient
    if (starting or stopping) and service.deadline is not None:
        service.deadline = max(service.deadline, until)


def _diagnose(service: Service, sign: Sign, now: float) -> tuple[Action, ...]:
    """Take a sign of health, or of the lack of it."""
    _forgive(service, now)  # its life has been good until now
    service.pulse = health.heard(service.spec, service.pulse, sign, now)
    return _look_again(service, now)


def _end(service: Service, cause: Cause, now: float) -> tuple[Action, ...]:
    """End the run, and remember why."""
    service.cause = cause
    if service.state is State.STOPPING:
        return ()  # told already; the goal has changed, the way there has not
    _forgive(service, now)
    if cause is Cause.ENDED:  # whoever is left holds ports and files that the next run needs
        service.patient, service.killed = False, True
        _enter(service, State.STOPPING, now, now + KILL_AGAIN)
        return (Kill(service.run),)
    service.patient = True
    _enter(service, State.STOPPING, now, now + service.spec.stop.timeout)
    return (Terminate(service.run),)


def _hurry(service: Service, patience: float, now: float) -> tuple[Action, ...]:
    actions = _end(service, Cause.ASKED, now)
    service.patient = False
    if patience <= 0:
        service.killed, service.deadline = True, now + KILL_AGAIN
        return (Kill(service.run),)
    service.deadline = min(service.deadline or now, now + patience)
    return actions


def _finish(service: Service, code: int | None, reason: str, now: float) -> None:
    """The run is over and nothing of it is left: what follows depends on why it ended."""
    lived = now - service.born_at if service.born else 0.0
    service.last = Ended(code, reason, now, lived)
    if not service.wanted:
        _enter(service, State.STOPPED, now)
    elif service.cause is Cause.ASKED or service.next:
        service.due = True
        _enter(service, State.STOPPED, now)
    elif code == 0 and service.cause is Cause.ENDED and service.spec.restart is not Restart.ALWAYS:
        service.failures = 0
        _enter(service, State.EXITED, now)
    else:
        _fail(service, now)
    service.spec, service.next = service.next or service.spec, None


def _forgive(service: Service, now: float) -> None:
    """Forget earlier failures after a good life, also where its deadline was not heard in time."""
    if service.state is State.RUNNING and health.is_good(service.spec, service.pulse, now):
        service.failures = 0


def _fail(service: Service, now: float) -> None:
    """The run was a failure: again later, or never."""
    _forgive(service, now)
    service.failures += 1
    pause = service.spec.backoff.delay(service.failures, _dice(service))
    if not service.born:
        pause = max(pause, UNBORN_PAUSE)
    if service.spec.restart is Restart.NEVER or _exceeds(service, now + pause):
        _enter(service, State.FATAL, now)
    else:
        service.due = pause <= 0
        _enter(service, State.BACKOFF, now, None if service.due else now + pause)


def _exceeds(service: Service, start: float) -> bool:
    """Return whether one more start, at `start`, would be one too many."""
    limit = service.spec.start_limit
    if limit is None:
        return False
    return sum(start - earlier < limit.within for earlier in service.starts) >= limit.starts


def _dice(service: Service) -> float:
    """A throw in [0, 1) that is the same at every replay, and another for every replica and run."""
    return zlib.crc32(f"{service.seed}/{service.id}/{service.run}".encode()) / 2**32

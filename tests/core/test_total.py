"""Every state has an answer to every event: none raises, and none breaks what must always hold."""

import copy
import itertools

import pytest

from supervisor.core.events import (
    Ailed,
    Beat,
    BecameReady,
    CheckFailed,
    CheckPassed,
    DeadlineReached,
    Exited,
    Gone,
    RestartAsked,
    Spawn,
    Spawned,
    SpawnFailed,
    StartAllowed,
    StartAsked,
    StopAsked,
    StopHurried,
    StopPlanned,
    TimeAsked,
)
from supervisor.core.service import State, decide
from supervisor.core.spec import Health, Ready, Restart, Stop

from .story import Story

REPORTS = tuple(
    report
    for run in (0, 1, 2, 3)
    for report in (
        Spawned(run),
        SpawnFailed(run, "cannot"),
        BecameReady(run),
        CheckPassed(run),
        Beat(run),
        Ailed(run, "ill"),
        TimeAsked(run, 50.0),
        CheckFailed(run, "mute"),
        *(kind(run, code) for kind in (Exited, Gone) for code in (0, 1, -9, None)),
    )
)
REQUESTS = (
    StartAsked(),
    RestartAsked(),
    StopPlanned(),
    StopAsked(),
    StopHurried(3.0),
    StopHurried(0.0),
    StartAllowed(),
)
EVENTS = (*REPORTS, *REQUESTS, DeadlineReached())
SPECS = {
    "plain": {},
    "job": {"restart": Restart.NEVER},
    "tcp": {"ready": Ready(tcp="localhost:80"), "restart": Restart.ON_FAILURE},
    "checked": {"health": Health(tcp="localhost:80", failures=2)},
    "beats": {"watchdog": 3.0},
    "delay": {"ready": Ready(after=0.0), "stop": Stop(timeout=0.0)},
}


def situations(spec):
    """Return every service that is reached from a fresh one by up to six events."""
    found = {repr(Story(**SPECS[spec]).service): Story(**SPECS[spec]).service}
    edge = list(found.values())
    for _ in range(6):
        tried = itertools.product(edge, EVENTS)
        edge = []
        for before, event in tried:
            after = copy.copy(before)
            decide(after, event, 1000.0)
            if repr(after) not in found:
                found[repr(after)] = after
                edge.append(after)
    return list(found.values())


def holds(before, after, event, actions):
    """Return whether what is true of every service is true after this step."""
    down, waits = after.at_rest, after.deadline is not None
    spawns = [action for action in actions if isinstance(action, Spawn)]
    return (
        len(actions) <= 1
        and all(action.run == after.run for action in actions)
        and after.run == before.run + len(spawns)
        and (not spawns or (before.at_rest and before.due and event == StartAllowed()))
        and (not after.due or (down and after.wanted))
        and (waits or after.state not in {State.STARTING, State.STOPPING})
        and (waits or after.due or after.state is not State.BACKOFF)
        and (not waits or after.state not in {State.STOPPED, State.EXITED, State.FATAL})
    )


@pytest.mark.parametrize("spec", SPECS)
def test_every_event_has_an_answer_in_every_situation(spec):
    everything = situations(spec)
    assert len(everything) > 100
    for before, event, now in itertools.product(everything, EVENTS, (1000.0, 2000.0)):
        after = copy.copy(before)
        actions = decide(after, event, now)
        assert holds(before, after, event, actions), f"{before}\n{event}\n{after}\n{actions}"


@pytest.mark.parametrize("spec", SPECS)
def test_what_is_asked_for_is_reached_from_every_situation(spec):
    for before in situations(spec):
        down, up = copy.copy(before), copy.copy(before)
        decide(down, StopAsked(), 1000.0)
        assert not down.wanted
        assert down.at_rest or down.state is State.STOPPING
        decide(up, RestartAsked(), 1000.0)
        if up.state is State.STOPPING:
            decide(up, Gone(up.run, -15), 1000.0)
        assert decide(up, StartAllowed(), 1000.0) == (Spawn(before.run + 1),)


@pytest.mark.parametrize("spec", SPECS)
def test_all_states_are_among_the_situations(spec):
    never = {
        "job": {State.BACKOFF},
        "plain": {State.EXITED, State.FATAL},
        "checked": {State.EXITED, State.FATAL},
        "beats": {State.EXITED, State.FATAL},
    }
    never |= {"tcp": {State.FATAL}, "delay": {State.EXITED, State.FATAL}}
    assert {service.state for service in situations(spec)} == set(State) - never[spec]

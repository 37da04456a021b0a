"""How a replica stops, at every awkward moment."""

import pytest

from supervisor.core.events import (
    DeadlineReached,
    Exited,
    Gone,
    Kill,
    RestartAsked,
    Spawned,
    SpawnFailed,
    StartAllowed,
    StartAsked,
    StopAsked,
    StopHurried,
    StopPlanned,
    Terminate,
)
from supervisor.core.service import State
from supervisor.core.spec import Ready, Restart, Stop

from .story import Story


def stopping(**options):
    """Return a story in which a running service has just been told to stop."""
    web = Story(**options)
    web.runs()
    web.hears(StopAsked(), does=[Terminate(1)], becomes=State.STOPPING)
    return web


def test_a_service_that_obeys_is_stopped():
    web = stopping()
    web.hears(Gone(1, -15), becomes=State.STOPPED)
    assert web.pause is None
    assert not web.service.wanted


def test_a_service_that_ignores_term_is_killed_at_its_deadline():
    web = stopping(stop=Stop(timeout=7))
    web.waits(7, does=[Kill(1)])
    web.hears(Gone(1, -9), becomes=State.STOPPED)


def test_what_survives_a_kill_is_killed_again_and_never_joined_by_a_second_copy():
    web = stopping()
    web.hears(StartAsked())
    web.waits(10, does=[Kill(1)])
    for _ in range(20):
        web.waits(5, does=[Kill(1)])
        web.hears(StartAllowed())
    web.hears(Gone(1, -9), becomes=State.STOPPED)
    web.is_allowed()


def test_a_stop_without_patience_kills_at_once():
    web = stopping(stop=Stop(timeout=0.0))
    web.waits(0, does=[Kill(1)])


def test_when_the_leader_has_obeyed_the_rest_is_asked_and_then_killed():
    web = stopping()
    web.passes(2)
    web.hears(Exited(1, 0), does=[Terminate(1)])
    web.hears(Exited(1, 0))
    web.waits(8, does=[Kill(1)])
    web.hears(Gone(1, 0), becomes=State.STOPPED)


def test_a_stop_that_is_asked_twice_is_told_once_and_gets_no_more_time():
    web = stopping()
    web.passes(4)
    web.hears(StopAsked())
    web.hears(StopPlanned())
    web.waits(6, does=[Kill(1)])


@pytest.mark.parametrize("born", [True, False])
@pytest.mark.parametrize("last", [SpawnFailed(1, "killed"), Gone(1, -15)])
def test_f49_a_stop_during_the_start_ends_the_start(born, last):
    web = Story(ready=Ready(tcp="localhost:80"))
    web.starts()
    if born:
        web.hears(Spawned(1))
    web.hears(StopAsked(), does=[Terminate(1)], becomes=State.STOPPING)
    web.hears(last, becomes=State.STOPPED)
    web.hears(StartAllowed())


def test_f49_a_birth_that_is_told_after_the_stop_changes_nothing():
    web = Story()
    web.starts()
    web.hears(StopAsked(), does=[Terminate(1)], becomes=State.STOPPING)
    web.hears(Spawned(1))
    web.hears(Gone(1, -15), becomes=State.STOPPED)


def test_f49_a_restart_while_stopping_waits_for_the_end_and_starts_once():
    web = stopping()
    web.hears(RestartAsked())
    web.hears(StartAsked())
    web.hears(RestartAsked())
    web.hears(StartAllowed())
    web.hears(Gone(1, -15), becomes=State.STOPPED)
    web.is_allowed()
    web.hears(StartAllowed())
    web.hears(Gone(1, -15))


def test_f49_a_stop_during_a_restart_wins():
    web = Story()
    web.runs()
    web.hears(RestartAsked(), does=[Terminate(1)], becomes=State.STOPPING)
    web.hears(StopAsked())
    web.hears(Gone(1, -15), becomes=State.STOPPED)
    web.hears(StartAllowed())


def test_f49_a_start_during_a_stop_wins():
    web = stopping()
    web.hears(StartAsked())
    web.hears(Gone(1, -15), becomes=State.STOPPED)
    web.is_allowed()


def test_f49_a_start_during_a_backoff_does_not_wait():
    web = Story()
    web.runs()
    web.ends(1, becomes=State.BACKOFF)
    web.starts()
    web.hears(DeadlineReached())


def test_f49_a_stop_during_a_backoff_is_a_stop():
    web = Story()
    web.runs()
    web.ends(1, becomes=State.BACKOFF)
    web.hears(StopAsked(), becomes=State.STOPPED)
    assert web.pause is None
    web.hears(StartAllowed())


def test_f49_a_stop_after_the_backoff_and_before_the_start_is_a_stop():
    web = Story()
    web.runs()
    web.crashes()
    web.hears(StopPlanned(), becomes=State.STOPPED)
    web.hears(StartAllowed())


def test_f49_a_stop_while_the_leftovers_of_a_crash_are_cleared_is_a_stop():
    web = Story()
    web.runs()
    web.hears(Exited(1, 1), does=[Kill(1)], becomes=State.STOPPING)
    web.hears(StopAsked())
    web.waits(5, does=[Kill(1)])
    web.hears(Gone(1, 1), becomes=State.STOPPED)


@pytest.mark.parametrize("stop", [StopPlanned(), StopAsked()])
@pytest.mark.parametrize("code", [0, 1])
def test_f49_stop_and_start_while_leftovers_are_cleared_start_afresh(stop, code):
    web = Story(restart=Restart.ON_FAILURE)
    web.runs()
    web.hears(Exited(1, code), does=[Kill(1)], becomes=State.STOPPING)
    web.hears(stop)
    web.hears(StartAsked())
    web.hears(Gone(1, code), becomes=State.STOPPED)
    web.is_allowed()


def test_f49_a_start_that_repeats_the_wish_leaves_a_finished_job_alone():
    web = Story(restart=Restart.ON_FAILURE)
    web.runs()
    web.hears(Exited(1, 0), does=[Kill(1)], becomes=State.STOPPING)
    web.hears(StartAsked())
    web.hears(Gone(1, 0), becomes=State.EXITED)


def test_f49_a_planned_stop_that_is_taken_back_leaves_the_run_alone():
    web = Story()
    web.runs()
    web.hears(StopPlanned())
    web.hears(StartAsked())
    web.ends(1, becomes=State.BACKOFF)


def test_f49_what_ends_by_itself_while_its_stop_is_planned_is_stopped():
    web = Story()
    web.runs()
    web.hears(StopPlanned())
    web.ends(1, becomes=State.STOPPED)


def test_f49_a_start_that_fails_while_its_stop_is_planned_is_stopped():
    web = Story(restart=Restart.NEVER)
    web.starts()
    web.hears(StopPlanned())
    web.hears(SpawnFailed(1, "cannot"), becomes=State.STOPPED)


@pytest.mark.parametrize("code", [0, 1, -15])
@pytest.mark.parametrize("restart", list(Restart))
def test_a_restart_starts_again_whatever_the_code_and_the_policy(restart, code):
    web = Story(restart=restart)
    web.runs()
    web.hears(RestartAsked(), does=[Terminate(1)], becomes=State.STOPPING)
    web.hears(Gone(1, code), becomes=State.STOPPED)
    web.is_allowed()
    assert web.service.failures == 0
    assert web.service.restarts == 0


@pytest.mark.parametrize("state", [State.STOPPED, State.BACKOFF, State.EXITED, State.FATAL])
def test_a_restart_of_what_is_down_is_a_start(state):
    policy = Restart.ALWAYS if state is State.BACKOFF else Restart.NEVER
    web = Story(restart=policy)
    if state is not State.STOPPED:
        web.runs()
        web.ends(0 if state is State.EXITED else 1, becomes=state)
    web.hears(RestartAsked(), becomes=State.STOPPED)
    web.is_allowed()


def test_a_restart_of_a_start_that_hangs_begins_again():
    web = Story()
    web.starts()
    web.hears(RestartAsked(), does=[Terminate(1)], becomes=State.STOPPING)
    web.hears(SpawnFailed(1, "killed"), becomes=State.STOPPED)
    web.is_allowed()


@pytest.mark.parametrize(("code", "before"), [(1, State.FATAL), (0, State.EXITED)])
def test_a_stop_of_what_has_ended_for_good(code, before):
    web = Story(restart=Restart.NEVER)
    web.runs()
    web.ends(code, becomes=before)
    web.hears(StopAsked(), becomes=State.STOPPED if before is State.FATAL else State.EXITED)
    assert not web.service.wanted


def test_reports_of_an_earlier_run_are_not_heard():
    web = stopping()
    web.hears(StartAsked())
    web.hears(Gone(1, -15), becomes=State.STOPPED)
    web.is_allowed()
    for late in (Spawned(1), Exited(1, 0), Gone(1, -15), SpawnFailed(1, "cannot"), Gone(3, 0)):
        web.hears(late)
    web.hears(Spawned(2), becomes=State.RUNNING)


def test_doubled_reports_are_heard_once():
    web = Story()
    web.starts()
    web.hears(Spawned(1), becomes=State.RUNNING)
    web.hears(Spawned(1))
    web.hears(Exited(1, 1), does=[Kill(1)], becomes=State.STOPPING)
    web.hears(Exited(1, 1))
    web.hears(Gone(1, 1), becomes=State.BACKOFF)
    web.hears(Gone(1, 1))
    web.hears(Exited(1, 1))
    assert web.service.failures == 1


def test_hurry_shortens_the_wait_for_a_stop_that_is_under_way():
    web = stopping()
    web.passes(1)
    web.hears(StopHurried(3))
    web.waits(3, does=[Kill(1)])


def test_hurry_never_gives_more_time():
    web = stopping(stop=Stop(timeout=2))
    web.hears(StopHurried(3))
    web.waits(2, does=[Kill(1)])


@pytest.mark.parametrize("started", [True, False])
def test_hurry_stops_what_was_not_told_to_stop(started):
    web = Story()
    web.starts()
    if started:
        web.hears(Spawned(1), becomes=State.RUNNING)
    web.hears(StopHurried(3), does=[Terminate(1)], becomes=State.STOPPING)
    web.waits(3, does=[Kill(1)])


def test_the_last_hurry_kills_at_once_and_again():
    web = stopping()
    web.hears(StopHurried(0), does=[Kill(1)])
    web.waits(5, does=[Kill(1)])
    web.hears(StopHurried(0), does=[Kill(1)])
    web.hears(Gone(1, -9), becomes=State.STOPPED)


def test_hurry_does_nothing_to_what_is_down():
    web = Story()
    web.hears(StopHurried(0))
    web.runs()
    web.ends(1, becomes=State.BACKOFF)
    web.hears(StopHurried(3), becomes=State.STOPPED)
    assert web.pause is None

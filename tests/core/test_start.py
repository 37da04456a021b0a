"""How a replica starts, becomes ready, or does not."""

import pytest

from supervisor.core.events import (
    BecameReady,
    DeadlineReached,
    Exited,
    Gone,
    Kill,
    Spawned,
    SpawnFailed,
    StartAllowed,
    StartAsked,
    Terminate,
)
from supervisor.core.service import State
from supervisor.core.spec import Backoff, Ready, Restart

from .story import STEADY, Story

TCP = Ready(tcp="localhost:80", timeout=30)


def test_a_service_that_is_asked_for_starts_when_it_is_allowed_to():
    web = Story()
    web.hears(StartAsked())
    assert web.service.due
    web.is_allowed()
    web.hears(Spawned(1), becomes=State.RUNNING)
    assert web.pause is None


def test_nothing_starts_that_nobody_wants():
    web = Story()
    web.hears(StartAllowed())
    assert web.service.run == 0


def test_a_service_that_is_allowed_twice_starts_once():
    web = Story()
    web.starts()
    web.hears(StartAllowed())
    web.hears(Spawned(1), becomes=State.RUNNING)
    web.hears(StartAllowed())


def test_f48_a_service_with_a_proof_of_readiness_is_not_running_before_it():
    web = Story(ready=TCP)
    web.starts()
    web.hears(Spawned(1))
    web.passes(29)
    web.hears(DeadlineReached())
    web.hears(BecameReady(1), becomes=State.RUNNING)


def test_f48_a_long_start_that_succeeds_is_no_failure():
    web = Story(ready=Ready(tcp="localhost:80", timeout=600))
    web.starts()
    web.hears(Spawned(1))
    web.passes(599)
    web.hears(BecameReady(1), becomes=State.RUNNING)
    assert web.service.failures == 0


@pytest.mark.parametrize("born", [True, False])
def test_f48_an_exit_during_the_start_is_a_failure_and_never_running(born):
    web = Story(ready=TCP)
    web.starts()
    if born:
        web.hears(Spawned(1))
    web.ends(1, becomes=State.BACKOFF)
    assert web.service.failures == 1


def test_readiness_that_is_heard_before_the_birth_counts():
    web = Story(ready=TCP)
    web.starts()
    web.hears(BecameReady(1), becomes=State.RUNNING)
    web.hears(Spawned(1))
    assert web.service.born


def test_a_start_that_takes_too_long_is_ended_and_is_a_failure():
    web = Story(ready=TCP)
    web.starts()
    web.hears(Spawned(1))
    web.waits(30, does=[Terminate(1)], becomes=State.STOPPING)
    web.waits(10, does=[Kill(1)])
    web.hears(Gone(1, -9), becomes=State.BACKOFF)
    assert web.service.last.reason == "not ready in time"


def test_a_start_that_takes_too_long_is_a_failure_even_where_it_then_exits_with_0():
    web = Story(ready=TCP, restart=Restart.ON_FAILURE)
    web.starts()
    web.hears(Spawned(1))
    web.waits(30, does=[Terminate(1)], becomes=State.STOPPING)
    web.hears(Gone(1, 0), becomes=State.BACKOFF)


def test_readiness_that_comes_too_late_does_not_save_the_start():
    web = Story(ready=TCP)
    web.starts()
    web.hears(Spawned(1))
    web.waits(30, does=[Terminate(1)], becomes=State.STOPPING)
    web.hears(BecameReady(1))
    web.hears(Gone(1, 0), becomes=State.BACKOFF)


@pytest.mark.parametrize("last", [SpawnFailed(1, "killed"), Gone(1, -9)])
def test_a_birth_that_hangs_is_ended_and_told_as_such(last):
    web = Story()
    web.starts()
    web.waits(30, does=[Terminate(1)], becomes=State.STOPPING)
    web.hears(last, becomes=State.BACKOFF)
    assert web.service.last.reason == "not born in time"


def test_starts_that_take_too_long_are_paced_ever_slower():
    web = Story(ready=TCP)
    web.starts()
    for pause in (0.2, 0.4, 0.8):
        web.hears(Spawned(web.service.run))
        web.waits(30, does=[Terminate(web.service.run)], becomes=State.STOPPING)
        web.hears(Gone(web.service.run, -15), becomes=State.BACKOFF)
        web.waits(pause)
        web.is_allowed()


def test_a_long_life_that_never_became_ready_forgives_nothing():
    web = Story(ready=TCP, backoff=STEADY)
    web.starts()
    for pause in (0.2, 0.4):
        web.hears(Spawned(web.service.run))
        web.passes(20)
        web.hears(Exited(web.service.run, 1), does=[Kill(web.service.run)], becomes=State.STOPPING)
        web.hears(Gone(web.service.run, 1), becomes=State.BACKOFF)
        web.waits(pause)
        web.is_allowed()


def test_readiness_by_delay_is_a_life_of_so_many_seconds():
    web = Story(ready=Ready(after=3))
    web.starts()
    web.passes(5)
    web.hears(Spawned(1))
    web.waits(3, becomes=State.RUNNING)


def test_readiness_after_no_delay_is_readiness():
    web = Story(ready=Ready(after=0.0))
    web.starts()
    web.hears(Spawned(1))
    web.waits(0, becomes=State.RUNNING)


def test_a_service_that_is_ready_after_a_delay_may_fail_before_it():
    web = Story(ready=Ready(after=3))
    web.starts()
    web.hears(Spawned(1))
    web.ends(1, becomes=State.BACKOFF)


@pytest.mark.parametrize(
    ("restart", "becomes"),
    [
        (Restart.ALWAYS, State.BACKOFF),
        (Restart.ON_FAILURE, State.BACKOFF),
        (Restart.NEVER, State.FATAL),
    ],
)
def test_what_cannot_be_spawned_is_a_failure_with_its_reason(restart, becomes):
    web = Story(restart=restart)
    web.starts()
    web.hears(SpawnFailed(1, "no such file: 'gunicron'"), becomes=becomes)
    assert web.service.last.reason == "no such file: 'gunicron'"
    assert web.service.last.code is None


@pytest.mark.parametrize(
    ("restart", "code", "becomes"),
    [
        (Restart.ALWAYS, 0, State.BACKOFF),
        (Restart.ALWAYS, 1, State.BACKOFF),
        (Restart.ALWAYS, -9, State.BACKOFF),
        (Restart.ALWAYS, None, State.BACKOFF),
        (Restart.ON_FAILURE, 0, State.EXITED),
        (Restart.ON_FAILURE, 1, State.BACKOFF),
        (Restart.ON_FAILURE, -9, State.BACKOFF),
        (Restart.ON_FAILURE, None, State.BACKOFF),
        (Restart.NEVER, 0, State.EXITED),
        (Restart.NEVER, 1, State.FATAL),
        (Restart.NEVER, -9, State.FATAL),
        (Restart.NEVER, None, State.FATAL),
    ],
)
@pytest.mark.parametrize("leftovers", [True, False])
@pytest.mark.parametrize("born", [True, False])
def test_what_follows_an_end_hangs_on_its_code_and_the_policy(
    restart, code, becomes, leftovers, born
):
    web = Story(restart=restart)
    web.starts()
    if born:
        web.hears(Spawned(1), becomes=State.RUNNING)
    if leftovers:
        web.hears(Exited(1, code), does=[Kill(1)], becomes=State.STOPPING)
    web.ends(code, becomes=becomes)
    assert web.service.last.code == code


def test_a_crash_clears_away_what_it_left_before_the_next_start():
    web = Story()
    web.runs(seconds=1)
    web.hears(Exited(1, 1), does=[Kill(1)], becomes=State.STOPPING)
    web.waits(5, does=[Kill(1)])
    web.waits(5, does=[Kill(1)])
    web.hears(Gone(1, 1), becomes=State.BACKOFF)


def test_the_code_of_the_leader_counts_whatever_is_said_at_the_end():
    web = Story(restart=Restart.ON_FAILURE)
    web.runs()
    web.hears(Exited(1, 0), does=[Kill(1)], becomes=State.STOPPING)
    web.hears(Gone(1, None), becomes=State.EXITED)
    assert web.service.last.code == 0


def test_a_birth_that_is_taken_back_ends_a_running_service():
    web = Story()
    web.runs()
    web.hears(SpawnFailed(1, "it was never there"), becomes=State.BACKOFF)


@pytest.mark.parametrize("code", [0, 1])
def test_an_end_without_a_pause_starts_again_as_soon_as_it_is_allowed(code):
    web = Story(backoff=Backoff(first=0))
    web.runs()
    web.ends(code, becomes=State.BACKOFF)
    assert web.service.due
    assert web.pause is None
    web.is_allowed()

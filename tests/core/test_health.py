"""A service that is ready and stops doing its work: when it is ended, and what is remembered."""

import pytest

from supervisor.core.events import (
    Ailed,
    Beat,
    BecameReady,
    CheckFailed,
    CheckPassed,
    DeadlineReached,
    Gone,
    Kill,
    Spawned,
    StartAsked,
    StopAsked,
    StopHurried,
    Terminate,
    TimeAsked,
)
from supervisor.core.service import State, decide
from supervisor.core.spec import Health, Ready, Restart, Stop
from supervisor.core.words import changed_words, ended_words

from .story import NOW, Story

CHECKED = Health(tcp="localhost:80", failures=3)


def fails(web, times, why="connection refused"):
    for _ in range(times):
        web.hears(CheckFailed(web.service.run, why))


def test_so_many_failed_checks_in_a_row_end_the_run_and_it_is_started_again():
    web = Story(health=CHECKED)
    web.runs()
    fails(web, 2)
    web.hears(CheckFailed(1, "connection refused"), does=[Terminate(1)], becomes=State.STOPPING)
    line = changed_words(web.service, "RUNNING", "STOPPING", 1)
    assert line == "web/0 is not healthy: connection refused (3 times): stopping it"
    web.ends(-15, becomes=State.BACKOFF)
    said = ended_words(web.service.last)
    assert said == "not healthy: connection refused (3 times) (killed by SIGTERM after 0 s)"
    web.waits(0.2)
    web.is_allowed()


def test_flapping_below_the_threshold_ends_nobody():
    web = Story(health=CHECKED)
    web.runs()
    for _ in range(20):
        fails(web, 2)
        web.hears(CheckPassed(1))


def test_a_clean_exit_after_it_was_told_to_end_is_still_a_failure():
    web = Story(health=Health(tcp="a:1", failures=1), restart=Restart.ON_FAILURE)
    web.runs()
    web.hears(CheckFailed(1, "mute"), does=[Terminate(1)], becomes=State.STOPPING)
    web.ends(0, becomes=State.BACKOFF)
    assert web.service.last.reason == "not healthy: mute"


def test_what_is_never_restarted_has_failed_for_good_when_it_is_not_healthy():
    web = Story(health=Health(tcp="a:1", failures=1), restart=Restart.NEVER)
    web.runs()
    web.hears(CheckFailed(1, "mute"), does=[Terminate(1)], becomes=State.STOPPING)
    web.ends(0, becomes=State.FATAL)


def test_checks_count_only_once_it_is_ready_and_only_those_of_this_run():
    web = Story(health=CHECKED, ready=Ready(tcp="localhost:80"))
    web.starts()
    web.hears(Spawned(1))
    fails(web, 5)
    web.hears(BecameReady(1), becomes=State.RUNNING)
    web.hears(CheckFailed(0, "of another run"))
    fails(web, 2)


@pytest.mark.parametrize("seconds", [1, 11, 3600])
def test_who_was_never_seen_to_be_well_is_not_forgiven_however_long_it_lived(seconds):
    web = Story(health=Health(tcp="a:1", failures=1))
    for failures, pause in ((1, 0.2), (2, 0.4), (3, 0.8)):
        web.runs(seconds)
        web.hears(CheckFailed(failures, "mute"), does=[Terminate(failures)], becomes=State.STOPPING)
        web.ends(-15, becomes=State.BACKOFF)
        web.waits(pause)


def test_a_good_life_before_it_fell_ill_makes_earlier_failures_forgotten():
    web = Story(health=Health(tcp="a:1", failures=1))
    web.runs()
    web.crashes()
    web.runs()
    web.hears(CheckPassed(2))
    web.passes(11)
    web.hears(CheckFailed(2, "mute"), does=[Terminate(2)], becomes=State.STOPPING)
    web.ends(-15, becomes=State.BACKOFF)
    web.waits(0.2)


def test_a_life_that_flaps_is_no_good_life():
    web = Story(health=CHECKED)
    web.runs()
    web.crashes()
    web.runs()
    for _ in range(5):
        web.hears(CheckPassed(2))
        web.passes(9)
        web.hears(CheckFailed(2, "mute"))
    web.hears(CheckPassed(2))
    web.waits(10)
    assert web.service.failures == 0


def test_a_stop_is_a_stop_also_of_who_is_not_healthy():
    web = Story(health=Health(tcp="a:1", failures=1))
    web.runs()
    web.hears(CheckFailed(1, "mute"), does=[Terminate(1)], becomes=State.STOPPING)
    web.hears(StopAsked())
    web.hears(CheckFailed(1, "mute"))
    web.ends(-15, becomes=State.STOPPED)
    web.hears(StartAsked(), becomes=State.STOPPED)
    assert web.service.due


def test_the_next_run_begins_without_the_failed_checks_of_the_one_before():
    web = Story(health=CHECKED)
    web.runs()
    fails(web, 2)
    web.hears(Gone(1, 1), becomes=State.BACKOFF)
    web.waits(0.2)
    web.runs()
    fails(web, 2)


def test_a_missing_heartbeat_ends_the_run():
    web = Story(watchdog=3.0)
    web.runs()
    web.waits(3, does=[Terminate(1)], becomes=State.STOPPING)
    web.ends(-15, becomes=State.BACKOFF)
    assert web.service.last.reason == "not healthy: no heartbeat within 3 s"


def test_who_beats_lives_and_is_looked_at_once_in_a_period():
    web = Story(watchdog=3.0)
    web.runs()
    looks = 0
    for _ in range(100):
        web.passes(0.3)
        web.hears(Beat(1))
        if web.now >= web.service.deadline:
            looks += 1
            web.hears(DeadlineReached())
    assert looks <= 11
    web.hears(DeadlineReached())
    while web.state is State.RUNNING:
        web.passes(0.1)
        decide(web.service, DeadlineReached(), web.now)
    assert web.now == pytest.approx(NOW + 33, abs=0.2)


def test_a_heartbeat_is_not_wanted_before_it_is_ready():
    web = Story(watchdog=3.0, ready=Ready(notify=True, timeout=30.0))
    web.starts()
    web.hears(Spawned(1))
    web.passes(20)
    web.hears(BecameReady(1), becomes=State.RUNNING)
    web.waits(3, does=[Terminate(1)], becomes=State.STOPPING)


def test_f44_after_a_time_in_which_nobody_listened_a_heartbeat_is_waited_for_once_more():
    web = Story(watchdog=3.0)
    web.runs()
    web.passes(60)  # we, or the whole machine, stood still
    web.hears(DeadlineReached())
    web.waits(3, does=[Terminate(1)], becomes=State.STOPPING)


def test_a_service_may_say_itself_that_it_cannot_go_on():
    web = Story()
    web.runs()
    web.hears(Ailed(1, "it says so itself"), does=[Terminate(1)], becomes=State.STOPPING)
    web.ends(0, becomes=State.BACKOFF)


def test_more_time_is_given_for_a_start():
    web = Story(ready=Ready(notify=True, timeout=10.0))
    web.starts()
    web.hears(Spawned(1))
    web.passes(9)
    web.hears(TimeAsked(1, 0.5))
    web.hears(TimeAsked(1, 20))
    web.waits(20, does=[Terminate(1)], becomes=State.STOPPING)


def test_more_time_is_given_for_a_stop_until_the_operator_is_impatient():
    web = Story(stop=Stop(timeout=10.0))
    web.runs()
    web.hears(StopAsked(), does=[Terminate(1)], becomes=State.STOPPING)
    web.hears(TimeAsked(1, 60))
    assert web.pause == 60
    web.hears(StopHurried(1.0))
    web.hears(TimeAsked(1, 60))
    web.waits(1, does=[Kill(1)])
    web.hears(TimeAsked(1, 60))
    web.waits(5, does=[Kill(1)])


def test_more_time_is_given_for_a_heartbeat():
    web = Story(watchdog=3.0)
    web.runs()
    web.hears(TimeAsked(1, 60))
    web.waits(3)
    web.waits(57, does=[Terminate(1)], becomes=State.STOPPING)


def test_no_time_is_given_to_who_only_has_to_live_for_so_long():
    web = Story(ready=Ready(after=2.0))
    web.starts()
    web.hears(Spawned(1))
    web.hears(TimeAsked(1, 60))
    web.waits(2, becomes=State.RUNNING)

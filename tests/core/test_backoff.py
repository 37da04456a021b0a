"""How long a replica waits after a failure, and when it gives up."""

import pytest

from supervisor.core.events import (
    DeadlineReached,
    Exited,
    Gone,
    Kill,
    RestartAsked,
    SpawnFailed,
    StartAsked,
    StopAsked,
    Terminate,
)
from supervisor.core.service import State
from supervisor.core.spec import Backoff, Restart, StartLimit

from .story import NOW, STEADY, Story


@pytest.mark.parametrize(
    ("failures", "pause"),
    [(1, 0.2), (2, 0.4), (3, 0.8), (9, 51.2), (10, 60.0), (30, 60.0), (1_000_000, 60.0)],
)
def test_f45_the_pause_doubles_up_to_its_limit(failures, pause):
    assert Backoff(jitter=0).delay(failures, dice=0.5) == pytest.approx(pause)


@pytest.mark.parametrize(
    ("backoff", "failures", "pause"),
    [
        (Backoff(first=1, factor=1, jitter=0), 50, 1),
        (Backoff(first=1, factor=3, jitter=0), 4, 27),
        (Backoff(first=5, limit=2, jitter=0), 1, 2),
        (Backoff(first=0, jitter=0), 50, 0),
        (Backoff(first=0, factor=1e300, jitter=0), 50, 0),
        (Backoff(factor=1e300, jitter=0), 50, 60),
        (Backoff(factor=1.01, jitter=0), 2000, 60),
    ],
)
def test_f45_the_pause_grows_by_its_factor_whatever_that_is(backoff, failures, pause):
    assert backoff.delay(failures, dice=0.5) == pytest.approx(pause)


@pytest.mark.parametrize(("dice", "pause"), [(0.0, 10.0), (0.5, 12.5), (0.999, 14.995)])
def test_f45_jitter_adds_a_share_of_the_pause(dice, pause):
    assert Backoff(first=10, jitter=0.5).delay(1, dice) == pytest.approx(pause)


def pauses(**options):
    web = Story(backoff=Backoff(jitter=1.0), **options)
    found = []
    for _ in range(4):
        web.runs()
        web.ends(1, becomes=State.BACKOFF)
        found.append(web.service.deadline - web.now)
        web.waits(found[-1])
    return found


def test_f45_chance_is_the_same_at_every_replay_and_another_for_every_run():
    assert pauses(seed=7) == pauses(seed=7)
    assert pauses(seed=7) != pauses(seed=8)
    shares = {pause / Backoff().delay(n + 1, 0) for n, pause in enumerate(pauses(seed=7))}
    assert len(shares) == 4


def test_f45_a_crash_loop_slows_down_to_the_limit():
    web = Story()
    starts = []
    while web.now < NOW + 3600:
        web.runs(seconds=0.01)
        starts.append(web.now)
        web.crashes()
    assert len(starts) < 80
    assert starts[-1] - starts[-2] == pytest.approx(60.01)


def test_a_good_life_makes_earlier_failures_forgotten():
    web = Story()
    for _ in range(3):
        web.runs()
        web.crashes()
    web.runs()
    web.waits(10)
    web.ends(1, becomes=State.BACKOFF)
    web.waits(0.2)


@pytest.mark.parametrize("leftovers", [True, False])
def test_a_good_life_is_forgiven_also_where_nobody_looked_at_the_clock(leftovers):
    web = Story()
    for _ in range(3):
        web.runs()
        web.crashes()
    web.runs(seconds=30)
    if leftovers:
        web.hears(Exited(4, 1), does=[Kill(4)], becomes=State.STOPPING)
    web.ends(1, becomes=State.BACKOFF)
    web.waits(0.2)


def test_a_life_that_is_a_little_too_short_is_not_forgiven():
    web = Story()
    web.runs()
    web.crashes()
    web.runs(seconds=9.9)
    web.ends(1, becomes=State.BACKOFF)
    web.waits(0.4)


def test_time_spent_on_clearing_leftovers_is_no_good_life():
    web = Story()
    web.runs()
    web.crashes()
    web.runs()
    web.hears(Exited(2, 1), does=[Kill(2)], becomes=State.STOPPING)
    web.waits(5, does=[Kill(2)])
    web.waits(5, does=[Kill(2)])
    web.ends(1, becomes=State.BACKOFF)
    web.waits(0.4)


def test_a_good_end_is_forgotten_as_a_failure():
    web = Story(restart=Restart.ON_FAILURE)
    web.runs()
    web.crashes()
    web.runs()
    web.ends(0, becomes=State.EXITED)
    assert web.service.failures == 0


def test_restarts_count_the_starts_that_no_operator_asked_for():
    web = Story()
    web.runs()
    web.crashes()
    web.runs()
    web.crashes()
    web.runs()
    assert web.service.restarts == 2
    web.hears(RestartAsked(), does=[Terminate(3)], becomes=State.STOPPING)
    web.hears(Gone(3, -15), becomes=State.STOPPED)
    web.is_allowed()
    assert web.service.restarts == 2


def test_an_operator_who_stops_and_starts_begins_afresh_however_quick_he_is():
    web = Story()
    for _ in range(4):
        web.runs()
        web.crashes()
    web.runs()
    web.hears(StopAsked(), does=[Terminate(5)], becomes=State.STOPPING)
    web.hears(StartAsked())
    web.hears(Gone(5, -15), becomes=State.STOPPED)
    web.runs()
    web.ends(1, becomes=State.BACKOFF)
    web.waits(0.2)


LIMIT = StartLimit(starts=3, within=60)


def test_a_start_limit_allows_so_many_starts_and_no_more():
    web = Story(start_limit=LIMIT)
    for _ in range(2):
        web.runs()
        web.crashes()
    web.runs()
    web.ends(1, becomes=State.FATAL)
    assert web.service.run == 3
    assert web.pause is None


def test_spawns_that_fail_count_against_the_start_limit():
    web = Story(start_limit=LIMIT)
    web.starts()
    for run in (1, 2):
        web.hears(SpawnFailed(run, "cannot"), becomes=State.BACKOFF)
        web.waits(web.service.deadline - web.now)
        web.is_allowed()
    web.hears(SpawnFailed(3, "cannot"), becomes=State.FATAL)


def test_starts_that_are_long_past_do_not_count():
    web = Story(start_limit=LIMIT)
    for _ in range(20):
        web.runs(seconds=31)
        web.crashes()
    assert len(web.service.starts) == 3


def test_the_pause_before_the_next_start_counts_towards_the_time_of_the_limit():
    web = Story(start_limit=StartLimit(starts=1, within=10), backoff=Backoff(first=30, jitter=0))
    web.runs(seconds=1)
    web.ends(1, becomes=State.BACKOFF)
    web.waits(30)


def test_an_operator_who_starts_what_has_failed_for_good_begins_afresh():
    web = Story(start_limit=LIMIT)
    for _ in range(2):
        web.runs()
        web.crashes()
    web.runs()
    web.ends(1, becomes=State.FATAL)
    web.starts()
    web.ends(1, becomes=State.BACKOFF)
    web.waits(0.2)


def test_restarts_by_an_operator_do_not_count_against_the_start_limit():
    web = Story(start_limit=LIMIT)
    web.runs()
    for run in (1, 2, 3, 4):
        web.hears(RestartAsked(), does=[Terminate(run)], becomes=State.STOPPING)
        web.hears(Gone(run, -15), becomes=State.STOPPED)
        web.runs()
    web.ends(1, becomes=State.BACKOFF)


@pytest.mark.parametrize("shift", [0.0, -3600.0, 1e9])
def test_f68_only_the_time_that_is_handed_in_counts(shift):
    web = Story(now=1e6 + shift, backoff=STEADY)
    web.runs()
    for pause in (0.2, 0.4, 0.8):
        web.ends(1, becomes=State.BACKOFF)
        web.now = web.service.deadline - pause
        web.hears(DeadlineReached())
        web.waits(pause)
        web.runs(seconds=1)

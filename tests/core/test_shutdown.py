"""Who stops when: dependents first, in parallel otherwise, and all within one deadline."""

import pytest

from supervisor.core.events import (
    Gone,
    Heard,
    Kill,
    RestartWanted,
    ShutdownWanted,
    Spawn,
    StartWanted,
    StopWanted,
    Terminate,
    TimePassed,
)
from supervisor.core.service import State
from supervisor.core.spec import Condition, Restart, StartLimit, Stop, Then

from .crew import Crew, service


def stack(**options):
    """Return a running crew: two webs need an app and a cache, and these need a db."""
    crew = Crew(
        service("db", **options),
        service("app", "db", **options),
        service("cache", "db", **options),
        service("web", "app", "cache", replicas=2, **options),
    )
    crew.all_run()
    return crew


def test_f50_dependents_stop_first_and_those_of_one_level_at_the_same_time():
    crew = stack()
    crew.hears(ShutdownWanted(), does={"web/0": Terminate(1), "web/1": Terminate(1)})
    crew.gone("web/1")
    crew.gone("web/0", does={"cache/0": Terminate(1), "app/0": Terminate(1)})
    crew.gone("app/0")
    crew.gone("cache/0", does={"db/0": Terminate(1)})
    crew.gone("db/0", leaves=0)


def test_f50_a_hundred_that_ignore_term_are_killed_together():
    crew = Crew(service("web", replicas=100))
    crew.all_run()
    crew.hears(ShutdownWanted(), does=dict.fromkeys(crew.keys, Terminate(1)))
    crew.waits(10, does=dict.fromkeys(crew.keys, Kill(1)))


def test_f50_the_whole_shutdown_has_one_deadline_however_long_the_chain():
    options = {"stop": Stop(timeout=9.5)}
    crew = Crew(*[service(f"s{n}", *[f"s{n - 1}"][: n > 0], **options) for n in range(20)])
    crew.all_run()
    crew.hears(ShutdownWanted(), does={"s19/0": Terminate(1)})
    began = crew.now
    while crew.now < began + 79:
        crew.now = min(crew.supervisor.next_deadline(), began + 79)
        for key, action in crew.done(TimePassed()):
            if action == Kill(1):
                crew.done(Heard(key, Gone(1, -9)))
    left = [key for key in crew.keys if not crew.supervisor.services[key].at_rest]
    assert len(left) == 12
    crew.waits(1, does=dict.fromkeys(left, Kill(1)))
    for key in left[1:]:
        crew.gone(key, -9)
    crew.gone(left[0], -9, leaves=0)


def test_f50_what_cannot_be_killed_does_not_hold_keepd_for_ever():
    crew = stack(stop=Stop(timeout=600))
    crew.hears(ShutdownWanted(), does={"web/0": Terminate(1), "web/1": Terminate(1)})
    kills = {key: Kill(1) for key in crew.keys}
    crew.waits(80, does=kills)
    crew.waits(5, does=kills, leaves=1)
    assert crew.supervisor.next_deadline() == crew.now + 5
    crew.waits(5, does=kills)


def test_f50_the_order_holds_across_a_job_that_is_done_already():
    crew = Crew(
        service("web", ("setup", Condition.COMPLETED)),
        service("setup", "db", restart=Restart.NEVER),
        service("db"),
    )
    crew.hears(StartWanted(crew.keys), does={"db/0": Spawn(1)})
    crew.born("db/0", does={"setup/0": Spawn(1)})
    crew.gone("setup/0", 0, does={"web/0": Spawn(1)})
    crew.born("web/0")
    crew.hears(ShutdownWanted(), does={"web/0": Terminate(1)})
    crew.gone("web/0", does={"db/0": Terminate(1)})
    crew.gone("db/0", leaves=0)


def test_f50_a_chain_of_5000_stops_from_its_top():
    last = 5_000
    crew = Crew(*[service(f"s{n}", *[f"s{n - 1}"][: n > 0]) for n in range(last + 1)])
    crew.all_run()
    crew.hears(ShutdownWanted(), does={f"s{last}/0": Terminate(1)})
    for n in range(last, 0, -1):
        crew.gone(f"s{n}/0", does={f"s{n - 1}/0": Terminate(1)})
    crew.gone("s0/0", leaves=0)


def test_a_stop_of_some_leaves_the_others_alone():
    crew = stack()
    crew.hears(StopWanted(("app/0", "web/1")), does={"web/1": Terminate(1)})
    crew.gone("web/1", does={"app/0": Terminate(1)})
    crew.gone("app/0")
    assert crew.all_in(State.RUNNING) == ["db/0", "cache/0", "web/0"]


def test_a_dependent_that_ends_by_itself_holds_nobody():
    crew = stack()
    crew.hears(StopWanted(crew.keys), does={"web/0": Terminate(1), "web/1": Terminate(1)})
    crew.gone("cache/0", 1)
    crew.gone("web/0")
    crew.gone("web/1", does={"app/0": Terminate(1)})
    crew.gone("app/0", does={"db/0": Terminate(1)})


def test_f49_a_start_while_the_dependents_still_stop_takes_the_stop_back():
    crew = stack()
    crew.hears(StopWanted(crew.keys), does={"web/0": Terminate(1), "web/1": Terminate(1)})
    crew.hears(StartWanted(("app/0",)))
    crew.gone("web/0")
    crew.gone("web/1", does={"cache/0": Terminate(1)})
    crew.gone("cache/0")
    assert crew.all_in(State.RUNNING) == ["db/0", "app/0"]


def test_f49_a_start_of_what_stops_keeps_what_it_needs():
    crew = stack()
    crew.hears(StopWanted(crew.keys), does={"web/0": Terminate(1), "web/1": Terminate(1)})
    crew.hears(StartWanted(("web/0",)))
    crew.gone("web/1")
    crew.gone("web/0", does={"web/0": Spawn(2)})
    assert crew.all_in(State.RUNNING) == ["db/0", "app/0", "cache/0"]


def test_f49_a_stop_of_what_waits_for_its_turn_is_a_stop():
    crew = Crew(service("web", "db"), service("db"))
    crew.hears(StartWanted(("web/0",)), does={"db/0": Spawn(1)})
    crew.hears(StopWanted(("web/0",)))
    crew.born("db/0")
    assert crew.state("web/0") is State.STOPPED


def test_f22_a_second_signal_shortens_every_wait_and_a_third_kills():
    crew = stack(stop=Stop(timeout=60))
    crew.hears(ShutdownWanted(), does={"web/0": Terminate(1), "web/1": Terminate(1)})
    rest = {key: Terminate(1) for key in ("db/0", "app/0", "cache/0")}
    crew.hears(ShutdownWanted(patience=3.0), does=rest)
    crew.waits(3, does={key: Kill(1) for key in crew.keys})
    crew.hears(ShutdownWanted(patience=0.0), does={key: Kill(1) for key in crew.keys})
    for key in crew.keys[:-1]:
        crew.gone(key, -9)
    crew.gone(crew.keys[-1], -9, leaves=0)


def test_f22_a_third_signal_kills_at_once_and_leaves_soon_whatever_happens():
    crew = stack()
    kills = {key: Kill(1) for key in crew.keys}
    crew.hears(ShutdownWanted(patience=0.0), does=kills)
    crew.hears(ShutdownWanted(patience=0.0), does=kills)
    crew.waits(5, does={key: Kill(1) for key in crew.keys}, leaves=1)


def test_f22_impatience_again_and_again_does_not_put_off_the_end():
    crew = stack()
    began = crew.now
    leaves = []
    while not leaves:
        outputs = crew.supervisor.handle(ShutdownWanted(patience=0.0), crew.now)
        outputs += crew.supervisor.handle(TimePassed(), crew.now)
        leaves = [output for output in outputs if hasattr(output, "code")]
        crew.now += 1
    assert crew.now - began <= 6


@pytest.mark.parametrize("patience", [None, 3.0, 0.0])
@pytest.mark.parametrize("kind", [StartWanted, RestartWanted])
def test_f22_a_start_does_not_cancel_a_shutdown(kind, patience):
    crew = stack()
    crew.supervisor.handle(ShutdownWanted(patience), crew.now)
    crew.hears(kind(crew.keys))
    for key in ("web/0", "web/1", "cache/0", "app/0"):
        crew.done(Heard(key, Gone(1, -15)))
    crew.gone("db/0", leaves=0)
    crew.hears(kind(crew.keys))


def test_f22_a_shutdown_cancels_a_restart_that_is_under_way():
    crew = Crew(service("web"))
    crew.all_run()
    crew.hears(RestartWanted(("web/0",)), does={"web/0": Terminate(1)})
    crew.hears(ShutdownWanted())
    crew.gone("web/0", leaves=0)


def test_f22_impatience_after_the_end_is_not_answered_and_wakes_nobody():
    crew = Crew(service("web"))
    crew.hears(ShutdownWanted(), leaves=0)
    crew.hears(ShutdownWanted())
    crew.hears(ShutdownWanted(patience=0.0))
    assert crew.supervisor.next_deadline() is None


@pytest.mark.parametrize("patience", [None, 3.0, 0.0])
def test_a_shutdown_where_nothing_runs_leaves_at_once(patience):
    Crew(service("web"), service("db")).hears(ShutdownWanted(patience), leaves=0)


def test_a_shutdown_does_not_wait_for_pauses():
    crew = Crew(service("web"))
    crew.all_run()
    crew.gone("web/0", 1)
    crew.hears(ShutdownWanted(), leaves=0)
    assert crew.supervisor.next_deadline() is None


def test_keepd_does_not_leave_unless_it_is_told_to():
    crew = Crew(service("setup", restart=Restart.NEVER))
    crew.hears(StartWanted(("setup/0",)), does={"setup/0": Spawn(1)})
    crew.gone("setup/0", 0)
    crew.hears(StopWanted(("setup/0",)))


def test_a_start_limit_that_ends_all_stops_the_others_in_order_and_leaves_with_1():
    limit = StartLimit(starts=2, then=Then.EXIT)
    crew = Crew(service("app", "db"), service("db"), service("web", start_limit=limit))
    crew.all_run()
    crew.gone("web/0", 1)
    crew.waits(0.2, does={"web/0": Spawn(2)})
    crew.gone("web/0", 1, does={"app/0": Terminate(1)})
    crew.gone("app/0", does={"db/0": Terminate(1)})
    crew.gone("db/0", leaves=1)


def test_a_start_limit_that_fails_only_its_service_leaves_the_others_alone():
    crew = Crew(service("db"), service("web", start_limit=StartLimit(starts=1)))
    crew.all_run()
    crew.gone("web/0", 1)
    assert crew.state("web/0") is State.FATAL
    assert crew.state("db/0") is State.RUNNING


def test_a_job_that_fails_for_good_is_no_start_limit_and_ends_nobody():
    limit = StartLimit(starts=5, then=Then.EXIT)
    crew = Crew(service("db"), service("job", restart=Restart.NEVER, start_limit=limit))
    crew.all_run()
    crew.gone("job/0", 1)
    assert crew.state("job/0") is State.FATAL
    assert crew.state("db/0") is State.RUNNING

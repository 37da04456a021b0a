"""A master is killed: how the next one goes on from what was noted."""

import json

import pytest

from supervisor.core.events import (
    Adopt,
    BecameReady,
    Do,
    Exited,
    Gone,
    Heard,
    Kill,
    Noted,
    RestartWanted,
    ShutdownWanted,
    Spawn,
    Spawned,
    SpawnFailed,
    StartWanted,
    StopWanted,
    Terminate,
    TimeAsked,
    TimePassed,
)
from supervisor.core.service import State
from supervisor.core.spec import Backoff, Ready, Restart, StartLimit

from .crew import service
from .kept import Kept

TCP = Ready(tcp="localhost:80")


def job(name="web", *needs, **options):
    return service(name, *needs, restart=Restart.NEVER, **options)


def running(*specs, **options):
    crew = Kept(*specs, **options)
    crew.all_run()
    return crew


def failed(crew, key="web/0", times=1):
    crew.gone(key, 1)
    for run in range(2, times + 1):
        crew.waits(crew.supervisor.next_deadline() - crew.now, does={key: Spawn(run)})
        crew.born(key)
        crew.gone(key, 1)


def test_what_runs_is_looked_after_and_neither_ended_nor_started():
    crew = running(service("web", "db"), service("db"))
    crew.is_killed(away=100, does={"web/0": [Adopt(1)], "db/0": [Adopt(1)]})
    assert crew.all_in(State.RUNNING) == ["web/0", "db/0"]
    assert crew.supervisor.next_deadline() is None


def test_what_has_ended_meanwhile_is_a_failure_and_starts_again_after_its_pause():
    crew = running(service("web"))
    crew.is_killed(does={"web/0": [Adopt(1)]})
    crew.gone("web/0", None)
    crew.waits(0.2, does={"web/0": Spawn(2)})


def test_a_pause_goes_on_and_failures_are_counted_on():
    crew = running(service("web"))
    failed(crew, times=3)
    crew.is_killed(away=0.3)
    assert crew.replica().failures == 3
    crew.waits(0.5, does={"web/0": Spawn(4)})
    crew.born("web/0")
    crew.gone("web/0", 1)
    crew.waits(1.6, does={"web/0": Spawn(5)})


def test_a_pause_that_ends_while_nobody_is_there_is_over():
    crew = running(service("web"))
    failed(crew)
    crew.is_killed(away=60)
    crew.hears(TimePassed(), does={"web/0": Spawn(2)})


def test_failures_are_forgotten_after_a_good_life_with_the_next_master():
    crew = running(service("web"))
    failed(crew, times=2)
    crew.waits(0.4, does={"web/0": Spawn(3)})
    crew.born("web/0")
    crew.is_killed(away=5, does={"web/0": [Adopt(3)]})
    assert crew.replica().failures == 2
    crew.waits(10)
    assert crew.replica().failures == 0
    crew.is_killed(does={"web/0": [Adopt(3)]})
    assert crew.replica().failures == 0


def test_a_good_life_is_not_counted_anew_by_each_master_that_finds_it():
    crew = running(service("web"))
    failed(crew, times=2)
    crew.waits(0.4, does={"web/0": Spawn(3)})
    crew.born("web/0")
    for _ in range(3):
        crew.is_killed(away=3, does={"web/0": [Adopt(3)]})
        crew.hears(Heard("web/0", Spawned(3)))
        assert crew.replica().failures == 2
    crew.waits(1)
    assert crew.replica().failures == 0


def test_a_start_gets_its_whole_time_again_and_readiness_is_heard():
    crew = Kept(service("web", ready=TCP))
    crew.hears(StartWanted(crew.keys), does={"web/0": Spawn(1)})
    crew.born("web/0")
    crew.is_killed(away=100, does={"web/0": [Adopt(1)]})
    crew.hears(TimePassed())
    assert crew.supervisor.next_deadline() == crew.now + 30
    crew.ready("web/0")
    assert crew.state("web/0") is State.RUNNING


def test_a_start_that_has_asked_for_more_time_keeps_it():
    crew = Kept(service("web", ready=TCP))
    crew.hears(StartWanted(crew.keys), does={"web/0": Spawn(1)})
    crew.born("web/0")
    crew.hears(Heard("web/0", TimeAsked(1, 600.0)))
    crew.is_killed(away=100, does={"web/0": [Adopt(1)]})
    crew.waits(500, does={"web/0": Terminate(1)})


def test_readiness_by_delay_counts_the_time_in_which_nobody_was_there():
    crew = Kept(service("web", ready=Ready(after=3.0)))
    crew.hears(StartWanted(crew.keys), does={"web/0": Spawn(1)})
    crew.born("web/0")
    crew.is_killed(away=2, does={"web/0": [Adopt(1)]})
    crew.waits(1)
    assert crew.state("web/0") is State.RUNNING


@pytest.mark.parametrize("last", [SpawnFailed(1, "keepd was killed"), Gone(1, None)])
def test_a_birth_that_was_cut_short_is_tried_again_after_a_pause(last):
    crew = Kept(service("web"))
    crew.hears(StartWanted(crew.keys), does={"web/0": Spawn(1)})
    crew.is_killed(does={"web/0": [Adopt(1)]})
    crew.hears(Heard("web/0", last))
    crew.waits(0.2, does={"web/0": Spawn(2)})


@pytest.mark.parametrize("last", [SpawnFailed(1, "keepd was killed"), Gone(1, None)])
@pytest.mark.parametrize("born", [True, False])
def test_a_job_of_which_nobody_knows_how_it_ended_is_never_run_again(last, born):
    crew = Kept(job())
    crew.hears(StartWanted(crew.keys), does={"web/0": Spawn(1)})
    if born:
        crew.born("web/0")
    crew.is_killed(does={"web/0": [Adopt(1)]})
    crew.hears(Heard("web/0", last))
    assert crew.state("web/0") is State.FATAL
    crew.is_killed(away=100)
    assert (crew.state("web/0"), crew.supervisor.next_deadline()) == (State.FATAL, None)


def test_a_job_whose_code_was_noted_is_done_whatever_is_told_of_its_end():
    crew = running(job())
    crew.hears(Heard("web/0", Exited(1, 0)), does={"web/0": Kill(1)})
    crew.is_killed(does={"web/0": [Adopt(1), Kill(1)]})
    crew.gone("web/0", None)
    assert crew.state("web/0") is State.EXITED
    crew.is_killed()
    assert (crew.state("web/0"), crew.replica().last.code) == (State.EXITED, 0)


def test_what_is_done_counts_for_those_that_wait_for_it():
    crew = Kept(service("web", ("job", "completed"), ready=TCP), job("job"))
    crew.hears(StartWanted(("web/0",)), does={"job/0": Spawn(1)})
    crew.born("job/0")
    crew.is_killed(does={"job/0": [Adopt(1)]})
    crew.is_killed(does={"job/0": [Adopt(1)]})
    crew.gone("job/0", 0, does={"web/0": Spawn(1)})


def test_a_stop_is_told_again_and_its_patience_goes_on():
    crew = running(service("web"))
    crew.hears(StopWanted(crew.keys), does={"web/0": Terminate(1)})
    crew.is_killed(away=4, does={"web/0": [Adopt(1), Terminate(1)]})
    crew.waits(6, does={"web/0": Kill(1)})
    crew.is_killed(does={"web/0": [Adopt(1), Kill(1)]})
    crew.waits(5, does={"web/0": Kill(1)})
    crew.gone("web/0")
    crew.is_killed(away=100)
    assert (crew.state("web/0"), crew.replica().wanted) == (State.STOPPED, False)


def test_what_was_hurried_gets_the_patience_that_it_was_given_and_no_less():
    crew = running(service("web"))
    crew.hears(ShutdownWanted(3.0), does={"web/0": Terminate(1)})
    crew.is_killed(away=1, shutdown=True, does={"web/0": [Adopt(1), Terminate(1)]})
    crew.waits(2, does={"web/0": Kill(1)})


def test_why_a_run_was_ended_is_remembered_as_a_failure():
    crew = Kept(service("web", ready=TCP))
    crew.hears(StartWanted(crew.keys), does={"web/0": Spawn(1)})
    crew.born("web/0")
    crew.waits(30, does={"web/0": Terminate(1)})
    crew.is_killed(does={"web/0": [Adopt(1), Terminate(1)]})
    crew.gone("web/0", 0)
    assert (crew.state("web/0"), crew.replica().failures) == (State.BACKOFF, 1)
    assert crew.replica().last.reason == "not ready in time"


def test_what_ended_too_soon_is_no_restart_by_an_operator_afterwards():
    crew = running(service("web"))
    failed(crew, times=2)
    crew.waits(0.4, does={"web/0": Spawn(3)})
    crew.born("web/0")
    crew.hears(Heard("web/0", Exited(3, 1)), does={"web/0": Kill(3)})
    crew.is_killed(does={"web/0": [Adopt(3), Kill(3)]})
    crew.gone("web/0", None)
    assert (crew.state("web/0"), crew.replica().failures) == (State.BACKOFF, 3)


def test_an_ordered_stop_goes_on_in_its_order():
    crew = running(service("web", "app"), service("app", "db"), service("db"))
    crew.hears(StopWanted(crew.keys), does={"web/0": Terminate(1)})
    doing = {"web/0": [Adopt(1), Terminate(1)], "app/0": [Adopt(1)], "db/0": [Adopt(1)]}
    crew.is_killed(does=doing)
    crew.gone("web/0", does={"app/0": Terminate(1)})
    doing = {"app/0": [Adopt(1), Terminate(1)], "db/0": [Adopt(1)]}
    crew.is_killed(does=doing)
    crew.gone("app/0", does={"db/0": Terminate(1)})
    crew.gone("db/0")
    assert crew.all_in(State.STOPPED) == list(crew.keys)


def test_a_shutdown_goes_on_and_starts_nothing_that_was_due():
    crew = running(service("web", "db"), service("db"), service("job", backoff=Backoff(first=0)))
    crew.hears(Heard("db/0", Exited(1, 1)), does={"db/0": Kill(1)})
    crew.hears(RestartWanted(("job/0",)), does={"job/0": Terminate(1)})
    doing = {"db/0": [Adopt(1), Kill(1)], "web/0": [Adopt(1)], "job/0": [Adopt(1), Terminate(1)]}
    crew.is_killed(does=doing, then={"web/0": Terminate(1)}, shutdown=True)
    crew.gone("db/0")
    crew.gone("job/0")
    crew.gone("web/0", leaves=0)


def test_a_restart_by_plan_that_was_cut_short_goes_on_in_its_order():
    old = [service("web", "db"), service("db")]
    crew = running(*old)
    new = [service("web", "db", command=("2",)), service("db", command=("2",))]
    crew.reload(*new, does={"web/0": Terminate(1)})
    doing = {"web/0": [Adopt(1), Terminate(1)], "db/0": [Adopt(1)]}
    crew.is_killed(born_with={spec.name: (spec,) for spec in old}, does=doing)
    crew.gone("web/0", does={"db/0": Terminate(1)})
    crew.gone("db/0", does={"db/0": Spawn(2)})
    crew.born("db/0", does={"web/0": Spawn(2)})
    assert crew.replica().spec == new[0]


def test_what_is_due_waits_for_the_plan_and_starts_as_what_that_says():
    old, new = service("web"), service("web", command=("2",))
    crew = running(old)
    failed(crew)
    crew.plan = {"web": (new,)}
    crew.is_killed(away=60, born_with={"web": (old,)}, then={"web/0": Spawn(2)})
    assert crew.replica().spec == new


def test_what_is_removed_is_stopped_and_forgotten_and_counts_on_if_it_comes_again():
    specs = [service("web"), service("db")]
    crew = running(*specs)
    crew.reload(specs[0], does={"db/0": Terminate(1)})
    doing = {"web/0": [Adopt(1)], "db/0": [Adopt(1), Terminate(1)]}
    crew.is_killed(born_with={spec.name: (spec,) for spec in specs}, does=doing)
    crew.gone("db/0")
    assert crew.keys == ("web/0",)
    crew.is_killed(does={"web/0": [Adopt(1)]})
    crew.reload(*specs, does={"db/0": Spawn(2)})


def test_one_that_is_put_back_while_it_leaves_is_started_by_the_next_master():
    specs = [service("web"), service("db")]
    crew = running(*specs)
    crew.reload(specs[0], does={"db/0": Terminate(1)})
    crew.plan = {spec.name: (spec,) for spec in specs}  # the word of it was not noted any more
    crew.is_killed(does={"web/0": [Adopt(1)], "db/0": [Adopt(1), Terminate(1)]})
    crew.gone("db/0", does={"db/0": Spawn(2)})


def test_a_replica_added_to_a_stopped_service_stays_stopped():
    crew = running(service("web"), service("db"))
    crew.hears(StopWanted(("web/0",)), does={"web/0": Terminate(1)})
    crew.gone("web/0")
    crew.reload(service("web", replicas=2), service("db"))
    assert "web/1" in crew.notes
    crew.hears(StartWanted(("web/0",)), does={"web/0": Spawn(2)})
    crew.is_killed(does={"web/0": [Adopt(2)], "db/0": [Adopt(1)]})
    assert crew.state("web/1") is State.STOPPED


def test_starts_are_counted_on_for_the_limit():
    limit = StartLimit(starts=3, within=60)
    crew = running(service("web", start_limit=limit))
    for run in (2, 3):
        crew.gone("web/0", 1)
        crew.is_killed()
        crew.waits(crew.supervisor.next_deadline() - crew.now, does={"web/0": Spawn(run)})
        crew.born("web/0")
        crew.is_killed(does={"web/0": [Adopt(run)]})
    crew.gone("web/0", 1)
    assert crew.state("web/0") is State.FATAL


def test_a_restart_that_is_asked_for_while_it_stops_clears_the_limit_for_the_next_master():
    crew = running(service("web", start_limit=StartLimit(starts=1, within=60)))
    crew.hears(RestartWanted(("web/0",)), does={"web/0": Terminate(1)})
    assert crew.replica().starts == ()
    crew.is_killed(does={"web/0": [Adopt(1), Terminate(1)]})
    crew.gone("web/0", does={"web/0": Spawn(2)})


def test_a_birth_is_noted_before_it_begins():
    crew = Kept(service("web"), service("db"))
    outputs = crew.hears(StartWanted(crew.keys), does={"web/0": Spawn(1), "db/0": Spawn(1)})
    for key in crew.keys:
        assert outputs.index(Noted(key)) < outputs.index(Do(key, Spawn(1)))
        assert json.loads(crew.notes[key])["run"] == 1


def test_a_run_that_goes_on_as_before_is_not_noted_again():
    crew = running(service("web", ready=TCP))
    for report in (Spawned(1), BecameReady(1)):
        assert crew.hears(Heard("web/0", report)) == []


def test_specs_of_several_lists_that_go_round_do_not_keep_a_master_from_starting():
    web, db = service("web", "db"), service("db", "web")
    crew = running(service("web"), db)
    born_with = {"web": (web,), "db": (db,)}
    crew.is_killed(born_with=born_with, does={"web/0": [Adopt(1)], "db/0": [Adopt(1)]})
    assert crew.supervisor.graph.needs["db"]

"""Who starts when: dependencies, replicas, and the budget of starts."""

import pytest

from supervisor.core.events import (
    BecameReady,
    Do,
    Exited,
    Gone,
    Heard,
    Kill,
    RestartWanted,
    Spawn,
    Spawned,
    SpawnFailed,
    StartWanted,
    StopWanted,
    Terminate,
    TimePassed,
)
from supervisor.core.service import State
from supervisor.core.spec import Condition, Ready, Restart, StartLimit

from .crew import Crew, service

TCP = Ready(tcp="localhost:80")


def test_a_dependent_starts_when_what_it_needs_is_born():
    crew = Crew(service("web", ("db", Condition.STARTED)), service("db", ready=TCP))
    crew.hears(StartWanted(("web/0",)), does={"db/0": Spawn(1)})
    crew.born("db/0", does={"web/0": Spawn(1)})


def test_a_dependent_starts_when_what_it_needs_is_ready():
    crew = Crew(service("web", "db"), service("db", ready=TCP))
    crew.hears(StartWanted(("web/0",)), does={"db/0": Spawn(1)})
    crew.born("db/0")
    assert crew.supervisor.waiting_for("web/0") == ["db"]
    crew.ready("db/0", does={"web/0": Spawn(1)})
    assert crew.supervisor.waiting_for("web/0") == []


def test_a_dependent_starts_when_what_it_needs_has_completed():
    job = service("setup", restart=Restart.ON_FAILURE)
    crew = Crew(service("web", ("setup", Condition.COMPLETED)), job)
    crew.hears(StartWanted(("web/0",)), does={"setup/0": Spawn(1)})
    crew.born("setup/0")
    crew.gone("setup/0", 1)
    crew.waits(0.2, does={"setup/0": Spawn(2)})
    crew.born("setup/0")
    crew.gone("setup/0", 0, does={"web/0": Spawn(1)})


def test_a_job_that_is_done_and_asks_for_no_proof_counts_as_ready():
    crew = Crew(service("web", "setup"), service("setup", restart=Restart.NEVER))
    crew.hears(StartWanted(("web/0",)), does={"setup/0": Spawn(1)})
    crew.gone("setup/0", 0, does={"web/0": Spawn(1)})


def test_f48_an_end_before_the_proof_of_readiness_is_no_readiness():
    db = service("db", ready=TCP, restart=Restart.ON_FAILURE)
    crew = Crew(service("web", "db"), db)
    crew.hears(StartWanted(("web/0",)), does={"db/0": Spawn(1)})
    crew.born("db/0")
    crew.gone("db/0", 0)
    assert crew.state("db/0") is State.EXITED
    assert crew.supervisor.waiting_for("web/0") == ["db"]


def test_a_job_that_is_done_is_not_done_again_for_its_dependents():
    job = service("setup", restart=Restart.NEVER)
    crew = Crew(service("web", ("setup", Condition.COMPLETED)), job)
    crew.hears(StartWanted(("web/0",)), does={"setup/0": Spawn(1)})
    crew.gone("setup/0", 0, does={"web/0": Spawn(1)})
    crew.hears(RestartWanted(("web/0",)), does={"web/0": Terminate(1)})
    crew.gone("web/0", does={"web/0": Spawn(2)})


def test_a_service_waits_for_all_replicas_of_what_it_needs():
    crew = Crew(service("web", "db"), service("db", replicas=3))
    crew.hears(StartWanted(("web/0",)), does={f"db/{n}": Spawn(1) for n in range(3)})
    crew.born("db/2")
    crew.born("db/0")
    crew.gone("db/0", 1)
    crew.born("db/1")
    crew.waits(0.2, does={"db/0": Spawn(2)})
    crew.born("db/0", does={"web/0": Spawn(1)})


def test_a_diamond_starts_from_its_foot_and_each_once():
    crew = Crew(
        service("web", "app", "cache"),
        service("app", "db"),
        service("cache", "db"),
        service("db"),
    )
    crew.hears(StartWanted(crew.keys), does={"db/0": Spawn(1)})
    crew.born("db/0", does={"app/0": Spawn(1), "cache/0": Spawn(1)})
    crew.born("cache/0")
    crew.born("app/0", does={"web/0": Spawn(1)})


def test_only_what_is_needed_is_started_with_it():
    crew = Crew(service("web", "db"), service("db"), service("mail"))
    crew.hears(StartWanted(("web/0",)), does={"db/0": Spawn(1)})
    crew.born("db/0", does={"web/0": Spawn(1)})
    assert crew.state("mail/0") is State.STOPPED


def test_a_dependency_is_looked_at_again_before_every_start():
    crew = Crew(service("web", "db"), service("db"))
    crew.all_run()
    crew.gone("db/0", 1)
    crew.gone("web/0", 1)
    crew.hears(StopWanted(("db/0",)))
    crew.waits(0.2)
    assert crew.supervisor.waiting_for("web/0") == ["db"]
    crew.hears(StartWanted(("db/0",)), does={"db/0": Spawn(2)})
    crew.born("db/0", does={"web/0": Spawn(2)})


def test_a_dependency_that_is_lost_while_its_dependent_waits_for_room_is_waited_for():
    crew = Crew(service("web", "db"), service("db"), service("slow", ready=TCP), budget=1)
    crew.hears(StartWanted(("db/0",)), does={"db/0": Spawn(1)})
    crew.born("db/0")
    crew.hears(StartWanted(("slow/0",)), does={"slow/0": Spawn(1)})
    crew.hears(StartWanted(("web/0",)))
    crew.gone("db/0", 1)
    crew.ready("slow/0")
    assert crew.supervisor.waiting_for("web/0") == ["db"]


def test_a_failure_of_what_it_needs_leaves_a_running_dependent_alone():
    crew = Crew(service("web", "db"), service("db"))
    crew.all_run()
    crew.gone("db/0", 1)
    assert crew.state("web/0") is State.RUNNING


def test_a_start_brings_back_what_it_needs_and_has_failed_for_good():
    once = StartLimit(starts=1)
    crew = Crew(service("web", "db"), service("db", start_limit=once))
    crew.hears(StartWanted(("web/0",)), does={"db/0": Spawn(1)})
    crew.gone("db/0", 1)
    assert crew.state("db/0") is State.FATAL
    crew.hears(StartWanted(("web/0",)), does={"db/0": Spawn(2)})
    crew.born("db/0", does={"web/0": Spawn(1)})


def test_a_start_of_one_replica_leaves_those_beside_it_down():
    crew = Crew(service("web", "db", replicas=3), service("db", replicas=2))
    crew.hears(StartWanted(("web/1",)), does={"db/0": Spawn(1), "db/1": Spawn(1)})
    crew.born("db/0")
    crew.born("db/1", does={"web/1": Spawn(1)})
    assert crew.all_in(State.STOPPED) == ["web/0", "web/2"]


def test_a_restart_of_one_replica_does_not_bring_back_those_that_were_stopped():
    crew = Crew(service("web", replicas=2))
    crew.all_run()
    crew.hears(StopWanted(("web/1",)), does={"web/1": Terminate(1)})
    crew.gone("web/1")
    crew.hears(RestartWanted(("web/0",)), does={"web/0": Terminate(1)})
    crew.gone("web/0", does={"web/0": Spawn(2)})


def test_a_start_brings_back_a_server_it_needs_that_has_ended_well():
    crew = Crew(service("web", "db"), service("db", ready=TCP, restart=Restart.ON_FAILURE))
    crew.all_run()
    crew.gone("db/0", 0)
    crew.gone("web/0", 1)
    crew.hears(StartWanted(("web/0",)), does={"db/0": Spawn(2)})
    crew.ready("db/0", does={"web/0": Spawn(2)})


def test_a_restart_ends_and_starts_what_is_named_and_nothing_else():
    crew = Crew(service("web", "db", replicas=2), service("db"))
    crew.all_run()
    crew.hears(RestartWanted(("web/1",)), does={"web/1": Terminate(1)})
    crew.gone("web/1", does={"web/1": Spawn(2)})


def test_a_start_of_what_waits_in_backoff_does_not_wait():
    crew = Crew(service("web"))
    crew.all_run()
    crew.gone("web/0", 1)
    crew.hears(StartWanted(("web/0",)), does={"web/0": Spawn(2)})


@pytest.mark.parametrize("kind", [StartWanted, StopWanted, RestartWanted])
def test_words_about_replicas_that_do_not_exist_are_harmless(kind):
    crew = Crew(service("web"))
    crew.hears(kind(("nobody/0",)))
    crew.hears(Heard("nobody/0", Gone(1, 0)))
    assert crew.supervisor.next_deadline() is None


def test_never_more_than_the_budget_starts_at_a_time_and_all_start_at_last():
    crew = Crew(service("web", replicas=1000, ready=TCP))
    ahead = crew.done(StartWanted(crew.keys))
    assert len(ahead) == 50
    while ahead:
        assert len(crew.all_in(State.STARTING)) <= 50
        key, action = ahead.pop(0)
        crew.done(Heard(key, Spawned(action.run)))
        ahead += crew.done(Heard(key, BecameReady(action.run)))
    assert len(crew.all_in(State.RUNNING)) == 1000


def test_a_start_that_fails_or_hangs_gives_its_place_to_the_next():
    crew = Crew(service("web", replicas=3), budget=1)
    crew.hears(StartWanted(crew.keys), does={"web/0": Spawn(1)})
    crew.hears(Heard("web/0", SpawnFailed(1, "cannot")), does={"web/1": Spawn(1)})
    crew.waits(0.2)
    crew.waits(29.8, does={"web/1": Terminate(1), "web/2": Spawn(1)})
    crew.born("web/2", does={"web/0": Spawn(2)})


def test_f43_500_that_die_together_are_back_after_one_pause_not_one_after_the_other():
    crew = Crew(service("web", replicas=500), budget=500)
    crew.all_run()
    for key in crew.keys:
        crew.gone(key, -9)
    crew.now += 0.2
    outputs = crew.supervisor.handle(TimePassed(), crew.now)
    assert [o.action for o in outputs if isinstance(o, Do)] == [Spawn(2)] * 500


def test_f43_500_that_die_together_come_back_within_the_budget_without_losing_time():
    crew = Crew(service("web", replicas=500))
    crew.all_run()
    for key in crew.keys:
        crew.gone(key, -9)
    crew.now += 0.2
    ahead = crew.done(TimePassed())
    assert len(ahead) == 50
    while ahead:
        key, action = ahead.pop(0)
        ahead += crew.done(Heard(key, Spawned(action.run)))
    assert len(crew.all_in(State.RUNNING)) == 500


def test_f46_the_pause_of_one_service_delays_no_other():
    crew = Crew(service("flaky"), service("web"))
    crew.all_run()
    for pause in (0.2, 0.4, 0.8, 1.6):
        crew.gone("flaky/0", 1)
        crew.gone("web/0", 1)
        crew.hears(StartWanted(("web/0",)), does={"web/0": Spawn(crew.run("web/0") + 1)})
        crew.born("web/0")
        crew.waits(pause, does={"flaky/0": Spawn(crew.run("flaky/0") + 1)})
        crew.born("flaky/0")


def test_each_pause_ends_at_its_own_time():
    crew = Crew(service("web", replicas=3))
    crew.all_run()
    for key in crew.keys:
        crew.gone(key, 1)
        crew.now += 0.05
    crew.waits(0.05, does={"web/0": Spawn(2)})
    crew.waits(0.05, does={"web/1": Spawn(2)})
    crew.waits(0.05, does={"web/2": Spawn(2)})


def test_a_deadline_of_no_length_is_heard_in_the_same_moment():
    crew = Crew(service("web", ready=Ready(after=0.0)))
    crew.hears(StartWanted(("web/0",)), does={"web/0": Spawn(1)})
    crew.born("web/0")
    crew.waits(0)
    assert crew.state("web/0") is State.RUNNING
    assert crew.supervisor.next_deadline() is None


def test_a_flood_of_news_does_not_grow_the_list_of_deadlines():
    crew = Crew(service("web", ready=TCP))
    crew.hears(StartWanted(("web/0",)), does={"web/0": Spawn(1)})
    for _ in range(1000):
        crew.born("web/0")
        crew.hears(StartWanted(("web/0",)))
    assert len(crew.supervisor._deadlines) == 1


def test_a_crash_that_leaves_something_behind_is_no_room_for_a_second_copy():
    crew = Crew(service("web"))
    crew.all_run()
    crew.hears(Heard("web/0", Exited(1, 1)), does={"web/0": Kill(1)})
    crew.hears(StartWanted(("web/0",)))
    crew.hears(RestartWanted(("web/0",)))
    crew.gone("web/0", 1, does={"web/0": Spawn(2)})


def story(shift):
    crew = Crew(service("web", replicas=3), service("app", "web"), seed=3, now=1e6 + shift)
    told = [crew.supervisor.handle(StartWanted(crew.keys), crew.now)]
    for run in (1, 2, 3):
        for key in crew.keys:
            told.append(crew.supervisor.handle(Heard(key, Spawned(run)), crew.now))
            told.append(crew.supervisor.handle(Heard(key, Gone(run, 1)), crew.now))
        crew.now = crew.supervisor.next_deadline()
        told.append(crew.supervisor.handle(TimePassed(), crew.now))
        told.append([round(crew.supervisor.next_deadline() - 1e6 - shift, 3)])
    return told


@pytest.mark.parametrize("shift", [-3600.0, 3600.0, 1e8])
def test_f68_the_same_story_at_another_time_is_the_same_story(shift):
    assert story(shift) == story(0.0)

"""Another list while services run, as stories: what is touched, in what order, and what not."""

from supervisor.core.events import (
    Forgot,
    Gone,
    Heard,
    PlanWanted,
    ShutdownWanted,
    Spawn,
    StartWanted,
    StopWanted,
    Terminate,
)
from supervisor.core.service import State
from supervisor.core.spec import Condition, Restart, Stop
from supervisor.records import replace

from .crew import Crew, service

DB, WEB, JOBS = service("db"), service("web", "db"), service("jobs", command=("a",))


def listed(*specs):
    return PlanWanted({spec.name: (spec,) * spec.replicas for spec in specs})


def changed(spec, word="changed", **options):
    return replace(spec, command=(word,), **options)


def test_the_same_list_touches_nothing():
    crew = Crew(DB, WEB, JOBS)
    crew.all_run()
    crew.hears(listed(DB, WEB, replace(JOBS, command=("a",))), does={})


def test_only_what_changed_is_restarted_by_its_old_rules_and_as_the_new_one():
    crew = Crew(DB, WEB, JOBS)
    crew.all_run()
    new = changed(JOBS, stop=Stop(timeout=99.0))
    crew.hears(listed(DB, WEB, new), does={"jobs/0": Terminate(1)})
    jobs = crew.supervisor.services["jobs/0"]
    assert (jobs.spec, jobs.deadline) == (JOBS, crew.now + JOBS.stop.timeout)
    crew.gone("jobs/0", does={"jobs/0": Spawn(2)})
    assert (jobs.spec, jobs.restarts, jobs.failures) == (new, 0, 0)


def test_what_needs_no_restart_is_taken_over_where_it_runs():
    crew = Crew(JOBS)
    crew.all_run()
    crew.hears(listed(replace(JOBS, stop=Stop(timeout=99.0))), does={})
    crew.hears(StopWanted(crew.keys), does={"jobs/0": Terminate(1)})
    assert crew.supervisor.services["jobs/0"].deadline == crew.now + 99


def test_editing_the_number_of_replicas_touches_only_the_difference():
    two, four = replace(JOBS, replicas=2), replace(JOBS, replicas=4)
    crew = Crew(two)
    crew.all_run()
    crew.hears(listed(four), does={"jobs/2": Spawn(1), "jobs/3": Spawn(1)})
    crew.born("jobs/2")
    crew.born("jobs/3")
    crew.hears(listed(two), does={"jobs/2": Terminate(1), "jobs/3": Terminate(1)})
    crew.gone("jobs/3")
    assert crew.keys == ("jobs/0", "jobs/1", "jobs/2")
    assert crew.supervisor.replicas["jobs"] == ("jobs/0", "jobs/1", "jobs/2")


def test_those_that_go_leave_in_the_order_of_their_dependencies_and_are_forgotten():
    crew = Crew(DB, WEB, JOBS)
    crew.all_run()
    crew.hears(listed(JOBS), does={"web/0": Terminate(1)})
    outputs = crew.hears(Heard("web/0", Gone(1, 0)), does={"db/0": Terminate(1)})
    assert [output.id for output in outputs if isinstance(output, Forgot)] == ["web/0"]
    crew.gone("db/0")
    assert crew.keys == ("jobs/0",)
    assert list(crew.supervisor.replicas) == ["jobs"]


def test_changed_ones_stop_before_and_start_after_what_they_depend_on():
    crew = Crew(DB, WEB)
    crew.all_run()
    crew.hears(listed(changed(DB), changed(WEB)), does={"web/0": Terminate(1)})
    crew.gone("web/0", does={"db/0": Terminate(1)})
    crew.gone("db/0", does={"db/0": Spawn(2)})
    assert crew.supervisor.waiting_for("web/0") == ["db"]
    crew.born("db/0", does={"web/0": Spawn(2)})


def test_one_of_two_dependents_does_not_start_on_what_is_about_to_stop():
    crew = Crew(DB, replace(WEB, replicas=2))
    crew.all_run()
    crew.hears(
        listed(changed(DB), replace(changed(WEB), replicas=2)),
        does={"web/0": Terminate(1), "web/1": Terminate(1)},
    )
    crew.gone("web/0", does={})
    crew.gone("web/1", does={"db/0": Terminate(1)})


def test_what_an_operator_has_stopped_stays_stopped_as_what_it_will_be():
    crew = Crew(DB, JOBS)
    crew.all_run()
    crew.hears(StopWanted(("jobs/0",)), does={"jobs/0": Terminate(1)})
    new = replace(changed(JOBS), replicas=2)
    crew.hears(listed(DB, new), does={})
    crew.gone("jobs/0", does={})
    assert (crew.state("jobs/0"), crew.state("jobs/1")) == (State.STOPPED, State.STOPPED)
    crew.hears(StartWanted(("jobs/0",)), does={"jobs/0": Spawn(2)})
    assert crew.supervisor.services["jobs/0"].spec == new


def test_one_that_waits_after_failures_is_started_at_once_when_it_changes():
    crew = Crew(JOBS)
    crew.all_run()
    crew.gone("jobs/0", code=1)
    assert crew.state("jobs/0") is State.BACKOFF
    crew.hears(listed(replace(JOBS, stop=Stop(timeout=1.0))), does={})
    crew.hears(listed(changed(JOBS)), does={"jobs/0": Spawn(2)})


def test_one_that_failed_for_good_is_tried_again_when_it_changes_and_not_otherwise():
    job = replace(JOBS, restart=Restart.NEVER)
    crew = Crew(DB, job)
    crew.all_run()
    crew.gone("jobs/0", code=1)
    assert crew.state("jobs/0") is State.FATAL
    crew.hears(listed(DB, replace(job, stop=Stop(timeout=1.0))), does={})
    crew.hears(listed(DB, changed(job)), does={"jobs/0": Spawn(2)})


def test_another_reload_in_the_middle_of_one_has_the_last_word():
    crew = Crew(DB, JOBS)
    crew.all_run()
    crew.hears(listed(DB, changed(JOBS, "second")), does={"jobs/0": Terminate(1)})
    third = changed(JOBS, "third")
    crew.hears(listed(DB, third), does={})
    crew.gone("jobs/0", does={"jobs/0": Spawn(2)})
    assert crew.supervisor.services["jobs/0"].spec == third


def test_one_that_is_put_back_before_it_has_gone_is_started_again_and_keeps_counting():
    crew = Crew(DB, JOBS)
    crew.all_run()
    crew.hears(listed(DB), does={"jobs/0": Terminate(1)})
    crew.hears(listed(DB, JOBS), does={})
    crew.gone("jobs/0", does={"jobs/0": Spawn(2)})
    crew.born("jobs/0")
    crew.hears(listed(DB), does={"jobs/0": Terminate(2)})
    crew.gone("jobs/0")
    assert crew.keys == ("db/0",)
    crew.hears(listed(DB, JOBS), does={"jobs/0": Spawn(3)})  # the log of run 2 may not be over


def test_one_that_was_held_back_and_is_put_back_has_never_stopped():
    crew = Crew(DB, WEB)
    crew.all_run()
    crew.hears(listed(JOBS), does={"jobs/0": Spawn(1), "web/0": Terminate(1)})
    crew.hears(listed(DB, JOBS), does={})
    crew.gone("web/0", does={})
    assert crew.state("db/0") is State.RUNNING


def test_a_new_dependency_is_waited_for_from_the_next_start_on():
    crew = Crew(DB, JOBS)
    crew.all_run()
    crew.gone("db/0", code=1)
    crew.hears(listed(DB, replace(JOBS, depends_on={"db": Condition.READY})), does={})
    assert crew.state("jobs/0") is State.RUNNING
    crew.gone("jobs/0", code=1)
    crew.waits(0.2, does={"db/0": Spawn(2)})
    assert crew.supervisor.waiting_for("jobs/0") == ["db"]


def test_who_waits_for_a_dependency_that_is_dropped_starts():
    slow = replace(DB, restart=Restart.NEVER)
    crew = Crew(slow, WEB)
    crew.hears(StartWanted(crew.keys), does={"db/0": Spawn(1)})
    crew.hears(listed(slow, replace(WEB, depends_on={})), does={"web/0": Spawn(1)})


def test_in_a_shutdown_a_reload_is_too_late():
    crew = Crew(JOBS)
    crew.all_run()
    crew.hears(ShutdownWanted(), does={"jobs/0": Terminate(1)})
    crew.hears(listed(changed(JOBS), DB), does={})
    crew.gone("jobs/0", leaves=0)


def test_a_shutdown_in_the_middle_of_a_reload_starts_nothing_any_more():
    crew = Crew(DB, WEB)
    crew.all_run()
    crew.hears(
        listed(changed(DB), changed(WEB), JOBS),
        does={
            "web/0": Terminate(1),
            "jobs/0": Spawn(1),
        },
    )
    crew.born("jobs/0")
    crew.hears(ShutdownWanted(), does={"jobs/0": Terminate(1)})
    crew.gone("web/0", does={"db/0": Terminate(1)})
    crew.gone("db/0", does={})
    crew.gone("jobs/0", leaves=0)

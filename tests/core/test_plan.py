"""What another list changes: field by field, and which changes end a process."""

import pytest

from supervisor.core.plan import Act, differences, needs_restart, removed, steps
from supervisor.core.service import Service, State
from supervisor.core.spec import (
    Backoff,
    Condition,
    Log,
    LogFormat,
    LogTo,
    Ready,
    Restart,
    ServiceSpec,
    StartLimit,
    Stop,
)
from supervisor.records import replace

WEB = ServiceSpec(
    name="web", command=("serve", "80"), env={"PORT": "80"}, ready=Ready(tcp="a:1"), kwargs={"n": 1}
)
LIVE = [
    ({"restart": Restart.NEVER}, "restart"),
    ({"backoff": Backoff(first=9.0)}, "backoff.first"),
    ({"start_limit": StartLimit(starts=2)}, "start_limit"),
    ({"stop": Stop(signal="INT", timeout=1.0)}, "stop.signal, stop.timeout"),
    ({"depends_on": {"db": Condition.READY}}, "depends_on.db"),
    ({"ready": Ready(tcp="a:1", timeout=9.0)}, "ready.timeout"),
    ({"log": Log(format=LogFormat.RAW, max_files=3)}, "log.format, log.max_files"),
]
HARD = [
    ({"command": ("serve", "81")}, "command"),
    ({"shell": True}, "shell"),
    ({"env": {"PORT": "81", "NEW": "1"}}, "env.NEW, env.PORT"),
    ({"env": {}}, "env.PORT"),
    ({"cwd": "/"}, "cwd"),
    ({"kwargs": {"n": True}}, "kwargs.n"),
    ({"ready": None}, "ready"),
    ({"ready": Ready(tcp="a:2")}, "ready.tcp"),
    ({"log": Log(to=LogTo.NONE)}, "log.to"),
]


def names(changes):
    return ", ".join(change.name for change in changes)


@pytest.mark.parametrize(("values", "told"), LIVE)
def test_what_a_process_need_not_know_restarts_nothing(values, told):
    changes = tuple(differences(WEB, replace(WEB, **values)))
    assert names(changes) == told
    assert not needs_restart(changes)


@pytest.mark.parametrize(("values", "told"), HARD)
def test_what_a_process_was_born_with_takes_a_restart(values, told):
    changes = tuple(differences(WEB, replace(WEB, **values)))
    assert names(changes) == told
    assert needs_restart(changes)


def test_what_is_equal_is_no_change():
    again = replace(WEB, env=dict(WEB.env), ready=Ready(tcp="a:1"), kwargs={"n": 1})
    assert list(differences(WEB, again)) == []
    read = replace(WEB, replicas=9, env_file=("what it brings is in env",), inherit_env="all")
    assert list(differences(WEB, read)) == []


STATES = [
    (State.RUNNING, True, {"command": ("x",)}, Act.RESTART),
    (State.STARTING, True, {"command": ("x",)}, Act.RESTART),
    (State.STOPPING, True, {"command": ("x",)}, Act.RESTART),
    (State.BACKOFF, True, {"command": ("x",)}, Act.START),
    (State.EXITED, True, {"command": ("x",)}, Act.START),
    (State.FATAL, True, {"command": ("x",)}, Act.START),
    (State.RUNNING, True, {"stop": Stop(timeout=1.0)}, Act.KEEP),
    (State.BACKOFF, True, {"backoff": Backoff(first=9.0)}, Act.KEEP),
    (State.EXITED, True, {"restart": Restart.NEVER}, Act.KEEP),
    (State.EXITED, True, {"restart": Restart.ALWAYS}, Act.START),
    (State.FATAL, True, {"stop": Stop(timeout=1.0)}, Act.KEEP),
    (State.FATAL, True, {"start_limit": StartLimit(starts=9)}, Act.START),
    (State.STOPPED, False, {"command": ("x",)}, Act.KEEP),
    (State.STOPPING, False, {"command": ("x",)}, Act.KEEP),
    (State.FATAL, False, {"command": ("x",)}, Act.KEEP),
]


@pytest.mark.parametrize(("state", "wanted", "values", "act"), STATES)
def test_what_becomes_of_a_replica_follows_from_its_state(state, wanted, values, act):
    spec = ServiceSpec(name="web", command=("a",), restart=Restart.ON_FAILURE)
    service = Service("web/0", spec, state=state, wanted=wanted)
    (step,) = steps({"web/0": service}, {"web": (replace(spec, **values),)})
    assert (step.id, step.act) == ("web/0", act)


def test_a_plan_tells_of_the_new_the_changed_and_the_removed_and_of_nothing_else():
    specs = {name: ServiceSpec(name=name, command=("a",)) for name in ("a", "b", "c", "d")}
    services = {
        f"{name}/0": Service(f"{name}/0", spec, wanted=True, state=State.RUNNING)
        for name, spec in specs.items()
        if name != "d"
    }
    new = {"a": (specs["a"],) * 2, "b": (replace(specs["b"], cwd="/"),), "d": (specs["d"],)}
    assert [(s.id, s.act, s.why) for s in steps(services, new)] == [
        ("a/1", Act.START, "added"),
        ("b/0", Act.RESTART, "cwd"),
        ("d/0", Act.START, "added"),
        ("c/0", Act.STOP, "removed"),
    ]
    assert removed(services, new) == (["c"], 3)

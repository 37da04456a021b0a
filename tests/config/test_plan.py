"""A plan survives its own JSON: it is what a successor of the master reads."""

import json
import subprocess
import sys

import pytest

from supervisor import records
from supervisor.config.plan import Plan, decode, encode
from supervisor.core.spec import (
    Backoff,
    Condition,
    Health,
    Identity,
    Limit,
    Log,
    LogFormat,
    LogTo,
    On,
    OnFull,
    Ready,
    Restart,
    ServiceSpec,
    StartLimit,
    Stop,
    Then,
)

FULL = ServiceSpec(
    name="web",
    command=("a", "b"),
    shell=True,
    python="m:f",
    args=(1, "x", [None, {"k": 2.5}]),
    kwargs={"k": [True]},
    interpreter="/bin/python",
    replicas=3,
    env={"A": "\udcff", "B": "é"},
    env_file=("/e",),
    inherit_env=("X",),
    cwd="/srv",
    user="www",
    group="www",
    identity=Identity(33, 34, (34, 35)),
    umask="027",
    nice=5,
    limits={"core": Limit(0, 0), "nofile": Limit(hard=10)},
    depends_on={"db": Condition.COMPLETED},
    ready=Ready(http="http://a/"),
    health=Health(exec=("a", "b"), failures=2),
    watchdog=30.0,
    on=On(ready=("a", "b"), cooldown=1.0),
    restart=Restart.NEVER,
    backoff=Backoff(first=1.5),
    start_limit=StartLimit(3, 60.0, Then.EXIT),
    stop=Stop("INT", 1.0),
    log=Log(
        to=LogTo.NONE,
        format=LogFormat.RAW,
        records=True,
        max_files=2,
        rate=9,
        compress=True,
        on_full=OnFull.DROP,
    ),
)
SMALL = ServiceSpec(name="db", command=("x",), inherit_env="all", env={"A": "1"})


def plan(**services):
    return Plan("shop", "/srv/keepd.yaml", "/srv", "/run/x", "/log/x", services)


def test_a_plan_is_decoded_as_it_was_encoded():
    given = plan(web=(FULL, FULL, records.replace(FULL, cwd="/")), db=(SMALL,), none=())
    read = decode(encode(given))
    assert read == given
    assert isinstance(read.services["web"][0].log.to, LogTo)
    assert isinstance(read.services["web"][0].start_limit.then, Then)
    assert isinstance(read.services["web"][0].depends_on["db"], Condition)


def test_every_field_of_the_spec_was_tried():
    for part in (FULL, FULL.log, FULL.start_limit):
        for field in records.fields(part):
            if field.default is not records.MISSING and field.name not in {
                "max_size",
                "max_line",
                "within",
            }:
                assert getattr(part, field.name) != field.default, field.name


def test_what_is_equal_is_one_object_after_decoding():
    other = records.replace(SMALL, name="other")
    read = decode(encode(plan(db=(SMALL, SMALL), other=(other,)))).services
    assert read["db"][0] is read["db"][1]
    assert read["db"][0].env is read["other"][0].env
    assert read["db"][0].backoff is read["other"][0].backoff


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", "3", '{"format": 2}', '{"format": 1}', "null", '{"format":1,"services":[]}'],
)
def test_what_is_no_plan_is_a_value_error(text):
    with pytest.raises(ValueError):
        decode(text)


@pytest.mark.parametrize("change", [{"extra": 1}, {"restart": "often"}, {"env": 7}, {"stop": {}}])
def test_a_plan_with_a_strange_spec_is_a_value_error(change):
    whole = json.loads(encode(plan(db=(SMALL,))))
    whole["services"]["db"][0][1] |= change
    if change == {"stop": {}}:
        assert decode(json.dumps(whole)).services["db"][0].stop == Stop()
        return
    with pytest.raises(ValueError):
        decode(json.dumps(whole))


def test_a_read_config_is_encoded_and_decoded_unchanged(folder):
    read = folder.plan("""
        defaults: {log: {max_size: 1MB}}
        services:
          web: {command: "serve ${replica}", replicas: 3, depends_on: [db], ready: notify}
          db: {command: x, start_limit: {starts: 3}, stop: {signal: INT}}
    """)
    assert decode(encode(read)) == read


def test_the_plan_is_light():
    script = (
        "import sys; before = set(sys.modules); import supervisor.config.plan\n"
        "new = set(sys.modules) - before\n"
        "assert not new & {'yaml', 'msgspec', 'difflib', 'logging', 'asyncio'}, new\n"
        "print(*(name for name in new if name.startswith('supervisor.config')))"
    )
    run = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=30
    )
    assert set(run.stdout.split()) == {"supervisor.config", "supervisor.config.plan"}

"""A config from the file to the processes: what is wrong with it is told, and changes nothing."""

import json
import os
import shutil
import socket
import sys

import jsonschema
import pytest
import yaml

from tests.daemon.harness import LIMIT, Keepd, children, until

WEB = "services: {web: {command: [sleep, '1000']}}"

# What is wrong, and what is told: line, column, and words, the suggestion among them.
TEN_MISTAKES = """\
defaults:
  backof: {first: 1s}
services:
  web:
    comand: [sleep, "1000"]
    replicas: many
    env: {HOST: "${HOEM}"}
    depends_on: [rdis]
    stop: {signal: TREM, timeout: 30}
  redis:
    command: [sleep, "1000"]
    command: [sleep, "2000"]
    ready: {tcp: 6379}
    restart: allways
    log: {max_size: 50mb}
"""
TOLD = (
    ("6:3", "unknown key; did you mean 'backoff'?"),
    ("9:5", "unknown key; did you mean 'command'?"),
    ("10:15", "not 'many'"),
    ("11:18", "the variable HOEM is not set; did you mean 'HOME'?"),
    ("12:18", "there is no such service; did you mean 'redis'?"),
    ("13:20", "'TREM' is not the name of a signal; did you mean 'TERM'?"),
    ("13:35", "not '30'; did you mean '30s'?"),
    ("16:5", "the key 'command' stands here for the second time; the first is in line 15"),
    ("17:18", "'6379' is not HOST:PORT; did you mean '127.0.0.1:6379'?"),
    ("18:14", "'allways' is none of always, on-failure, never; did you mean 'always'?"),
    ("19:21", "not '50mb'; did you mean '50MB'?"),
)


def unchanged(one, before):
    """Check that the running keepd and its services are the ones from before."""
    now = one.status()
    assert now["daemon"]["pid"] == before["daemon"]["pid"]
    assert now["daemon"]["master_pid"] == before["daemon"]["master_pid"]
    same = ("id", "state", "pid", "run")
    old, new = (
        [{name: each[name] for name in same} for each in status["services"]["web"]["replicas"]]
        for status in (before, now)
    )
    assert old == new
    assert now["services"].keys() == before["services"].keys()


def refused(one, words):
    """Return what is told of a config that is refused, line by line."""
    done = one.run(*words)
    assert (done.returncode, done.stdout) == (2, ""), done
    assert "Traceback" not in done.stderr
    first, *faults = done.stderr.splitlines()
    count = "1 fault" if len(faults) == 1 else f"{len(faults)} faults"
    assert first == f"cannot use {one.config}: {count}"
    return [fault.removeprefix(f"{one.config}:") for fault in faults]


def test_f76_ten_mistakes_are_told_at_once_with_place_and_suggestion_and_change_nothing(keepd):
    one = keepd(WEB).up()
    before, plan = one.status(), (one.run_dir / "applied.json").read_bytes()
    one.write(TEN_MISTAKES)
    for words in (("check",), ("up",)):
        told = refused(one, words)
        for (place, text), fault in zip(TOLD, told, strict=True):
            assert fault.startswith(f"{place}: "), fault
            assert fault.endswith(text), fault
    faults = json.loads(one.run("check", "--json").stdout)["error"]["faults"]
    assert [f"{fault['line']}:{fault['column']}" for fault in faults] == [p for p, _ in TOLD]
    assert {fault["file"] for fault in faults} == {str(one.config)}
    unchanged(one, before)
    assert (one.run_dir / "applied.json").read_bytes() == plan
    assert one.run("down").returncode == 0  # a bad file is no reason not to find who runs


# What YAML 1.1 makes something else of; in the environment it is a text.
WORDS = (
    *("no", "on", "off", "Yes", "y", "true", "NO", ".inf", "010", "0x1F", "1_000", "1e3", "1.0"),
    *("3.10", "+1", "22:22", "2024-01-01", "2001-12-14t21:59:43", "12345678901234567890123"),
)
TEXTS = {f"WORD_{number}": word for number, word in enumerate(WORDS)}
NOT_MEANT = {  # where a type is wanted, only what every reader of YAML agrees about
    "replicas: 010": "not '010'; did you mean '10'?",
    "replicas: 1_0": "not '1_0'; did you mean '10'?",
    "replicas: 1e1": "not '1e1'",
    "replicas: 0x2": "not '0x2'",
    "replicas: 2.0": "not '2.0'",
    "shell: yes": "'yes' is a text; did you mean 'true'?",
    "shell: off": "'off' is a text; did you mean 'false'?",
    "restart: no": "'no' is none of always, on-failure, never",
    "stop: {timeout: 22:22}": "not '22:22'",
    "stop: {timeout: 1e3}": "not '1e3'",
    "env: {A: ~}": 'write "" for an empty text',
    "env: {A: null}": 'write "" for an empty text',
    "env: {A: }": 'write "" for an empty text',
}


def test_f77_a_scalar_is_the_text_it_is_all_the_way_into_the_process(keepd):
    env = "".join(f"      {name}: {text}\n" for name, text in TEXTS.items())
    one = keepd(
        "defaults: {restart: never}\n"
        "services:\n"
        f"  env:\n    command: [env]\n    env:\n{env}"
        f"  argv: {{command: [echo, {', '.join(WORDS)}]}}\n"
    ).up()
    until(lambda: one.lines("argv/0"))
    assert one.lines("argv/0") == [" ".join(WORDS)]
    until(lambda: one.replica("env/0")["state"] == "EXITED" and one.lines("env/0"))
    assert TEXTS.items() <= dict(line.split("=", 1) for line in one.lines("env/0")).items()


def test_f77_where_a_type_is_wanted_a_surprise_is_refused_with_a_hint(keepd):
    services = [f"  s{n}: {{command: x, {keys}}}\n" for n, keys in enumerate(NOT_MEANT)]
    one = keepd(f"services:\n{''.join(services)}")
    told = refused(one, ["check"])
    for line, (text, fault) in enumerate(zip(NOT_MEANT.values(), told, strict=True), 6):
        assert fault.startswith(f"{line}:"), fault
        assert text in fault, fault
    assert refused(one, ["up"]) == told


LAUGHS = "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}' if n else 'lol'] * 9)}]\n" for n in range(9)
)
MAPS = "a0: &a0 {A: x}\n" + "".join(
    f"a{n}: &a{n} {{{', '.join(f'k{m}: *a{n - 1}' for m in range(9))}}}\n" for n in range(1, 9)
)
BOMBS = {
    "laughs": f"{LAUGHS}services: {{web: {{command: *a8}}}}\n",
    "maps": f"{MAPS}services: {{web: {{command: x, env: *a8}}}}\n",
    "brackets": f"services: {'[' * 2000}\n",
    "indents": "services:\n" + "".join(f"{' ' * n}a:\n" for n in range(1, 1000)),
    "cycle": "services: &a {web: *a}\n",
    "many": f"services: {{web: {{command: [{'x,' * 250_000}]}}}}\n",
    "long": f"services: {{web: {{command: {'x' * 2_000_000}}}}}\n",
    "copies": "services: {web: {command: x, replicas: 1000000000}}\n",
}
MOST = 512 << 20  # bytes; a bomb would take gigabytes


def test_f78_no_bomb_costs_more_than_a_moment_and_some_memory(keepd):
    one = keepd("")
    for name, bomb in BOMBS.items():
        one.config.write_text(f"version: 1\n{bomb}")
        code, said, usage = measured(one, "check")
        assert code == 2, (name, said)
        first, second = said.splitlines()[:2]
        assert first.startswith(f"cannot use {one.config}: "), name
        assert second.startswith(f"{one.config}:"), (name, second)
        assert usage.ru_maxrss * 1024 < MOST, name
        assert usage.ru_utime + usage.ru_stime < LIMIT, name


def measured(one, *words):
    """Run one word; return exit code, what it said, and what it and its children used."""
    path = one.folder / "said"
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    pid = os.posix_spawn(
        sys.executable,
        one.command(*words),
        {**os.environ, "PYTHONPATH": str(one.root)},
        file_actions=[(os.POSIX_SPAWN_OPEN, 2, str(path), flags, 0o600)],
    )
    _, status, usage = os.wait4(pid, 0)
    return os.waitstatus_to_exitcode(status), path.read_text(), usage


def test_f78_a_running_keepd_does_not_notice_a_bomb(keepd):
    one = keepd(WEB).up()
    before = one.status()
    memory = (one.process.pid, before["daemon"]["master_pid"])
    one.config.write_text(f"{one.config.read_text()}\n{BOMBS['laughs']}")
    done = one.run("up")
    assert done.returncode == 2
    unchanged(one, before)
    assert all(pid not in memory for pid in children(os.getpid()) if pid != one.process.pid)


def test_the_schema_is_a_json_schema_that_accepts_the_configs_of_the_repository(keepd):
    done = keepd("").run("check", "--schema")
    assert (done.returncode, done.stderr) == (0, "")
    schema = json.loads(done.stdout)
    validator = jsonschema.validators.validator_for(schema, default=None)
    validator.check_schema(schema)
    validator = validator(schema)
    paths = [*Keepd.root.glob("etc/*.yaml"), *Keepd.root.glob("services/*.yaml")]
    assert len(paths) > 5
    for path in paths:
        validator.validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    for mistake in ({"services": {"web": {"comand": ["x"]}}}, {"services": {"../x": {}}}, {"x": 1}):
        assert not validator.is_valid(mistake), mistake


@pytest.fixture
def copy(tmp_path):
    """A copy of what a clone has, without anything that was made in it."""
    for name in ("supervisor", "services", "etc"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(Keepd.root / name, tmp_path / name, ignore=ignored)
    return tmp_path


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def test_the_demonstration_runs_as_it_is(keepd, copy):
    one = keepd("", env={**os.environ, "KEEPD_DEMO_PORT": str(free_port())})
    one.config, one.root = copy / "etc" / "keepd.yaml", copy
    one.run_dir, one.log_dir = copy / "var" / "run", copy / "var" / "log"
    one.up(ready=False)
    for name in ("prepare/0 exited with 0", *(f"{name} is ready" for name in READY)):
        one.tells(f" {name}")
    in_order(one.log("keepd"), *ORDER)
    assert one.replica("prepare/0")["state"] == "EXITED"
    for key in ("web/0", "worker/0", "worker/1", "feeder/0", "clock/0", "noisy/0"):
        one.becomes(key, "RUNNING")
    until(lambda: "it is " in one.log("clock/0"))
    until(lambda: '"level":"INFO","logger":"reports","fields":{' in one.log("reports/0"))
    until(lambda: any("job" in one.log(f"worker/{n}") for n in (0, 1)))
    stops = one.run("down")
    assert stops.returncode == 0, stops
    in_order(one.log("keepd"), "clock/0 stopped", "web/0 stopped")
    in_order(one.log("keepd"), "worker/1 stopped", "feeder/0 stopped")
    assert one.process.wait(LIMIT) == 0


READY = ("web/0", "reports/0", "feeder/0", "worker/0", "worker/1")
ORDER = ("prepare/0 exited with 0", "feeder/0 is ready", "worker/0 is ready")


def in_order(text, *parts):
    places = [text.find(part) for part in parts]
    assert -1 not in places, (parts, text)
    assert places == sorted(places), (parts, text)

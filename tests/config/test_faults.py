"""Everything that is wrong is told at once, with its place and the likely fix."""

import json

from supervisor.config.faults import as_json
from supervisor.config.read import read

TEN_MISTAKES = """\
version: 1
defaults:
  backof: {first: 1s}
services:
  web:
    comand: [gunicorn, "app:app"]
    replicas: many
    env: {HOST: "${HOEM}"}
    depends_on: [rdis]
    stop: {signal: TREM, timeout: 30}
  redis:
    command: [redis-server]
    ready: {tcp: 6379}
    restart: allways
    log: {max_size: 50mb}
    listen: {a: "b:1"}
"""


def test_a_config_with_ten_mistakes_is_told_all_ten_with_place_and_suggestion(folder):
    assert folder.told(TEN_MISTAKES) == [
        "keepd.yaml:3:3: defaults.backof: unknown key; did you mean 'backoff'?",
        "keepd.yaml:6:5: services.web.comand: unknown key; did you mean 'command'?",
        "keepd.yaml:7:15: services.web.replicas: a whole number is wanted here, not 'many'",
        (
            "keepd.yaml:8:18: services.web.env.HOST: the variable HOEM is not set; "
            "did you mean 'HOME'?"
        ),
        (
            "keepd.yaml:9:18: services.web.depends_on.rdis: there is no such service; "
            "did you mean 'redis'?"
        ),
        (
            "keepd.yaml:10:20: services.web.stop.signal: 'TREM' is not the name of a signal; "
            "did you mean 'TERM'?"
        ),
        (
            "keepd.yaml:10:35: services.web.stop.timeout: a duration with its unit is wanted here "
            "(200ms, 30s, 1h30m, 2d), not '30'; did you mean '30s'?"
        ),
        (
            "keepd.yaml:13:18: services.redis.ready.tcp: '6379' is not HOST:PORT; "
            "did you mean '127.0.0.1:6379'?"
        ),
        (
            "keepd.yaml:14:14: services.redis.restart: 'allways' is none of always, on-failure, "
            "never; did you mean 'always'?"
        ),
        (
            "keepd.yaml:15:21: services.redis.log.max_size: a size with its unit is wanted here "
            "(64KiB, 50MB), not '50mb'; did you mean '50MB'?"
        ),
        (
            "keepd.yaml:16:5: services.redis.listen: is part of keepd's design but not built "
            "yet; leave it out"
        ),
    ]


def test_faults_are_objects_for_programs_as_well(folder):
    faults = read(folder.write("services: {web: {comand: x}}\n"))
    assert isinstance(faults, tuple)
    (told,) = json.loads(json.dumps(as_json(faults)))
    assert told == {
        "file": str(folder.path / "keepd.yaml"),
        "line": 1,
        "column": 18,
        "key": "services.web.comand",
        "message": "unknown key",
        "suggestion": "did you mean 'command'?",
    }


def test_f76_an_unknown_key_is_refused_with_a_suggestion(folder):
    assert folder.told_of("command: x\nautorestart: true\nrestrat: never\n") == [
        "keepd.yaml:4:5: services.web.autorestart: unknown key; did you mean 'restart'?",
        "keepd.yaml:5:5: services.web.restrat: unknown key; did you mean 'restart'?",
    ]


def test_f76_a_duplicate_key_is_refused_and_both_lines_are_named(folder):
    assert folder.told_of("command: x\nrestart: never\ncommand: y\n") == [
        "keepd.yaml:5:5: the key 'command' stands here for the second time; the first is in line 3",
    ]


def test_f76_a_service_that_stands_twice_is_refused_also_over_files(folder):
    folder.write("services: {web: {command: y}}\n", "more.yaml")
    assert folder.told("include: [more.yaml]\nservices: {web: {command: x}}\n") == [
        "more.yaml:1:12: services.web: a service of this name stands in another file already; "
        f"the first is at {folder.path}/keepd.yaml:2:12".replace(f"{folder.path}/", ""),
    ]


def test_f76_a_wrong_type_is_refused(folder):
    assert folder.told_of("command: {a: b}\nenv: [A=b]\nbackoff: 3s\nrestart: [never]\n") == [
        (
            "keepd.yaml:3:14: services.web.command: a text or a list of texts is wanted here, "
            "not a mapping"
        ),
        "keepd.yaml:4:10: services.web.env: a mapping is wanted here, not a list",
        (
            "keepd.yaml:5:14: services.web.backoff: a mapping is wanted here, not '3s'; "
            "its keys are first, factor, limit, jitter, reset_after"
        ),
        (
            "keepd.yaml:6:14: services.web.restart: always or on-failure or never is wanted here, "
            "not a list; leave the brackets out"
        ),
    ]


def test_the_same_fault_in_defaults_is_told_once_however_many_services_there_are(folder):
    config = "defaults: {backoff: {first: 3}}\nservices: {a: {command: x}, b: {command: x}}\n"
    assert folder.told(config) == [
        (
            "keepd.yaml:1:29: defaults.backoff.first: a duration with its unit is wanted here "
            "(200ms, 30s, 1h30m, 2d), not '3'; did you mean '3s'?"
        ),
    ]


def test_a_file_that_cannot_be_opened_is_a_fault(tmp_path):
    missing, folder = str(tmp_path / "none.yaml"), str(tmp_path)
    for path, reason in ((missing, "no such file or directory"), (folder, "is a directory")):
        faults = read(path)
        assert isinstance(faults, tuple)
        assert str(faults[0]) == f"{path}: cannot read {path}: {reason}"


def test_a_file_that_is_not_utf_8_is_told_with_its_line(tmp_path):
    path = tmp_path / "keepd.yaml"
    path.write_bytes(b"services:\n  a: {command: \xff}\n")
    faults = read(str(path))
    assert isinstance(faults, tuple)
    assert str(faults[0]) == f"{path}:2:16: not UTF-8; save the file as UTF-8"


def test_a_thousand_faults_are_enough(folder):
    keys = "".join(f"  key{n}: x\n" for n in range(3_000))
    assert len(folder.told(f"services: {{}}\ndefaults:\n{keys}")) == 1_000

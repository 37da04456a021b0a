"""What the keys of a service mean, and which of them cannot stand together."""

import pytest

from supervisor.core.spec import (
    Backoff,
    Health,
    Log,
    LogFormat,
    LogTo,
    On,
    OnFull,
    Ready,
    Restart,
    StartLimit,
    Stop,
    Then,
)
from tests.config.written import by


def test_a_service_has_the_defaults_of_its_dataclass_and_nothing_else_to_say(folder):
    web = folder.service("command: [sleep, 10]")
    assert web.command == ("sleep", "10")
    assert (web.backoff, web.stop, web.log, web.ready) == (Backoff(), Stop(), Log(), None)
    assert web.cwd == str(folder.path)


def test_every_key_of_a_service_is_read(folder):
    web = folder.service("""
        command: serve --port 80
        cwd: sub
        replicas: 1
        restart: on-failure
        ready: {http: "http://127.0.0.1/ok", timeout: 1m, every: 50ms}
        backoff: {first: 0s, factor: 1.5, limit: 1h, jitter: 0, reset_after: 2d}
        start_limit: {starts: 3, within: 5m, then: exit}
        stop: {signal: SIGINT, timeout: 0s}
        log: {to: none, format: raw, max_size: 1MB, max_files: 2, max_line: 1KiB,
              rate: 9, records: true, compress: true, on_full: drop}
    """)
    assert web.command == ("serve", "--port", "80")
    assert web.cwd == f"{folder.path}/sub"
    assert web.restart is Restart.ON_FAILURE
    assert web.ready == Ready(http="http://127.0.0.1/ok", timeout=60, every=0.05)
    assert web.backoff == Backoff(0, 1.5, 3600, 0, 172_800)
    assert web.start_limit == StartLimit(3, 300, Then.EXIT)
    assert web.stop == Stop("INT", 0)
    limits = {"max_size": 1_000_000, "max_files": 2, "max_line": 1024, "rate": 9}
    more = {"records": True, "compress": True, "on_full": OnFull.DROP}
    assert web.log == Log(LogTo.NONE, LogFormat.RAW, **limits, **more)


def test_a_python_service_has_arguments_of_any_kind(folder):
    web = folder.service("""
        python: shop.jobs:main
        args: [fast, 3, 2.5, true, null, "4", [a, {b: c}]]
        kwargs: {queue: mail, deep: {n: -1}}
        interpreter: .venv/bin/python
    """)
    assert web.python == "shop.jobs:main"
    assert web.args == ("fast", 3, 2.5, True, None, "4", ["a", {"b": "c"}])
    assert web.kwargs == {"queue": "mail", "deep": {"n": -1}}
    assert web.interpreter == f"{folder.path}/.venv/bin/python"
    assert type(web.args[0]) is str
    assert folder.service("{python: a:b, interpreter: python3}").interpreter == "python3"


@pytest.mark.parametrize("word", ["no", "010", "22:22", "3.10", "2024-01-02", "0x1f", "+1", "1_0"])
def test_f77_what_readers_of_yaml_differ_about_is_refused_where_no_type_is_wanted(folder, word):
    (line,) = folder.told_of(f"python: a:b\nargs: [{word}]\n")
    assert line.endswith(
        f"services.web.args[0]: it is not certain what {word} means: "
        f"readers of YAML differ; write '{word}' if it is a text"
    )
    assert folder.service(f"python: a:b\nargs: ['{word}']\n").args == (word,)


@pytest.mark.parametrize("word", ["no", "on", "010", "22:22", "3.10", "2024-01-02", "8080", "1e3"])
def test_f77_where_a_text_is_wanted_a_scalar_is_the_text_it_is(folder, word):
    web = folder.service(f"command: [x, {word}]\nenv: {{VALUE: {word}}}\n")
    assert web.command[1] == web.env["VALUE"] == word


@pytest.mark.parametrize(
    ("word", "advice"),
    [
        *(("yes", "; did you mean 'true'?"), ("off", "; did you mean 'false'?")),
        *(("'true'", "; write true without quotes"), ("perhaps", "")),
    ],
)
def test_f77_a_truth_is_only_true_or_false(folder, word, advice):
    (line,) = folder.told_of(f"command: x\nshell: {word}\n")
    plain = word.strip("'")
    assert line == (
        "keepd.yaml:4:12: services.web.shell: true or false is wanted here; "
        f"'{plain}' is a text{advice}"
    )


@pytest.mark.parametrize(
    ("word", "advice"),
    [
        *(("010", "; did you mean '10'?"), ("1_000", "; did you mean '1000'?"), ("22:22", "")),
        *(("0x10", "; did you mean '16'?"), ("'4'", "; write 4 without quotes"), ("2.0", "")),
        ("${N}", "; ${...} is not expanded in this key"),
    ],
)
def test_f77_a_whole_number_is_written_plainly(folder, word, advice):
    (line,) = folder.told_of(f"command: x\nreplicas: {word}\n")
    plain = word.strip("'")
    what = f"services.web.replicas: a whole number is wanted here, not '{plain}'{advice}"
    assert line == f"keepd.yaml:4:15: {what}"


@pytest.mark.parametrize(
    ("keys", "what"),
    [
        ("replicas: 10001", "replicas: 10001 must be at least 0 and at most 10000"),
        ("replicas: -1", "replicas: -1 must be at least 0 and at most 10000"),
        ("backoff: {factor: 0.5}", "backoff.factor: 0.5 must be at least 1 and at most 1000"),
        ("backoff: {jitter: 2}", "backoff.jitter: 2 must be at least 0 and at most 1"),
        ("start_limit: {starts: 0}", "starts: 0 must be at least 1 and at most 1000000"),
        ("start_limit: {within: 1m}", "start_limit: the key 'starts' is missing"),
        ("log: {max_files: 0}", "log.max_files: 0 must be at least 1 and at most 100000"),
        ("log: {max_size: 5B}", "log.max_size: 5B must be at least 1KB"),
        ("ready: {tcp: 'a:1', every: 0s}", "ready.every: 0s must be at least 10ms"),
        ("stop: {timeout: 4000d}", "stop.timeout: 4000d is longer than ten years"),
    ],
)
def test_numbers_keep_to_their_bounds(folder, keys, what):
    (line,) = folder.told_of(f"command: x\n{keys}\n")
    assert line.endswith(what)


@pytest.mark.parametrize("name", ["web", "a", "9", "Web_1.x@y-z", "x" * 64])
def test_s19_a_name_of_a_service(folder, name):
    assert list(folder.plan(f"services: {{{name}: {{command: x}}}}").services) == [name]


@pytest.mark.parametrize(
    "name", ["../etc", "..", ".", "a/b", "-a", "", "a b", "é", "x" * 65, "a\\n", "/etc/passwd"]
)
def test_s19_a_name_is_never_a_path(folder, name):
    (line,) = folder.told(f'services: {{"{name}": {{command: x}}}}')
    assert "a name consists of letters, digits and _ . @ -" in line


@pytest.mark.parametrize("name", ["keepd", "keepd.log", "keepd.000017.log", "keepd.000017.log.gz"])
def test_s19_no_service_takes_the_names_of_keepds_own_files(folder, name):
    (line,) = folder.told(f"services: {{{name}: {{command: x}}}}")
    assert line.endswith(f"the name {name} is reserved for keepd itself")


def test_s20_a_string_is_split_into_words_and_no_shell_sees_it(folder):
    web = folder.service("command: 'echo \"a b\" $HOME `id`; rm -rf x | y'\n")
    assert web.command == ("echo", "a b", "$HOME", "`id`;", "rm", "-rf", "x", "|", "y")
    assert not web.shell


def test_s20_what_a_variable_brings_is_never_split_nor_expanded_again(folder):
    from_outside = {"NAME": "x; rm -rf /  ${HOME}"}
    web = folder.service("command: echo ${NAME}\n", by(**from_outside))
    assert web.command == ("echo", "x; rm -rf /  ${HOME}")


def test_s20_a_shell_runs_only_where_it_is_asked_for(folder):
    web = folder.service("command: echo $HOME ${USER}; exit\nshell: true\n")
    assert web.shell
    assert web.command == ("echo $HOME ada; exit",)
    (line,) = folder.told_of("command: [echo, x]\nshell: true\n")
    assert line.endswith("services.web.command: with shell: true the command is one text")


@pytest.mark.parametrize(
    ("keys", "what"),
    [
        ("restart: never", "services.web: nothing says what runs; give it a command (or python)"),
        ("{command: x, python: a:b}", "python: either command or python says what runs, not both"),
        ("command: []", "services.web.command: the command is empty"),
        ("command: ''", "services.web.command: the command is empty"),
        ("command: ['', x]", "services.web.command: the command is empty"),
        ("{command: ' ', shell: true}", "services.web.command: the command is empty"),
        (
            "command: echo 'x",
            "cannot be split into words: no closing quotation; write it as a list",
        ),
        ("python: a.b", "python: 'a.b' is not module:function; did you mean 'a:b'?"),
        ("{python: a:b, shell: true}", "shell belongs to command, not to python; leave it out"),
        ("{command: x, args: [1]}", "args: belongs to python, and there is no python here"),
        ("command:", "command: a text or a list of texts is wanted here, not nothing"),
        ("command: [x, ~]", 'a text is wanted here, not nothing; write "" for an empty text'),
        ("{command: x, env: {A: }}", 'not nothing; write "" for an empty text'),
        ("{command: x, env: {KEEPD_RUN: a}}", "KEEPD_RUN is set by keepd itself"),
        ("{command: x, env: {'A=B': a}}", "'A=B' is not the name of a variable"),
        ("{command: x, inherit_env: [all]}", "stands alone, not in a list; write inherit_env: all"),
        ("{command: x, inherit_env: ['A_*']}", "'A_*' is not the name of a variable"),
        ("{command: x, cwd: ~/x}", "~ is not expanded here; write ${HOME}"),
        ("{command: x, stop: {signal: 15}}", "not the name of a signal; did you mean 'TERM'?"),
        ("{command: x, stop: {signal: hup}}", "not the name of a signal; did you mean 'HUP'?"),
    ],
)
def test_what_a_service_cannot_say(folder, keys, what):
    (line,) = folder.told_of(keys)
    assert line.endswith(what)


@pytest.mark.parametrize(
    "key",
    [
        *("listen: {a: 'b:1'}", "preload: [x]", "log: {stderr: merge}"),
        *("log: {to: journal}", "log: {to: syslog}", "log: {to: stdout}"),
    ],
)
def test_what_is_designed_but_not_built_yet_is_refused_by_name(folder, key):
    lines = folder.told_of(f"command: x\n{key}\n")
    assert any("is part of keepd's design but not built yet" in line for line in lines)
    assert not any("unknown" in line for line in lines)


def test_a_service_is_ready_in_exactly_one_way(folder):
    (line,) = folder.told_of("command: x\nready: {tcp: 'a:1', log: up}\n")
    assert line.endswith("ready: one kind of readiness is wanted, not log and tcp")
    (line,) = folder.told_of("command: x\nready: {timeout: 3s}\n")
    assert line.endswith("ready: needs one of notify, log, tcp, http, exec, after")


def test_health_is_checked_in_exactly_one_way(folder):
    (line,) = folder.told_of("command: x\nhealth: {tcp: 'a:1', exec: x}\n")
    assert line.endswith("health: one kind of check is wanted, not tcp and exec")
    (line,) = folder.told_of("command: x\nhealth: {every: 3s}\n")
    assert line.endswith("health: needs one of tcp, http, exec")
    (line,) = folder.told_of("command: x\nhealth: {tcp: 'a:80', failures: 0}\n")
    assert line.endswith("failures: 0 must be at least 1 and at most 1000")


def test_a_check_by_command_is_split_as_a_shell_would_and_expanded(folder):
    web = folder.service("command: x\nhealth: {exec: 'a \"b c\" ${replica}'}\n")
    assert web.health == Health(exec=("a", "b c", "0"))
    assert folder.service("command: x\nready: {exec: [a, b]}\n").ready == Ready(exec=("a", "b"))
    (line,) = folder.told_of("command: x\nready: {exec: ''}\n")
    assert line.endswith("ready: the command of exec is empty")


def test_limits_of_a_check_in_the_defaults_concern_only_who_is_checked(folder):
    text = "defaults: {health: {every: 3s}}\nservices:\n  a: {command: x}\n"
    plan = folder.plan(text + "  b: {command: x, health: {tcp: 'h:1'}}\n")
    assert plan.services["a"][0].health is None
    assert plan.services["b"][0].health == Health(tcp="h:1", every=3.0)


def test_hooks_are_commands_by_event(folder):
    web = folder.service("command: x\non: {exit: 'a b', failed: [c, '${replica}']}\n")
    assert web.on == On(exit=("a", "b"), failed=("c", "0"))
    (line,) = folder.told_of("command: x\non: {exti: a}\n")
    assert "unknown key; did you mean 'exit'?" in line


def test_ready_notify_may_be_a_bare_word(folder):
    assert folder.service("command: x\nready: notify\n").ready == Ready(notify=True)
    assert folder.service("command: x\nready: {notify: true, timeout: 60s}\n").ready == Ready(
        notify=True, timeout=60
    )
    (line,) = folder.told_of("command: x\nready: notfy\n")
    assert line.endswith("a mapping is wanted here, not 'notfy'; did you mean 'notify'?")


@pytest.mark.parametrize(
    ("ready", "what"),
    [
        (
            "tcp: 8000",
            "3:18: services.web.ready.tcp: '8000' is not HOST:PORT; did you mean '127.0.0.1:8000'?",
        ),
        ("tcp: 'a:0'", "3:19: services.web.ready.tcp: 'a:0' is not HOST:PORT"),
        ("tcp: 'a:65536'", "3:19: services.web.ready.tcp: 'a:65536' is not HOST:PORT"),
        ("tcp: 'a b:1'", "3:19: services.web.ready.tcp: 'a b:1' is not HOST:PORT"),
        ("http: 'localhost:80/x'", "did you mean 'http://localhost:80/x'?"),
        ("http: 'ftp://a/b'", "is not a URL such as http://127.0.0.1:8000/healthz"),
        ("http: 'http://a:99999/'", "is not a URL such as http://127.0.0.1:8000/healthz"),
        (
            "log: 'a(b'",
            (
                "3:20: services.web.ready.log: not a regular expression: missing ), "
                "unterminated subpattern"
            ),
        ),
    ],
)
def test_readiness_is_well_formed(folder, ready, what):
    lines = folder.told_of(f"ready: {{{ready}}}\ncommand: x\n")
    assert lines[0].endswith(what)


@pytest.mark.parametrize("http", ["http://a", "https://a.b/c?d=e#", "http://[::1]:8000/x"])
def test_urls_that_can_be_asked(folder, http):
    http = http.rstrip("#")
    assert folder.service(f"command: x\nready: {{http: '{http}'}}\n").ready.http == http


def test_readiness_by_a_log_that_is_not_kept_is_refused(folder):
    (line,) = folder.told_of("command: x\nready: {log: up}\nlog: {to: none}\n")
    assert line.endswith("ready: ready.log reads the log, and log.to is none")


def test_replicas_without_a_word_of_their_number_share_one_spec(folder):
    specs = folder.plan("services: {web: {command: x, replicas: 3}}").services["web"]
    assert len(specs) == 3
    assert specs[0] is specs[2]
    assert folder.plan("services: {web: {command: x, replicas: 0}}").services["web"] == ()


def test_a_project_has_a_bounded_number_of_replicas(folder):
    services = "\n".join(f"  s{n}: {{command: x, replicas: 10000}}" for n in range(11))
    (line,) = folder.told(f"services:\n{services}\n")
    assert line.endswith("110,000 replicas in all; one project has at most 100,000")

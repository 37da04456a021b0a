import json
import os

import pytest

from supervisor.cli.main import WORDS
from tests.cli.daemon import ROOT, Refusal, canned, environment, keepd, replica, served, whole

ONE = {"replicas": ["web/0"]}
STEERING = {"start": ONE, "stop": ONE, "restart": ONE, "wait": ONE, "signal": ONE}
ASKING = [
    ("status",),
    ("start", "web"),
    ("stop", "web"),
    ("restart", "web"),
    ("signal", "HUP", "web"),
    ("wait", "web"),
    ("down",),
]


def at(run_dir, *typed):
    return keepd(*typed, "--runtime-dir", run_dir)


def requests(noted):
    return [json.loads(line) for line in noted.read_text().splitlines()]


@pytest.mark.parametrize(
    ("word", "goal"), [("start", "ready"), ("stop", "stopped"), ("restart", "ready")]
)
def test_a_steering_word_asks_and_then_waits_for_what_it_asked(
    run_dir, socket, tmp_path, word, goal
):
    with served(socket, canned(STEERING, tmp_path / "noted")):
        done = at(run_dir, word, "web", "db/*")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{goal}: web/0\n", "")
    first, second = requests(tmp_path / "noted")
    assert first == [word, {"names": ["web", "db/*"]}]
    assert second == ["wait", {"names": ["web/0"], "for": goal, "timeout": 60.0}]


def test_without_waiting_only_one_thing_is_asked(run_dir, socket, tmp_path):
    with served(socket, canned(STEERING, tmp_path / "noted")):
        done = at(run_dir, "restart", "--no-wait", "web")
    assert (done.returncode, done.stdout) == (0, "told to restart: web/0\n")
    assert [name for name, _ in requests(tmp_path / "noted")] == ["restart"]


def test_wait_passes_on_what_for_and_how_long(run_dir, socket, tmp_path):
    with served(socket, canned(STEERING, tmp_path / "noted")):
        assert at(run_dir, "wait", "web", "--for", "completed", "--timeout", "2min").returncode == 0
        assert at(run_dir, "wait").returncode == 0
    assert requests(tmp_path / "noted") == [
        ["wait", {"names": ["web"], "for": "completed", "timeout": 120.0}],
        ["wait", {"names": [], "for": "ready", "timeout": None}],
    ]


def test_signal_passes_on_the_signal(run_dir, socket, tmp_path):
    with served(socket, canned(STEERING, tmp_path / "noted")):
        done = at(run_dir, "signal", "HUP", "web")
    assert (done.returncode, done.stdout) == (0, "signalled: web/0\n")
    assert requests(tmp_path / "noted") == [["signal", {"names": ["web"], "signal": "HUP"}]]


@pytest.mark.parametrize(
    ("refusal", "code"),
    [
        (Refusal("failed", "cannot become ready: web/0", replicas=["web/0"]), 1),
        (Refusal("bad-params", "cannot send 'X': there is no such signal"), 2),
        (Refusal("no-such-service", "no service is called 'web'"), 4),
        (Refusal("timeout", "not ready in time: web/0", replicas=["web/0"]), 5),
        (Refusal("stopping", "cannot start anything: keepd is stopping"), 1),
        (Refusal("denied", "cannot do that"), 1),
        (Refusal("something new", "cannot say more"), 1),
    ],
)
def test_each_refusal_has_its_exit_code_and_its_words(run_dir, socket, refusal, code):
    why = replica("web/0", "BACKOFF", text="killed by SIGKILL, 3 s ago; next start in 12 s")
    with served(socket, canned({"wait": refusal, "status": whole(why)})):
        plain = at(run_dir, "wait", "web")
        as_json = at(run_dir, "wait", "web", "--json")
    assert (plain.returncode, plain.stdout) == (code, "")
    first, *rest = plain.stderr.splitlines()
    assert first.startswith("cannot ")
    assert refusal.message in first
    assert rest == (["web/0 BACKOFF: " + why["text"]] if refusal.data else [])
    assert as_json.returncode == code
    error = json.loads(as_json.stdout)["error"]
    assert error["kind"] == refusal.kind
    assert error.get("replicas") == refusal.data.get("replicas")


@pytest.mark.parametrize("typed", ASKING)
def test_without_a_daemon_every_word_says_so_with_code_3(run_dir, typed):
    done = at(run_dir, *typed)
    assert done.returncode == 3
    assert done.stderr.startswith("cannot find a running keepd: nobody listens at ")
    error = json.loads(at(run_dir, *typed, "--json").stdout)["error"]
    assert error["kind"] == "no-daemon"


def test_a_daemon_that_was_killed_is_no_daemon_either(run_dir, socket):
    with served(socket, canned({})):
        pass
    assert socket.exists()
    assert at(run_dir, "status").returncode == 3


def test_a_daemon_that_ends_before_it_answers_is_told_so(run_dir, socket):
    with served(socket, canned({"status": lambda params: os._exit(0)})):
        done = at(run_dir, "status")
    assert done.returncode == 3
    assert "ended" in done.stderr


def test_version_tells_both_ends_and_needs_no_daemon(run_dir, socket):
    with served(socket, canned({"version": {"version": "9.9", "protocol": 1}})):
        assert at(run_dir, "version").stdout == "keepd 0.1.0\ndaemon 9.9\n"
        told = json.loads(at(run_dir, "version", "--json").stdout)
        assert told == {"version": "0.1.0", "daemon": {"version": "9.9", "protocol": 1}}
    done = at(run_dir, "version")
    assert (done.returncode, done.stdout) == (0, "keepd 0.1.0\ndaemon: none is running here\n")
    assert keepd("--version").stdout == "keepd 0.1.0\n"


@pytest.mark.parametrize("word", [*WORDS, None])
def test_help_of_each_word_is_there_and_fits_a_terminal(word):
    done = keepd(*([word] if word else []), "--help")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert max(map(len, lines)) <= 100
    assert lines[0].startswith(f"usage: keepd {word}" if word else "usage: keepd ")


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (("stauts",), "cannot do 'stauts': did you mean `keepd status`?\n"),
        (("strat", "web"), "cannot do 'strat': did you mean `keepd start`?\n"),
        (("frobnicate",), "cannot do 'frobnicate': `keepd --help` lists the words\n"),
        (("status", "--jsno"), "cannot understand: unrecognized arguments: --jsno; see "),
        (("start",), "cannot understand: the following arguments are required: NAME; see "),
        (("wait", "--for", "red"), "cannot understand: argument --for: invalid choice: 'red'"),
        (("wait", "--timeout", "soon"), "cannot understand: argument --timeout: 'soon' is no dur"),
        (("-c", "/nowhere.yaml", "status"), "cannot find the config /nowhere.yaml: "),
        (("status",), "cannot find a config: there is no keepd.yaml here"),
        (("check", "/nowhere.yaml"), "cannot use /nowhere.yaml: 1 fault"),
        ((), "usage: keepd "),
    ],
)
def test_mistakes_on_the_command_line_are_told_with_code_2(tmp_path, typed, said):
    done = keepd(*typed, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(said)


def test_options_of_all_words_may_stand_before_and_after_the_word(run_dir, socket):
    with served(socket, canned({"wait": ONE})):
        for typed in (
            ("--runtime-dir", run_dir, "wait"),
            (f"--runtime-dir={run_dir}", "wait", "--json"),
            ("wait", "--runtime-dir", run_dir, "web"),
        ):
            assert keepd(*typed).returncode == 0


def test_the_daemon_is_found_by_the_config(tmp_path, run_dir, socket):
    config = tmp_path / "keepd.yaml"
    config.write_text("version: 1\nruntime_dir: run\nservices: {}\n")
    with served(socket, canned({"wait": ONE})):
        assert keepd("wait", cwd=tmp_path).returncode == 0
        assert keepd("-c", config, "wait").returncode == 0
        assert keepd("wait", env=environment(KEEPD_CONFIG=str(config))).returncode == 0
        assert keepd("wait", env=environment(KEEPD_RUNTIME_DIR=str(run_dir))).returncode == 0


def test_check_tells_a_good_config_and_all_faults_of_a_bad_one(tmp_path):
    good, bad = tmp_path / "good.yaml", tmp_path / "bad.yaml"
    head = f"version: 1\nname: shop\nruntime_dir: {tmp_path}/run\n"
    good.write_text(
        head + "services: {web: {command: [sleep, '9'], replicas: 3}, db: {command: x}}\n"
    )
    bad.write_text(
        head + "services:\n  web:\n    comand: sleep 9\n  db:\n    command: [x]\n    watchdog: x\n"
    )
    done = keepd("check", good)
    assert (done.returncode, done.stdout) == (0, f"{good} is good: 2 services, 4 replicas\n")
    assert json.loads(keepd("check", good, "--json").stdout) == {
        "config": str(good),
        "faults": [],
        "services": {"web": 3, "db": 1},
    }
    done = keepd("-c", bad, "check")
    assert (done.returncode, done.stdout) == (2, "")
    first, *faults = done.stderr.splitlines()
    assert first.startswith(f"cannot use {bad}: ")
    assert any(line.startswith(f"{bad}:6:5: ") and "'command'" in line for line in faults)
    assert any(line.startswith(f"{bad}:9:15: ") for line in faults)
    error = json.loads(keepd("check", bad, "--json").stdout)["error"]
    assert error["kind"] == "bad-config"
    assert {fault["line"] for fault in error["faults"]} >= {6, 9}


def test_check_schema_is_a_json_schema():
    done = keepd("check", "--schema")
    assert done.returncode == 0
    assert "services" in json.loads(done.stdout)["$defs"]["Document"]["properties"]


def test_down_waits_until_the_anchor_is_gone(run_dir, socket):
    pid = os.fork()
    if pid == 0:
        os.execvp("sleep", ["sleep", "60"])
    try:
        with served(socket, canned({"down": {"pid": pid}})) as server:
            done = at(run_dir, "down", "--timeout", "200ms")
            assert done.returncode == 5
            assert done.stderr.startswith(
                f"cannot wait longer: keepd (pid {pid}) is still stopping"
            )
            assert server
    finally:
        os.kill(pid, 9)
        os.waitpid(pid, 0)


def test_down_is_done_when_the_connection_and_the_process_have_ended(run_dir, socket):
    def leaving(poller):
        servers = []

        def down(params, reply):
            reply.result({"pid": pid})
            poller.later(servers[0].close)

        return {"down": down}, servers.append

    pid = os.fork()
    if pid == 0:
        os._exit(0)
    with served(socket, leaving):
        done = at(run_dir, "down")
    os.waitpid(pid, 0)
    assert done.returncode == 0
    assert done.stdout == f"keepd (pid {pid}) has stopped everything and ended\n"


def test_a_reader_that_has_seen_enough_is_no_trouble(run_dir, socket):
    many = whole(*[replica(f"web/{number}") for number in range(3000)])
    with served(socket, canned({"status": many})):
        command = f"{os.sys.executable} -m supervisor --runtime-dir {run_dir} status | head -1"
        read, write = os.pipe()
        pid = os.posix_spawn(
            "/bin/sh",
            ["sh", "-c", command],
            environment(PYTHONPATH=str(ROOT)),
            file_actions=[
                (os.POSIX_SPAWN_DUP2, write, 2),
                (os.POSIX_SPAWN_OPEN, 1, "/dev/null", 1, 0),
            ],
        )
        os.close(write)
        os.waitpid(pid, 0)
        with open(read, "rb") as errors:
            assert errors.read() == b""

"""Births: what a service begins with, and what becomes of those that cannot be born."""

import contextlib
import os
import resource
import signal
import socket
from functools import partial

import pytest

from supervisor.control.client import Refused
from tests.daemon.harness import PROGRAMS, kill, program, read, until

EACH_WAY = f"""
    services:
      spawned: {{command: [sleep, "1000"]}}
      shell: {{command: "true; sleep 1000", shell: true}}
      prepared: {{command: [sleep, "1000"], umask: "022"}}
      function: {{python: "functions:wait", cwd: {PROGRAMS}}}
"""
WAYS = ("spawned", "shell", "prepared", "function")


def facts(pid):
    """Return /proc/PID/status as a mapping."""
    lines = read(pid, "status").splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def environment(pid):
    entries = read(pid, "environ").split("\0")
    return dict(entry.split("=", 1) for entry in entries if "=" in entry)


def has_open(pid, expected):
    """Return whether these are the descriptors of a process, and what each is open on."""
    found = {}
    for fd in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(FileNotFoundError):  # closed since
            found[fd] = os.readlink(f"/proc/{pid}/fd/{fd}")
    return found == expected


def test_f67_a_service_has_nothing_open_but_its_three(keepd):
    one = keepd(EACH_WAY).up()
    for way in WAYS:
        output = f"{one.run_dir}/fifo/{way}/0.1"
        # A function is told of just before the socket of its birth is closed, and it is called.
        expected = {"0": os.devnull, "1": output, "2": output}
        until(partial(has_open, one.pid(way), expected))


def test_f18_each_service_leads_a_session_and_a_group_of_its_own(keepd):
    one = keepd(EACH_WAY).up()
    for way in WAYS:
        pid = one.pid(way)
        group, session = read(pid, "stat").rpartition(")")[2].split()[2:4]
        assert int(group) == int(session) == pid, way


def test_f82_what_our_manager_told_us_is_not_for_services(keepd, tmp_path):
    ours = {"LISTEN_FDS": "1", "LISTEN_PID": "1", "LISTEN_FDNAMES": "http", "MAINPID": "1"}
    ours |= {"NOTIFY_SOCKET": f"{tmp_path}/manager", "WATCHDOG_USEC": "9000000"}
    ours |= {"WATCHDOG_PID": "1", "FDSTORE": "1"}
    config = f"{EACH_WAY}      told: {{command: {program('alone')}, ready: {{notify: true}}}}\n"
    config = config.replace("}\n", ", inherit_env: all}\n")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(ours["NOTIFY_SOCKET"])
        one = keepd(config, env={**os.environ, **ours, "SHOWN": "1"}).up()
        for way in ("spawned", "shell", "prepared"):
            found = environment(one.pid(way))
            assert found["SHOWN"] == "1"
            assert not ours.keys() & found.keys(), way
        found = until(lambda: one.lines("function/0"))[0].split()
        assert "SHOWN" in found
        assert not ours.keys() & set(found)
        told = environment(one.pid("told"))
        assert ours.keys() & told.keys() == {"NOTIFY_SOCKET"}
        assert told["NOTIFY_SOCKET"].startswith(f"{one.run_dir}/notify/")
        manager.settimeout(10)
        while b"READY=1" not in manager.recv(4096):
            pass


def test_f16_f17_a_service_begins_with_no_signal_blocked_or_ignored(keepd):
    def careless():
        for number in (
            signal.SIGHUP,
            signal.SIGINT,
            signal.SIGTERM,
            signal.SIGUSR1,
            signal.SIGPIPE,
        ):
            signal.signal(number, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())

    one = keepd(EACH_WAY, preexec_fn=careless).up()
    pythons = (1 << signal.SIGPIPE - 1) | (1 << signal.SIGXFSZ - 1)
    threads = 0b11 << 31  # two that are the C library's own, and out of everybody's reach
    for way in WAYS:
        seen = facts(one.pid(way))
        assert int(seen["SigBlk"], 16) == 0, way
        assert int(seen["SigIgn"], 16) & ~threads == (pythons if way == "function" else 0), way
    pids = [one.pid(way) for way in WAYS]
    assert one.stop() == 0  # heard, though TERM was blocked and ignored when it was started
    assert not any(map(facts, pids))


def test_f65_sixty_services_fit_into_256_descriptors(keepd):
    def few():
        resource.setrlimit(resource.RLIMIT_NOFILE, (100, 256))

    one = keepd(
        """
        defaults: {backoff: {first: 0s}}
        services:
          spawned: {command: [sleep, "1000"], replicas: 40}
          prepared: {command: [sleep, "1000"], umask: "022", replicas: 20}
        """,
        preexec_fn=few,
    ).up()
    before = {replica["id"]: replica["pid"] for replica in one.replicas()}
    for pid in before.values():
        limits = next(x for x in read(pid, "limits").splitlines() if x.startswith("Max open files"))
        assert limits.split()[3:5] == ["100", "256"]
    kill(*before.values())
    pids = {*before.values()}
    until(lambda: all(r["ready"] and r["pid"] not in pids for r in one.replicas()))
    assert one.stop() == 0


NEVER_BORN = {  # what is wrong: (how the config says it, why it cannot be started)
    "missing": ("command: [gunicron]", "no such file: 'gunicron'"),
    "path": ("command: [./gunicron]", "no such file: './gunicron'"),
    "forbidden": ("command: [./forbidden]", "permission denied: './forbidden'"),
    "folder": ("command: [./folder]", "is a directory: './folder'"),
    "script": (
        "command: [./script]",
        "no such interpreter (the #! line, or the loader): './script'",
    ),
    "nothing": ("command: [./nothing]", "not an executable format: './nothing'"),
}


def test_f38_what_cannot_be_started_is_told_in_words_and_never_ran(keepd, tmp_path):
    services = [f"{name}: {{{how}}}" for name, (how, _) in NEVER_BORN.items()]
    services += [
        f"{name}-in: {{{how}, cwd: sub, umask: '022'}}" for name, (how, _) in NEVER_BORN.items()
    ]
    services += ["homeless: {command: [sleep, '1'], cwd: nowhere}"]
    for folder in (tmp_path, tmp_path / "sub"):
        (folder / "folder").mkdir(parents=True)
        for name, mode in (("forbidden", 0o644), ("script", 0o755), ("nothing", 0o755)):
            (folder / name).write_text("#!/no/such/interpreter\n" if name == "script" else "")
            (folder / name).chmod(mode)
    config = "defaults: {backoff: {first: 1m, jitter: 0}}\nservices:\n  " + "\n  ".join(services)
    one = keepd(config).up(ready=False)
    expected = {f"{name}/0": words for name, (_, words) in NEVER_BORN.items()}
    expected |= {f"{name}-in/0": words for name, (_, words) in NEVER_BORN.items()}
    expected["homeless/0"] = f"cwd: no such directory: '{tmp_path}/nowhere'"
    for key, words in expected.items():
        replica = one.becomes(key, "BACKOFF", run=1, pid=None)
        assert replica["last_exit"]["code"] is replica["last_exit"]["signal"] is None
        assert replica["last_exit"]["text"] == words
        one.tells(f" cannot start {key}: {words}; next start in ")
        assert one.log(key) == ""
    assert "exited" not in one.log("keepd")
    assert " started" not in one.log("keepd")


def test_f38_a_function_that_is_not_there_is_told_in_words(keepd):
    one = keepd(
        f"""
        defaults: {{backoff: {{first: 1m}}, cwd: {PROGRAMS}}}
        services:
          module: {{python: "nowhere:wait"}}
          name: {{python: "functions:weight"}}
          interpreter: {{python: "functions:wait", interpreter: /no/such/python}}
        """
    ).up(ready=False)
    text = one.becomes("module", "BACKOFF")["last_exit"]["text"]
    assert text.startswith("cannot import 'nowhere': ModuleNotFoundError")
    text = one.becomes("name", "BACKOFF")["last_exit"]["text"]
    assert text == "no function 'weight' in module 'functions'"
    text = one.becomes("interpreter", "BACKOFF")["last_exit"]["text"]
    assert "/no/such/python" in text


def test_f39_a_birth_that_hangs_holds_up_nobody_else(keepd):
    one = keepd(
        """
        defaults: {backoff: {first: 0s}}
        services:
          hung: {command: [sleep, "1000"], umask: "022"}
          well: {command: [sleep, "1000"]}
        """
    ).up()
    zygote = one.titles()["zygote"]
    kill(zygote, number=signal.SIGSTOP)
    one.kill("hung")
    one.becomes("hung", "STARTING", run=2, pid=None)
    for run in range(2, 12):
        one.kill("well")
        one.becomes("well", "RUNNING", run=run)
    assert one.replica("hung")["state"] == "STARTING"
    kill(zygote, number=signal.SIGCONT)
    one.becomes("hung", "RUNNING", run=2)


def test_f39_a_zygote_that_hangs_for_good_is_replaced(keepd):
    one = keepd(
        f"""
        defaults: {{backoff: {{first: 10ms}}}}
        services:
          hung: {{command: {program("alone")}, cwd: sub, nice: 0,
                  ready: {{notify: true, timeout: 6s}}}}
        """
    )
    (one.folder / "sub").mkdir()
    one.up()
    zygote = one.titles()["zygote"]
    kill(zygote, number=signal.SIGSTOP)
    one.kill("hung")
    one.becomes("hung", "RUNNING", run=3)
    assert one.titles()["zygote"] != zygote
    one.tells(" cannot start hung/0: not born in time")
    assert not (one.folder / "sub" / "two").exists()


def test_f39_a_stop_does_not_wait_for_a_birth_that_hangs(keepd):
    one = keepd(
        """
        defaults: {backoff: {first: 0s}}
        services:
          hung: {command: [sleep, "1000"], umask: "022"}
        """
    ).up()
    kill(one.titles()["zygote"], number=signal.SIGSTOP)
    one.kill("hung")
    one.becomes("hung", "STARTING", run=2)
    assert one.stop() == 0


def test_f48_an_exit_before_ready_was_never_running(keepd):
    one = keepd(
        f"""
        defaults: {{backoff: {{first: 1m}}}}
        services:
          early: {{command: {program("clan", "crash")}, env: {{NOTIFY_SOCKET: ""}},
                   ready: {{after: 1h, timeout: 2h}}}}
          after: {{command: [sleep, "1000"], depends_on: [early]}}
        """
    ).up(ready=False)
    replica = one.becomes("early", "BACKOFF", ready=False, run=1)
    assert replica["last_exit"]["code"] == 3
    after = one.replica("after")
    assert (after["state"], after["run"], after["waiting_for"]) == ("STOPPED", 0, ["early"])
    assert "early/0 is ready" not in one.log("keepd")
    assert "early/0 started" not in one.log("keepd")


def test_f48_a_wait_for_what_fails_for_good_is_refused(keepd):
    one = keepd(
        """
        services:
          early: {command: "exit 4", shell: true, restart: never, ready: {after: 1h, timeout: 2h}}
        """
    ).up(ready=False)
    with pytest.raises(Refused) as refused:
        one.call("wait", {"names": ["early"], "for": "ready", "timeout": 10})
    assert refused.value.kind == "failed"
    assert one.replica("early")["state"] == "FATAL"

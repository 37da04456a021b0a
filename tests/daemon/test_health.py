"""Services that run and do not do their work: found by checks and by heartbeats, and restarted."""

import fcntl
import os
import select
import signal
import socket

import pytest

from tests.daemon.harness import children, ends, kill, program, read, tagged, until

QUICK = "every: 200ms, timeout: 300ms"


@pytest.fixture
def port():
    """A port that nobody uses at this moment."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def passes(seconds):
    select.poll().poll(seconds * 1000)


def test_who_accepts_and_never_answers_is_restarted_and_delays_nobody(keepd, port):
    http = f"http: 'http://127.0.0.1:{port}/'"
    one = keepd(f"""
        services:
          mute:
            command: {program("serves", port, "mute")}
            ready: {{log: listens}}
            health: {{{http}, {QUICK}, failures: 3}}
          well: {{command: sleep 1000, health: {{exec: 'true', every: 100ms, failures: 1}}}}
    """).up()
    why = "mute/0 is not healthy: no answer within 0.3 s (3 times): stopping it"
    one.tells(why)
    one.becomes("mute/0", "RUNNING", restarts=1)
    assert one.replica("mute/0")["last_exit"]["text"].startswith("not healthy: no answer")
    well = one.replica("well/0")
    assert (well["restarts"], well["healthy"]) == (0, True)


def test_a_stopped_service_is_found_by_its_checks_and_by_its_heartbeat(keepd, port):
    one = keepd(f"""
        services:
          asked:
            command: {program("serves", port)}
            ready: {{log: listens}}
            health: {{http: 'http://127.0.0.1:{port}/', {QUICK}, failures: 2}}
          beats: {{command: {program("beats", "ready", "beat")}, ready: notify, watchdog: 600ms}}
          other: {{command: {program("beats", "ready", "beat")}, ready: notify, watchdog: 2s}}
    """).up()
    for key in ("asked/0", "beats/0"):
        one.kill(key, signal.SIGSTOP)
    for key, why in (("asked/0", "no answer within 0.3 s (2 times)"), ("beats/0", "no heartbeat")):
        one.becomes(key, "RUNNING", restarts=1, ready=True)
        assert f"not healthy: {why}" in one.replica(key)["last_exit"]["text"]
    assert one.replica("other/0")["restarts"] == 0


def test_flapping_below_the_threshold_restarts_nobody_and_is_shown(keepd, port):
    one = keepd(f"""
        services:
          web:
            command: {program("serves", port)}
            ready: {{log: listens}}
            health: {{http: 'http://127.0.0.1:{port}/', every: 100ms, failures: 100}}
    """).up()
    sick = one.folder / "sick"
    for _ in range(3):
        sick.touch()
        web = one.becomes("web/0", "RUNNING", healthy=False, restarts=0)
        assert web["text"].startswith("not healthy: HTTP 500 Sick (")
        assert web["text"].endswith(" of 100)")
        sick.unlink()
        one.becomes("web/0", "RUNNING", healthy=True, restarts=0)
    assert one.log("keepd").count("not healthy") == 0


def sleeps(one, *seconds):
    """Return the pids of those `sleep SECONDS` that belong to a service or to its checks."""
    lines = {pid: read(pid, "cmdline").split("\0") for pid in tagged(one.run_dir)}
    return [pid for pid, words in lines.items() if words[0] == "sleep" and words[1] in seconds]


def test_a_command_that_checks_is_run_as_the_service_is(keepd, tmp_path):
    look = 'exec > "$$OUT"; env; pwd -P; ps -o sid= -p $$$$; echo $$$$'
    one = keepd(f"""
        services:
          web:
            command: sleep 1000
            cwd: /var
            env: {{WORD: "one two", OUT: {tmp_path}/said}}
            ready: {{exec: [sh, -c, '{look}']}}
            watchdog: 1h
    """).up()
    said = (tmp_path / "said").read_text().splitlines()
    assert {"WORD=one two", f"KEEPD_RUN={one.run_dir}:web/0:1", "KEEPD_REPLICA=0"} <= {*said}
    assert not [line for line in said if line.startswith(("NOTIFY_SOCKET", "WATCHDOG"))]
    assert said[-3] == "/var"
    assert said[-2].strip() == said[-1]  # it leads a session of its own


def test_a_command_that_hangs_is_killed_with_all_of_its_session_and_delays_nobody(either):
    one = either("""
        services:
          hung:
            command: sleep 1000
            health: {exec: [sh, -c, 'sleep 1001 & sleep 1002'], every: 300ms, timeout: 100ms}
            backoff: {first: 1h}
          well:
            command: sleep 1000
            health: {exec: 'true', every: 100ms, failures: 1}
    """).up()
    one.becomes("hung/0", "BACKOFF")
    text = one.replica("hung/0")["last_exit"]["text"]
    assert text.startswith("not healthy: no answer within 0.1 s (3 times)")
    assert one.replica("well/0")["restarts"] == 0
    until(lambda: not sleeps(one, "1001", "1002"), every=0.1)


def test_f40_what_a_check_leaves_behind_is_ended_and_reaped(either):
    leave = "sleep 1001 & setsid sleep 1002 & echo $$$$ >> ran; exit 0"
    one = either(f"""
        services:
          web:
            command: sleep 1000
            health: {{exec: [sh, -c, '{leave}'], every: 100ms, failures: 1}}
    """).up()
    ran = one.folder / "ran"
    until(lambda: ran.exists() and len(ran.read_text().split()) >= 4)
    prober = one.titles()["prober"]
    until(lambda: len(children(prober)) == 1)  # the zygote; and no zombie
    until(lambda: not sleeps(one, "1001", "1002"), every=0.1)
    assert one.replica("web/0")["restarts"] == 0


def test_f47_a_check_that_cannot_be_carried_out_says_nothing_against_the_service(keepd):
    one = keepd("""
        services:
          web:
            command: sleep 1000
            health: {exec: [./no-such-check], every: 100ms, failures: 1}
    """).up()
    why = "its health cannot be checked: no such file: './no-such-check'"
    one.tells(f"web/0: {why}")
    web = until(lambda: one.replica("web/0")["text"] == why and one.replica("web/0"))
    assert (web["state"], web["restarts"], web["healthy"]) == ("RUNNING", 0, True)


def test_checks_go_on_after_the_death_of_the_prober(keepd, port):
    one = keepd(f"""
        services:
          web:
            command: {program("serves", port)}
            ready: {{log: listens}}
            health: {{http: 'http://127.0.0.1:{port}/', every: 100ms, failures: 2}}
    """).up()
    prober = until(lambda: one.titles().get("prober"))
    kill(prober)
    ends(prober)
    (one.folder / "sick").touch()
    one.tells("web/0 is not healthy: HTTP 500 Sick (2 times)")


def test_f44_nobody_is_restarted_because_keepd_stood_still(keepd):
    one = keepd(f"""
        services:
          beats: {{command: {program("beats", "ready", "beat")}, ready: notify, watchdog: 500ms}}
          asked: {{command: sleep 1000, health: {{exec: 'true', {QUICK}, failures: 1}}}}
    """).up()
    master = one.status()["daemon"]["master_pid"]
    prober = until(lambda: one.titles().get("prober"))
    everybody = [master, prober, one.pid("beats/0")]
    for frozen in ([master, prober], everybody):  # alone, and as when a whole machine stands still
        kill(*frozen, number=signal.SIGSTOP)
        passes(1.8)
        kill(*reversed(frozen), number=signal.SIGCONT)
        passes(0.3)
        assert [one.replica(key)["restarts"] for key in ("beats/0", "asked/0")] == [0, 0]


def test_f73_a_disk_that_hangs_delays_no_heartbeat_and_no_supervision(keepd):
    """The log writer stands still, as in a write to a dead disk; more is told than pipes hold."""
    one = keepd(f"""
        services:
          beats: {{command: {program("beats", "ready", "beat")}, ready: notify, watchdog: 500ms}}
          brief: {{command: 'true', replicas: 9, backoff: {{first: 10ms, factor: 1, jitter: 0}}}}
    """).up(ready=False)
    began = one.becomes("beats/0", "RUNNING", ready=True)["uptime"]
    writer = one.titles()["log writer"]
    with open(one.run_dir / "events.fifo", "rb+", buffering=0) as pipe:
        fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, select.PIPE_BUF)
    kill(writer, number=signal.SIGSTOP)
    restarts = sum(replica["restarts"] for replica in one.replicas())
    until(lambda: sum(replica["restarts"] for replica in one.replicas()) > restarts + 200)
    until(lambda: one.replica("beats/0")["uptime"] > began + 1.2, every=0.1)
    assert one.replica("beats/0")["restarts"] == 0
    kill(writer, number=signal.SIGCONT)
    one.tells("events could not be written")


def test_f74_a_thread_that_is_well_is_no_heartbeat(keepd):
    one = keepd(f"""
        services:
          web: {{command: {program("beats", "ready", "stuck")}, ready: notify, watchdog: 500ms}}
    """).up()
    until(lambda: "alive" in one.lines("web/0"))
    one.tells("web/0 is not healthy: no heartbeat")
    one.becomes("web/0", "RUNNING", restarts=1, ready=True)


def test_f82_a_service_with_a_watchdog_gets_a_socket_of_its_own_and_its_own_pid(keepd):
    one = keepd(
        f"services:\n  web: {{command: {program('beats', 'beat')}, watchdog: 20s}}\n",
        env={**os.environ, "WATCHDOG_USEC": "7", "WATCHDOG_PID": "7"},
    ).up()
    pid = one.pid("web/0")
    path = f"{one.run_dir}/notify/web/0.1"
    until(lambda: one.lines("web/0") == [f"{path} 20000000 {pid} {pid}"])


def test_a_service_says_how_it_is_that_it_needs_longer_and_that_it_has_had_enough(keepd):
    longer = ("EXTEND_TIMEOUT_USEC=60000000", "STATUS=warming up")
    one = keepd(f"""
        services:
          slow:
            command: {program("beats", *longer)}
            ready: {{notify: true, timeout: 600ms}}
          enough:
            command: {program("beats", "ready", "STOPPING=1", "MAINPID=1", "WATCHDOG=trigger")}
            ready: notify
            backoff: {{first: 1h}}
    """).up(ready=False)
    one.becomes("enough/0", "BACKOFF")
    assert "not healthy: it said so itself" in one.replica("enough/0")["last_exit"]["text"]
    slow = one.becomes("slow/0", "STARTING", text="warming up")
    passes(0.8)
    assert one.replica("slow/0") | {"uptime": 0} == slow | {"uptime": 0}


def test_s18_only_processes_of_the_run_are_believed(either):
    one = either(f"""
        services:
          web: {{command: {program("beats")}, ready: {{notify: true, timeout: 1h}}}}
          child: {{command: {program("beats", "child", "ready")}, ready: notify}}
    """).up("child")
    one.call("start", {"names": ["web"]})
    until(lambda: one.lines("web/0"))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as stranger:
        stranger.connect(f"{one.run_dir}/notify/web/0.1")
        stranger.send(b"READY=1\nSTATUS=lies")
        stranger.send(b"WATCHDOG=trigger")
    web = one.replica("web/0")
    assert (web["state"], web["text"]) == ("STARTING", "")


def test_what_is_not_ready_by_command_in_time_is_a_failed_start_and_is_never_killed_for_one_no(
    keepd,
):
    one = keepd("""
        services:
          web:
            command: sleep 1000
            ready: {exec: [sh, -c, 'echo not yet; exit 3'], timeout: 700ms, every: 100ms}
            backoff: {first: 1h}
    """).up(ready=False)
    until(lambda: one.replica("web/0")["text"] == "not yet (exited with 3)")
    assert one.replica("web/0")["run"] == 1
    one.becomes("web/0", "BACKOFF")
    assert one.replica("web/0")["last_exit"]["text"].startswith("not ready in time")

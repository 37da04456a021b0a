"""Stops: in order, together, within a deadline; and nothing is left, whatever the service is."""

import os
import signal
import threading

from tests.daemon.harness import alive, kill, program, read, tagged, until

DEAF = f"""
    services:
      deaf: {{command: {program("alone", "deaf")}, ready: {{notify: true}}, stop: {{timeout: 1h}}}}
      meek: {{command: [sleep, "1000"]}}
"""


def nobody_was_doubled(one):
    found = one.folder / "two"
    assert not found.exists(), found.read_text()


def words_of(one, key):
    """Return what keepd's own log says of a replica, without times and numbers of processes."""
    words = [line.split(" ", 1)[1] for line in one.log("keepd").splitlines()]
    return [line.partition(" (pid")[0] for line in words if key in line]


def test_f22_a_second_signal_hurries_the_stop_and_cancels_nothing(keepd):
    one = keepd(DEAF).up()
    pid = one.pid("deaf")
    one.process.send_signal(signal.SIGTERM)
    one.becomes("meek", "STOPPED")
    assert one.replica("deaf")["state"] == "STOPPING"
    assert "min" in one.replica("deaf")["text"]
    one.process.send_signal(signal.SIGTERM)
    assert one.process.wait(20) == 0
    assert not alive(pid)
    one.tells("deaf/0 stopped (did not end in time (killed by SIGKILL after ")


def test_f22_a_third_signal_kills(keepd):
    one = keepd(DEAF).up()
    one.process.send_signal(signal.SIGINT)
    one.becomes("meek", "STOPPED")
    assert one.replica("deaf")["state"] == "STOPPING"
    one.process.send_signal(signal.SIGINT)
    one.process.send_signal(signal.SIGTERM)
    assert one.process.wait(20) == 0
    assert tagged(one.run_dir) == []
    one.tells("deaf/0 stopped (killed by SIGKILL after ")


def test_f23_a_stopped_service_is_stopped(either):
    one = either(
        """
        defaults: {stop: {timeout: 1h}}
        services:
          plain: {command: [sleep, "1000"]}
          prepared: {command: [sleep, "1000"], umask: "022"}
        """
    ).up()
    for name in ("plain", "prepared"):
        pid = one.kill(name, signal.SIGSTOP)
        until(lambda pid=pid: "State:\tT" in read(pid, "status"))
    one.call("stop")
    for name in ("plain", "prepared"):
        replica = one.becomes(name, "STOPPED")
        assert replica["last_exit"]["signal"] == "SIGTERM"


def test_f28_who_ignores_term_is_killed_at_its_deadline_and_it_is_told(either):
    one = either(
        f"""
        services:
          deaf: {{command: {program("alone", "deaf")}, ready: {{notify: true}},
                  stop: {{timeout: 700ms}}}}
        """
    ).up()
    one.call("stop")
    assert one.replica("deaf")["text"].startswith("killed in 0.")
    replica = one.becomes("deaf", "STOPPED")
    assert replica["last_exit"]["signal"] == "SIGKILL"
    assert replica["last_exit"]["text"].startswith("did not end in time (killed by SIGKILL after ")
    one.tells("deaf/0 stopped (did not end in time (killed by SIGKILL after ")
    assert words_of(one, "deaf/0")[1] == "deaf/0 stopping"


def test_f29_f30_a_stop_leaves_no_descendant(either):
    one = either(
        f"""
        services:
          clan: {{command: {program("clan", "deaf", "away", "daemon")}, ready: {{notify: true}},
                  stop: {{timeout: 500ms}}}}
          other: {{command: {program("clan", "deaf", "away", "daemon")}, ready: {{notify: true}},
                   stop: {{timeout: 500ms}}}}
        """
    ).up()
    assert len(tagged(one.run_dir)) == 8
    one.call("stop", {"names": ["clan"]})
    replica = one.becomes("clan", "STOPPED")
    assert replica["last_exit"]["signal"] == "SIGTERM"  # the leader obeyed; the others did not
    left = tagged(one.run_dir)
    assert len(left) == 4
    assert all("KEEPD_SERVICE=other" in read(pid, "environ") for pid in left)
    one.call("start", {"names": ["clan"]})
    one.becomes("clan", "RUNNING", run=2)
    assert one.stop() == 0
    assert tagged(one.run_dir) == []


def test_f30_who_hides_all_marks_is_found_by_its_group_or_named_and_ended_by_down(either):
    one = either(
        f"""
        services:
          clan: {{command: {program("clan", "hidden")}, ready: {{notify: true}},
                  stop: {{timeout: 500ms}}}}
        """
    ).up()
    hidden = until(
        lambda: [int(f.suffix[1:]) for f in one.folder.iterdir() if f.name.startswith("hidden.")]
    )[0]
    until(lambda: read(hidden, "cmdline").startswith("sleep"))
    one.call("stop")
    one.becomes("clan", "STOPPED")
    if one.grouped:
        assert not alive(hidden)
    else:
        until(lambda: hidden in one.status()["daemon"]["unattributed"])
    assert one.stop() == 0
    assert not alive(hidden)


def test_f49_words_that_cross_births_and_deaths_make_no_second_instance(either):
    one = either(
        f"""
        defaults:
          command: {program("alone", "child")}
          ready: {{notify: true}}
          stop: {{timeout: 100ms}}
          backoff: {{first: 10ms, factor: 1}}
        services:
          web: {{replicas: 2}}
          prepared: {{umask: "022", replicas: 2}}
        """
    ).up()
    turns = [("stop", "start"), ("restart", "restart"), ("start", "stop"), ("restart", "stop")]
    wanted = [["web"], ["prepared"], [], ["web/1", "prepared/0"]]
    for turn in range(40):
        for verb in turns[turn % 4]:
            one.call(verb, {"names": wanted[turn // 4 % 4]})
        if turn % 5 == 4:  # in the middle of it: somebody dies
            kill(*(replica["pid"] for replica in one.replicas() if replica["pid"]))
        if turn % 7 == 6:  # and sometimes all are let come up
            one.call("start")
            one.call("wait", {"for": "ready", "timeout": 20})
    one.call("start")
    one.call("wait", {"for": "ready", "timeout": 20})
    nobody_was_doubled(one)
    assert len(tagged(one.run_dir)) == 8
    one.call("stop")
    one.call("wait", {"for": "stopped", "timeout": 20})
    assert tagged(one.run_dir) == []
    nobody_was_doubled(one)


def test_f49_a_stop_during_a_start_and_a_start_during_backoff_do_what_was_asked_last(keepd):
    one = keepd(
        f"""
        services:
          slow: {{command: {program("alone")}, ready: {{after: 1h, timeout: 2h}}}}
          broken: {{command: "test -e mended && exec sleep 1000", shell: true,
                    backoff: {{first: 1m}}}}
          deaf: {{command: {program("alone", "deaf")}, ready: {{notify: true}},
                  stop: {{timeout: 500ms}}}}
        """
    ).up("deaf")
    one.call("start", {"names": ["slow", "broken"]})
    one.becomes("slow", "STARTING")
    one.call("stop", {"names": ["slow"]})
    one.becomes("slow", "STOPPED", run=1)
    one.becomes("broken", "BACKOFF", run=1)
    (one.folder / "mended").touch()
    one.call("start", {"names": ["broken"]})
    one.becomes("broken", "RUNNING", limit=20, run=2)
    one.call("stop", {"names": ["deaf"]})
    one.becomes("deaf", "STOPPING", run=1)
    one.call("restart", {"names": ["deaf"]})
    one.becomes("deaf", "RUNNING", run=2)
    nobody_was_doubled(one)


def test_f50_all_stop_together_in_reverse_order_within_one_deadline(keepd):
    one = keepd(
        f"""
        defaults: {{command: {program("alone", "deaf")}, ready: {{notify: true}},
                    stop: {{timeout: 1s}}}}
        services:
          store: {{replicas: 10}}
          web: {{replicas: 10, depends_on: [store]}}
        """
    ).up()
    one.process.send_signal(signal.SIGTERM)
    assert one.process.wait(12) == 0  # one after the other it would be 20 s
    words = [line.split(" ", 1)[1] for line in one.log("keepd").splitlines()]
    stopping = [line for line in words if line.endswith(" stopping")]
    assert [line.partition("/")[0] for line in stopping] == ["web"] * 10 + ["store"] * 10
    last_web = max(
        n for n, line in enumerate(words) if line.startswith("web/") and "stopped" in line
    )
    assert words.index(stopping[9]) < last_web < words.index(stopping[10])


def test_f50_the_word_down_ends_when_nothing_is_left(either):
    one = either(
        f"""
        defaults: {{ready: {{notify: true}}, stop: {{timeout: 500ms}}}}
        services:
          clan: {{command: {program("clan", "deaf", "away", "daemon")}}}
          deaf: {{command: {program("alone", "deaf", "child")}}}
        """
    ).up()
    reaper = threading.Thread(target=one.process.wait)  # as a shell does
    reaper.start()
    done = one.run("down")
    assert done.returncode == 0, done.stderr
    assert tagged(one.run_dir) == []
    reaper.join(20)
    assert not one.group().exists() or not one.grouped
    assert not os.path.exists(one.run_dir / "control.sock")

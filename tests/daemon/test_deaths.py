"""Deaths: of services, one or many at once, and of each process of keepd itself."""

import os
import signal

import pytest

from supervisor.control.client import NoDaemon, Refused
from tests.daemon.harness import (
    GROUPS,
    WITHOUT_GROUPS,
    alive,
    ends,
    kill,
    kill_at_once,
    program,
    read,
    tagged,
    until,
)

SLEEPERS = """
    defaults: {backoff: {first: 10ms, factor: 1}}
    services:
      web: {command: [sleep, "1000"], replicas: %d}
      prepared: {command: [sleep, "1000"], umask: "022", replicas: %d}
"""
ALONE = f"""
    defaults:
      backoff: {{first: 10ms, factor: 1}}
      ready: {{notify: true}}
      stop: {{timeout: 1s}}
    services:
      plain: {{command: {program("alone")}, replicas: 2}}
      deaf: {{command: {program("alone", "deaf", "child")}, replicas: 2}}
"""


def all_ready(one, without=()):
    """Return the replicas once all are ready, and none is one of the processes named."""

    def look():
        found = one.replicas()
        return found if all(r["ready"] and r["pid"] not in without for r in found) else None

    return until(look, every=0.05)


def pids(one):
    return {replica["id"]: replica["pid"] for replica in one.replicas()}


def zombies_of(pid):
    """Return the dead children that a process has not reaped."""
    children = read(pid, f"task/{pid}/children").split()
    return [child for child in children if not alive(int(child))]


def nobody_was_doubled(one):
    found = one.folder / "two"
    assert not found.exists(), found.read_text()


def test_f6_deaths_are_seen_though_our_parent_ignored_sigchld(keepd):
    def careless():
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)

    one = keepd(SLEEPERS % (1, 1), preexec_fn=careless).up()
    for name in ("web", "prepared"):
        one.kill(name, signal.SIGUSR1)
        replica = one.becomes(name, "RUNNING", run=2)
        assert replica["last_exit"]["signal"] == "SIGUSR1"


def test_f14_fifty_deaths_at_once_are_all_seen(either):
    one = either(SLEEPERS % (40, 10)).up()
    before = pids(one)
    kill(*before.values())
    after = all_ready(one, before.values())
    assert all(replica["last_exit"]["text"].startswith("killed by SIGKILL") for replica in after)
    master = one.titles()["master"]
    until(lambda: not zombies_of(master))


def test_f31_a_crash_leaves_no_grandchild(either):
    one = either(
        f"""
        defaults: {{backoff: {{first: 10ms, factor: 1}}, ready: {{notify: true}}}}
        services:
          web: {{command: {program("clan", "deaf", "away", "daemon")}, stop: {{timeout: 100ms}}}}
        """
    ).up()
    for run in (2, 3):
        before = tagged(one.run_dir)
        assert len(before) == 4
        one.kill("web")
        one.becomes("web", "RUNNING", run=run)
        assert not any(map(alive, before))
    one.tells("web/0 killed by SIGKILL and left processes behind")


def test_f32_a_grandchild_that_holds_stdout_open_hides_no_death(either):
    one = either(
        f"""
        defaults: {{backoff: {{first: 1m}}, ready: {{notify: true}}}}
        services:
          web: {{command: {program("clan", "away", "daemon", "crash")}}}
        """
    ).up(ready=False)
    replica = one.becomes("web", "BACKOFF", run=1)
    assert replica["last_exit"]["code"] == 3
    assert tagged(one.run_dir) == []


def test_f35_whoever_ends_just_before_a_signal_breaks_nothing(keepd):
    one = keepd(
        """
        defaults: {backoff: {first: 0s}}
        services:
          brief: {command: ["true"], replicas: 4}
        """
    ).up(ready=False)
    for _ in range(20):
        one.call("restart")
        one.call("stop", {"names": ["brief/0", "brief/1"]})
        one.call("start")
    one.call("stop")
    one.call("wait", {"for": "stopped", "timeout": 10})
    one.call("start")
    one.becomes("brief/3", "STARTING")
    assert one.stop() == 0


def test_f43_five_hundred_deaths_in_a_moment_and_all_are_back_without_cgroups(keepd):
    one = keepd(SLEEPERS % (490, 10), under=WITHOUT_GROUPS if GROUPS else ()).up()
    before = pids(one)
    kill(*before.values())
    all_ready(one, before.values())
    assert {replica["run"] for replica in one.replicas()} == {2}


def test_f45_f46_crash_loops_back_off_and_hold_up_nobody(keepd):
    one = keepd(
        """
        defaults: {backoff: {first: 30ms, factor: 10, limit: 1m, jitter: 0}}
        services:
          broken: {command: ["false"], replicas: 20}
          missing: {command: [gunicron], replicas: 5}
          good: {command: [sleep, "1000"], backoff: {first: 0s}}
        """
    ).up(ready=False)
    bad = [f"{name}/{n}" for name, count in (("broken", 20), ("missing", 5)) for n in range(count)]
    for key in bad:
        one.becomes(key, "BACKOFF", run=4)
    for run in range(1, 6):
        one.kill("good")
        one.becomes("good", "RUNNING", limit=10, run=run + 1)
    for key in bad:
        replica = one.replica(key)
        assert (replica["state"], replica["run"], replica["restarts"]) == ("BACKOFF", 4, 3)
        assert 0 < replica["next_start_in"] <= 30
    words = one.replica("broken/7")
    assert words["last_exit"]["text"].startswith("exited with 1 after ")
    assert "; next start in " in words["text"]


def descriptors(one):
    names = ("anchor", "master", "log writer", "terminal", "zygote")
    titles = one.titles()
    return {name: len(os.listdir(f"/proc/{titles[name]}/fd")) for name in names}


def test_f66_two_hundred_restarts_leak_no_descriptor(keepd):
    one = keepd(SLEEPERS % (10, 10)).up()

    def restarted():
        before = pids(one)
        kill(*before.values())
        all_ready(one, before.values())

    restarted()
    before = descriptors(one)
    for _ in range(10):
        restarted()
    until(lambda: all(count <= before[name] for name, count in descriptors(one).items()))


def test_f25_a_killed_master_is_replaced_and_no_service_notices(either):
    one = either(ALONE).up()
    before = pids(one)
    for _ in range(3):
        master = one.titles()["master"]
        kill(master)
        ends(master)
        until(lambda gone=master: titles_or_none(one).get("master", gone) != gone)
        assert pids(one) == before
        assert {(r["state"], r["ready"], r["run"]) for r in one.replicas()} == {
            ("RUNNING", True, 1)
        }
    kill(*before.values())
    all_ready(one, before.values())
    nobody_was_doubled(one)
    assert one.stop() == 0
    assert tagged(one.run_dir) == []
    for key in before:
        assert one.lines(key) == ["1 holds", "2 holds"]


def titles_or_none(one):
    try:
        return one.titles()
    except (NoDaemon, Refused):  # the master is away for a moment
        return {}


@pytest.mark.parametrize("title", ["zygote", "prober", "log writer", "terminal"])
def test_a_killed_helper_is_back_and_no_service_is_touched(keepd, title):
    one = keepd(
        """
        defaults: {backoff: {first: 10ms, factor: 1}}
        services:
          web: {command: [sleep, "1000"]}
          prepared: {command: [sleep, "1000"], umask: "022"}
          probed: {command: "echo ready; exec sleep 1000", shell: true, ready: {log: ready}}
        """
    ).up()
    before, killed = pids(one), one.titles()[title]
    kill(killed)
    ends(killed)
    assert pids(one) == before
    for name in ("prepared", "probed"):
        one.kill(name)
        one.becomes(name, "RUNNING", run=2)
    until(lambda: one.titles().get(title, killed) != killed)
    assert one.replica("web")["run"] == 1
    assert one.lines("probed/0") == ["ready", "ready"]
    until(lambda: one.said().count("probed/0 is ready") >= 1)


def test_f25_with_the_anchor_of_a_foreground_keepd_everything_ends(either):
    one = either(ALONE).up()
    ours, theirs = one.helpers(), tagged(one.run_dir)
    assert len(theirs) == 6
    kill(one.process.pid)
    one.process.wait(10)
    for pid in (*theirs, *ours):
        ends(pid)
    assert tagged(one.run_dir) == []
    one.tells("the anchor is gone: stopping everything")


def test_f25_when_all_of_keepd_is_killed_the_next_one_goes_on_with_what_there_is(either):
    one = either(ALONE).up()
    before, theirs = pids(one), tagged(one.run_dir)
    for _ in range(2):
        ours = one.helpers()
        kill_at_once(*ours)  # else those that die last would end all services
        one.process.wait(10)
        for pid in ours:
            until(lambda pid=pid: not alive(pid))
        one.up()
        assert pids(one) == before
        assert sorted(tagged(one.run_dir)) == sorted(theirs)
    dead = one.kill("plain/0")
    one.becomes("plain/0", "RUNNING", run=2)
    assert not alive(dead)
    nobody_was_doubled(one)
    assert one.stop() == 0
    assert tagged(one.run_dir) == []

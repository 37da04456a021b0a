"""Two misfortunes at once: one of keepd dies while all is stopping, or no descriptor is left."""

import os
import resource
import select
import signal
import socket
import subprocess

import pytest

from supervisor import anchor, rebirth
from supervisor.kept import Kept
from supervisor.launch import Launch
from supervisor.offspring import Offspring
from supervisor.unix import signals
from supervisor.wards import Wards, Watch
from tests.daemon.harness import alive, ends, kill, tagged, until
from tests.daemon.killed.losses import helpers, new_master, stopped, up

DEAF = """
    services:
      deaf: {command: "trap '' TERM; while :; do sleep 0.1; done", shell: true, stop: {timeout: 3s}}
      web: {command: [sleep, "1000"]}
      loops: {command: ["true"], backoff: {first: 10ms, factor: 1, limit: 10ms, jitter: 0}}
"""


def starved(pid):
    """Let a process have no descriptor more; return how many it may have else."""
    limits = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    used = set(map(int, os.listdir(f"/proc/{pid}/fd")))
    free = next(number for number in range(limits[1]) if number not in used)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (free, limits[1]))
    return limits


def a_while():
    """Let those who are starved meet it: nothing tells when they have."""
    select.poll().poll(700)


def stops_for_good(one):
    """Wait until nothing is left; nothing was started again."""
    until(lambda: not tagged(one.run_dir))
    assert "web/0 started" not in one.log("keepd").partition("web/0 stopping")[2]


@pytest.mark.parametrize("who", ["pid", "master_pid"])
def test_f25_f22_whoever_is_killed_while_all_is_stopping_brings_nothing_back(detached, who):
    """And `down` returns when all has ended, not when those have who began with it."""
    one = detached(DEAF)
    pid = one.status()["daemon"][who]
    command = one.command("down")
    with subprocess.Popen(command, cwd=one.root, stdout=subprocess.PIPE, text=True) as down:
        one.becomes("web", "STOPPED")
        assert one.replica("deaf")["state"] == "STOPPING"
        kill(pid)
        said = down.communicate(timeout=30)[0]
    assert down.returncode == 0 or who == "master_pid", said
    if down.returncode == 0:
        assert tagged(one.run_dir) == []
    stops_for_good(one)


def test_that_all_is_stopping_is_not_lost_on_an_anchor_that_stands_still(detached):
    """It has read nothing for so long that nothing more can be said to it; then its master dies."""
    one = detached(DEAF)
    daemon = one.status()["daemon"]
    stopped(daemon["pid"])
    until(lambda: one.replica("loops")["run"] > 800, limit=55)
    one.call("stop", {"names": ["loops"]})
    one.call("down")
    one.becomes("web", "STOPPED")
    kill(daemon["master_pid"])
    kill(daemon["pid"], number=signal.SIGCONT)
    stops_for_good(one)


def test_f36_an_anchor_without_descriptors_is_no_dead_anchor(keepd):
    one = keepd("""
        services:
          once: {command: [sleep, "1000"], restart: never}
          web: {command: [sleep, "1000"]}
        """).up()
    daemon, once = one.status()["daemon"], one.pid("once")
    kill(daemon["master_pid"])
    new_master(one, daemon["master_pid"])
    limits = starved(daemon["pid"])
    kill(once)
    until(lambda: not alive(once))
    a_while()
    assert one.process.poll() is None, one.said()
    resource.prlimit(daemon["pid"], resource.RLIMIT_NOFILE, limits)
    one.becomes("once", "FATAL")
    assert one.replica("once")["last_exit"]["signal"] == "SIGKILL"


def test_f36_a_master_and_a_log_writer_that_missed_each_other_for_want_of_descriptors_meet(keepd):
    one = keepd("services: {web: {command: 'while sleep 0.05; do echo hello; done', shell: true}}")
    one.up()
    until(lambda: "hello" in one.log("web/0"))
    daemon = one.status()["daemon"]
    master = daemon["master_pid"]
    limits = resource.prlimit(master, resource.RLIMIT_NOFILE)
    resource.prlimit(master, resource.RLIMIT_NOFILE, (8, limits[1]))  # fewer than it has
    kill(daemon["log_writer_pid"])
    a_while()
    resource.prlimit(master, resource.RLIMIT_NOFILE, limits)
    size = len(one.log("web/0"))
    until(lambda: len(one.log("web/0")) > size)
    assert one.status()["daemon"]["master_pid"] == master


def test_f36_a_master_without_descriptors_becomes_the_anchor_all_the_same(keepd):
    one = keepd("services: {web: {command: [sleep, '1000']}}")
    up(one)
    daemon, web = one.status()["daemon"], one.pid("web")
    limits = starved(daemon["master_pid"])
    kill(daemon["pid"])
    a_while()
    for pid in helpers(daemon["master_pid"]):
        resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)
    new_master(one, daemon["master_pid"])
    assert (one.status()["daemon"]["pid"], one.pid("web")) == (daemon["master_pid"], web)


def test_f51_a_log_writer_that_stands_still_costs_no_last_words(detached):
    one = detached("""
        services:
          web:
            command: "trap 'echo last words; exit' TERM; echo first; while :; do sleep 0.1; done"
            shell: true
        """)
    until(lambda: "first" in one.log("web/0"))
    writer = one.status()["daemon"]["log_writer_pid"]
    stopped(writer)
    assert one.run("down", limit=40).returncode == 0
    assert "last words" in one.log("web/0")
    ends(writer)


def test_an_anchor_survives_the_last_words_of_its_master_whatever_they_are(monkeypatch, tmp_path):
    """They are read when it is reaped: its number may be somebody else's by then."""
    asked = []

    def become(left):
        asked.append(left)
        raise OSError

    monkeypatch.setattr(rebirth, "become_anchor", become)
    launch = Launch(str(tmp_path), str(tmp_path), "x", str(tmp_path), 0, foreground=False)
    children = Offspring(launch, 1024, frozenset(), Kept(), None)
    ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    pid = os.fork()
    if pid == 0:
        its.send(b"upgrade")
        os.kill(os.getpid(), signal.SIGKILL)
    its.close()
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    children.master.pid, children.master.sock = pid, ours
    wake = signals.SignalPipe()
    anchor._reap(anchor.Anchor(children, wake, False, Wards(children), Watch(children)))
    wake.close()
    assert asked

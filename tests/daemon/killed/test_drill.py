"""`keepd drill` as an operator runs it: on what runs, and on a throw-away keepd."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.daemon.harness import Keepd, alive, kill, read, until

WEB = "services: {web: {command: [sleep, '1000'], replicas: 2}, job: {command: ['true'],\n"
WEB += "  restart: on-failure}}"
SHORT = ["--for", "3s", "--every", "200ms"]


def stopped(pid):
    return read(pid, "stat").rpartition(")")[2].split()[:1] == ["T"]


@pytest.fixture
def detached(tmp_path):
    """A maker of keepds in the background, ended with the test whoever is its anchor by then."""
    made = []

    def make(config):
        made.append(Keepd(tmp_path, config).up_detached())
        return made[-1]

    yield make
    for one in made:
        one.run("down")
        one.end()


@pytest.fixture
def drilling(tmp_path):
    """A maker of drills that go on, ended with the test."""
    going = []

    def start(one, *words):
        command = one.command("drill", *words)
        with open(tmp_path / "drilled", "wb") as out:
            going.append(subprocess.Popen(command, stdout=out, stderr=out, cwd=one.root))
        return going[-1]

    yield start
    for drill in going:
        drill.kill()
        drill.wait()


def test_a_drill_kills_all_of_a_keepd_and_no_service_notices(detached):
    one = detached(WEB)
    before = {key: one.replica(key) for key in ("web/0", "web/1", "job/0")}
    done = one.run("drill", *SHORT, "--how", "kill", "--json", limit=50)
    seen = json.loads(done.stdout)
    assert (done.returncode, seen["broken"]) == (0, []), done
    assert set(seen["faults"]) <= {"anchor", "master", "writer", "prober", "zygote"}
    assert sum(kind["killed"] for kind in seen["faults"].values()) >= 3
    for key, was in before.items():
        now = one.replica(key)
        assert [now[x] for x in ("pid", "run", "state")] == [
            was[x] for x in ("pid", "run", "state")
        ]


def test_services_are_hit_only_where_they_are_named(detached):
    one = detached(WEB)
    spared = one.replica("web/1")["pid"]
    words = ("--kind", "replica", "--how", "kill")
    assert one.run("drill", *SHORT, *words).returncode == 2
    done = one.run("drill", *SHORT, *words, "--replicas", "web/0", "--json", limit=50)
    seen = json.loads(done.stdout)
    assert (done.returncode, seen["broken"]) == (0, []), done
    assert seen["restarts"]["asked"] == seen["faults"]["replica"]["killed"] >= 1
    assert one.replica("web/0")["run"] == 1 + seen["restarts"]["asked"]
    assert one.replica("web/1")["pid"] == spared
    assert one.run("drill", *SHORT, "--replicas", "nobody").returncode == 4


def test_a_restart_behind_its_back_is_a_broken_promise(keepd, drilling, tmp_path):
    one = keepd("services: {web: {command: [sleep, '1000']}}").up()
    writer = one.status()["daemon"]["log_writer_pid"]
    drill = drilling(one, "--for", "4s", "--every", "100ms", "--kind", "writer")
    until(lambda: one.status()["daemon"]["log_writer_pid"] not in {writer, None})
    one.kill("web/0")
    assert drill.wait(50) == 1
    told = (tmp_path / "drilled").read_text()
    assert "web/0 was restarted, which nobody asked for: killed by SIGKILL" in told


def test_in_the_foreground_the_anchor_is_spared_which_is_said(keepd):
    one = keepd("services: {web: {command: [sleep, '1000']}}").up()
    anchor = one.status()["daemon"]["pid"]
    said = one.run("drill", "--dry-run")
    assert said.returncode == 0
    assert "not the anchor: keepd is in the foreground" in said.stdout
    refused = one.run("drill", "--kind", "anchor")
    assert refused.returncode == 2
    assert "cannot hit the anchor: keepd is in the foreground" in refused.stderr
    assert one.run("drill", "--kind", "everything").returncode == 2
    assert alive(anchor)
    assert one.status()["daemon"]["pid"] == anchor


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_who_was_stopped_goes_on_whatever_ends_the_drill(keepd, drilling, tmp_path, number):
    one = keepd("services: {web: {command: [sleep, '1000']}}").up()
    writer = one.status()["daemon"]["log_writer_pid"]
    words = ("--kind", "writer", "--how", "stop", "--every", "50ms", "--stopped", "1h")
    drill = drilling(one, *words)
    until(lambda: stopped(writer))
    drill.send_signal(number)
    code = drill.wait(20)
    until(lambda: not stopped(writer))
    if number == signal.SIGKILL:
        assert code == -signal.SIGKILL
    else:
        assert code == 0
        told = (tmp_path / "drilled").read_text()
        assert "interrupted" in told
        assert "writer            0       1" in told


def judge(done):
    """Look at what a drill with witnesses has found."""
    seen = json.loads(done.stdout)
    assert (done.returncode, seen["broken"]) == (0, []), done
    assert not seen["interrupted"]
    assert seen["lines"]["written"] > 100
    assert [seen["lines"][what] for what in ("lost", "doubled", "torn")] == [0, 0, 0]
    assert (seen["doubles"], seen["missing"], seen["restarts"]["not_asked"]) == ([], [], [])
    before, after = seen["before"], seen["after"]
    assert after["processes"] <= before["processes"] + 1  # zygotes are started when needed
    assert after["descriptors"] <= before["descriptors"] + 20
    return seen


def self_test(tmp_path, *words, limit):
    one = Keepd(tmp_path, "services: {}")
    scratch = tmp_path / "scratch"
    scratch.mkdir(mode=0o700)
    done = one.run_with(
        {**os.environ, "TMPDIR": str(scratch)},
        "drill",
        "--self-test",
        "--json",
        *words,
        limit=limit,
    )
    assert not list(scratch.iterdir())
    return judge(done)


@pytest.mark.timeout(120)
def test_every_promise_is_kept_under_random_kills_for_half_a_minute(tmp_path):
    """Of anchor, master, writer, prober, zygote, services, their children, and of all at once."""
    seen = self_test(tmp_path, "--for", "30s", "--every", "100ms", "--stopped", "500ms", limit=110)
    assert sum(kind["killed"] for kind in seen["faults"].values()) >= 15


@pytest.mark.soak
def test_every_promise_is_kept_under_ten_minutes_of_random_kills(tmp_path):
    seen = self_test(tmp_path, "--for", "10min", "--every", "100ms", limit=900)
    kinds = {"anchor", "master", "writer", "prober", "zygote", "replica", "child", "everything"}
    assert set(seen["faults"]) == kinds
    assert seen["after"]["memory"] < 1.5 * seen["before"]["memory"] + (8 << 20)


SLOW = """
import sys
from supervisor.cli.main import main
from supervisor.drill import fire
fire.STANDSTILL = 1500
sys.exit(main())
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_an_interrupted_self_test_leaves_nobody_stopped(tmp_path, number):
    """Whoever is to be killed at once is stopped first: the end comes in between."""
    one = Keepd(tmp_path, "services: {}")
    words = ("drill", "--self-test", "--kind", "everything", "--every", "200ms")
    command = [sys.executable, "-c", SLOW, *words]
    env = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen(command, cwd=one.root, env=env, stdout=subprocess.DEVNULL) as drill:
        until(lambda: (found := one.orphans()) and all(map(stopped, found)))
        drill.send_signal(number)
        drill.wait(30)
    try:
        until(lambda: one.orphans() == [], limit=45)
        until(lambda: not list(tmp_path.glob("keepd-drill-*")))
    finally:
        kill(*one.orphans())


def test_a_self_test_that_is_killed_leaves_nothing_behind(tmp_path, drilling):
    one = Keepd(tmp_path, "services: {}")
    before = set(Path(tempfile.gettempdir()).glob("keepd-drill-*"))
    drill = drilling(one, "--self-test", "--every", "1h")

    def folder():
        fresh = set(Path(tempfile.gettempdir()).glob("keepd-drill-*")) - before
        return next((path for path in fresh if (path / "log" / "command" / "0.log").exists()), None)

    found = until(folder)
    kill(drill.pid)
    drill.wait()
    until(lambda: not found.exists(), limit=30)


@pytest.mark.parametrize("come", [1, 2, 3])
def test_a_self_test_that_is_killed_while_all_begins_again_leaves_nothing_behind(tmp_path, come):
    one = Keepd(tmp_path, "services: {}")
    words = ("drill", "--self-test", "--kind", "everything", "--every", "1s")
    env = {**os.environ, "TMPDIR": str(tmp_path)}
    command, null = one.command(*words), subprocess.DEVNULL
    with subprocess.Popen(command, cwd=one.root, env=env, stdout=null) as drill:
        until(lambda: len(one.orphans()) > 3)
        until(lambda: not one.orphans())
        until(lambda: len(one.orphans()) >= come)
        drill.kill()
        drill.wait(30)
    try:
        until(lambda: not list(tmp_path.glob("keepd-drill-*")), limit=45)
        until(lambda: one.orphans() == [])
    finally:
        kill(*one.orphans())

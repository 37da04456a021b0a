"""What is asked and what ends while one of keepd takes the place of another."""

import os
import select
import signal
import subprocess
import sys

from tests.daemon.harness import (
    WITHOUT_GROUPS,
    alive,
    children,
    ends,
    kill,
    kill_at_once,
    read,
    tagged,
    until,
)
from tests.daemon.killed.losses import (
    gone,
    helpers,
    lose_all,
    lose_anchor_unheard,
    lose_master,
    new_master,
    orphaned,
    promoted,
    run_up,
    stopped,
    up,
)
from tests.daemon.killed.test_adoption import FAILS_ONCE, reaped, reaping

BEREAVED = """
import os, pathlib, select
while not os.path.exists("go"):
    select.poll().poll(10)
parent = select.poll()
parent.register(os.pidfd_open(os.getppid()), select.POLLIN)
pathlib.Path("waits").touch()
parent.poll()
select.poll().poll(4)
os._exit(0)
"""


def test_how_somebody_elses_child_ended_is_known_though_our_anchor_dies_with_it(either):
    """The master that takes its place has held it, and hands that on."""
    one = either("services: {}")
    path = one.folder / "job.py"
    path.write_text(BEREAVED)
    one.write(f"services: {{job: {{command: [{sys.executable}, -IS, {path}], restart: never}}}}")
    with reaping():
        up(one)
        lose_master(one)
        job, daemon = one.pid("job"), one.status()["daemon"]
        (one.folder / "go").touch()
        until((one.folder / "waits").exists)
        kill(daemon["pid"])
        until(lambda: reaped(job), every=0.0005)
        until(lambda: reaped(daemon["pid"]))
    promoted(one, daemon)
    until(lambda: one.replica("job")["state"] in {"EXITED", "FATAL"})
    replica = one.replica("job")
    known = tuple(map(int, os.uname().release.split(".")[:2])) >= (6, 15)
    assert replica["state"] == ("EXITED" if known else "FATAL"), replica


def test_a_shutdown_asked_for_in_the_same_moment_as_an_upgrade_is_not_lost(detached):
    one = detached("services: {web: {command: [sleep, '1000']}}")
    daemon = one.status()["daemon"]
    stopped(daemon["pid"])
    one.call("upgrade", limit=60)
    kill(daemon["pid"], number=signal.SIGTERM)
    kill(daemon["pid"], number=signal.SIGCONT)
    ends(daemon["pid"])
    assert tagged(one.run_dir) == []


def test_a_reload_asked_for_while_there_is_no_master_is_not_lost(detached):
    one = detached("services: {web: {command: [sleep, '1000']}}")
    daemon = one.status()["daemon"]
    one.write("services: {web: {command: [sleep, '1000']}, more: {command: [sleep, '1000']}}")
    stopped(daemon["pid"])
    kill(daemon["master_pid"])
    until(lambda: not alive(daemon["master_pid"]))
    kill(daemon["pid"], number=signal.SIGHUP)
    kill(daemon["pid"], number=signal.SIGCONT)
    new_master(one, daemon["master_pid"])
    until(lambda: len(one.replicas()) == 2, limit=5)


DEAF_CHILD = "setsid sh -c \"trap '' TERM; touch deaf; while :; do sleep 0.1; done\" & wait"


def reborn_as(pid):
    """Return a process that has a pid of the past."""
    for _ in range(200):
        with open("/proc/sys/kernel/ns_last_pid", "w", encoding="ascii") as file:
            file.write(str(pid - 1))
        other = subprocess.Popen(["sh", "-c", "sleep 1000 & wait"], start_new_session=True)
        if other.pid == pid:
            return other
        os.killpg(other.pid, signal.SIGKILL)
        other.wait()
    raise AssertionError(pid)


def test_who_gets_the_pid_of_a_leader_that_somebody_else_has_reaped_is_a_stranger(keepd):
    """Something of the run lives still, in another session: the number is not taken any more."""
    one = keepd("services: {}", under=WITHOUT_GROUPS)
    script = one.folder / "leads"
    script.write_text(DEAF_CHILD)
    one.write(f"services: {{web: {{command: [sh, {script}], stop: {{timeout: 2s}}}}}}")
    with reaping():
        up(one)
        until((one.folder / "deaf").exists)
        lose_all(one)
        up(one)
        pid = one.pid("web")
        one.call("stop", {"names": ["web"]})
        until(lambda: reaped(pid))
    with reborn_as(pid) as other:
        (child,) = until(lambda: children(pid))
        try:
            assert one.replica("web")["state"] == "STOPPING"
            one.becomes("web", "STOPPED")
            assert (alive(child), other.poll()) == (True, None)
        finally:
            kill(other.pid, child)


def test_a_process_with_the_tag_of_another_place_is_a_stranger(either):
    """A keepd in a container has a runtime directory of the same name, and it is another."""
    one = either("services: {web: {command: [sleep, '1000']}}")
    one.run_dir.mkdir(mode=0o700)
    hides = 'mount -t tmpfs none "$0" && chmod 700 "$0" && exec sleep 1000'
    boxed = ["unshare", "--mount", "sh", "-c", hides, one.run_dir]
    env = {**os.environ, "KEEPD_RUN": f"{one.run_dir}:web/0:1"}
    named = {**os.environ, "KEEPD_RUN": f"{one.run_dir}:blue:web/0:1"}
    with (
        subprocess.Popen(boxed, env=env, start_new_session=True) as other,
        subprocess.Popen(["sleep", "1000"], env=named, start_new_session=True) as neighbour,
    ):
        try:
            until(lambda: read(other.pid, "cmdline").startswith("sleep"))
            up(one)
            lose_all(one)
            up(one)
            assert one.run("down").returncode == 0
            assert (other.poll(), neighbour.poll()) == (None, None)
        finally:
            kill(other.pid, neighbour.pid)


def test_a_down_that_meets_a_keepd_without_a_master_waits_for_the_next_one(detached):
    one = detached("services: {web: {command: [sleep, '1000']}}")
    daemon = one.status()["daemon"]
    stopped(daemon["pid"])
    kill(daemon["master_pid"])
    until(lambda: not alive(daemon["master_pid"]))
    with subprocess.Popen(one.command("down"), cwd=one.root, stderr=subprocess.PIPE) as down:
        select.poll().poll(1500)  # it finds that nobody answers, and that nobody may take over
        kill(daemon["pid"], number=signal.SIGCONT)
        said = down.communicate(timeout=40)[1]
    assert down.returncode == 0, said
    assert tagged(one.run_dir) == []


def test_who_waits_for_a_dead_anchor_to_leave_kills_nobody_of_the_keepd_that_goes_on(detached):
    """It has seen the dead one's number in the lock; meanwhile the master has taken its place."""
    one = detached("services: {web: {command: [sleep, '1000']}}")
    daemon = lose_anchor_unheard(one)
    env = {**os.environ, "NOTIFY_SOCKET": str(one.folder / "nobody")}
    options = {"cwd": one.root, "env": env, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(one.command("up"), **options) as other:
        select.poll().poll(800)
        kill(daemon["master_pid"], number=signal.SIGCONT)
        promoted(one, daemon)
        master = one.status()["daemon"]["master_pid"]
        said = other.communicate(timeout=40)[1]
    assert "already running here" in said
    assert one.status()["daemon"]["master_pid"] == master


def test_f36_how_a_run_ended_is_known_though_it_cannot_be_taken_over_at_first(keepd, monkeypatch):
    """The anchor tells it before there is anybody whom it could be of."""
    job = "while [ ! -e go ]; do sleep 0.01; done"
    one = keepd(f'services: {{job: {{command: "{job}", shell: true, restart: never}}}}')
    start = [sys.executable, "-c", FAILS_ONCE, "-c", str(one.config)]
    monkeypatch.setattr(one, "command", lambda *words: [*start, *words])
    run_up(one, "--timeout", "1")
    pid = one.becomes("job", "RUNNING")["pid"]
    with orphaned(one):
        (one.folder / "go").touch()
        until(lambda: not alive(pid))
        (one.folder / "fail").touch()
    assert until(lambda: one.replica("job")["state"] in {"EXITED", "FATAL"})
    assert not (one.folder / "fail").exists()
    assert one.replica("job")["state"] == "EXITED"


def test_a_good_life_is_not_counted_anew_by_another_master(keepd):
    """Else who runs well for hours is never forgiven, as long as masters are killed."""
    one = keepd("""
        services:
          web: {command: [sleep, "1000"],
                backoff: {first: 10ms, factor: 1000, limit: 1h, jitter: 0, reset_after: 3s}}
        """).up()
    one.kill("web")
    one.becomes("web", "RUNNING", run=2)
    for _ in range(2):
        select.poll().poll(2000)
        lose_master(one)
    one.kill("web")
    one.becomes("web", "RUNNING", run=3, limit=5)


LEAVING = """
    services:
      db:
        command: "trap 'touch termed' TERM; trap 'touch asked; exit' INT;
                  while :; do sleep 0.05; done"
        shell: true
        stop: {signal: INT}
      app:
        command: "trap '' TERM; touch deaf; while [ ! -e go ]; do sleep 0.05; done"
        shell: true
        depends_on: {db: started}
        stop: {timeout: 1h}
      web: {command: [sleep, "1000"]}
"""


def test_who_leaves_by_a_list_before_the_one_before_is_stopped_as_that_one_said(keepd):
    """In its order, and by its signal: two reloads later, and by another master."""
    one = keepd(LEAVING).up()
    until((one.folder / "deaf").exists)
    for count in (1, 2):
        one.write(f"services: {{web: {{command: [sleep, '1000'], replicas: {count}}}}}")
        one.call("reload", {"yes": True})
        one.becomes("app", "STOPPING")
    lose_master(one)
    assert one.replica("db")["state"] == "RUNNING"
    (one.folder / "go").touch()
    until(lambda: len(one.replicas()) == 2)
    assert (one.folder / "asked").exists()
    assert not (one.folder / "termed").exists()


LINES = "i=0; while i=$$((i+1)); do echo line $$i; sleep 0.02; done"


def test_a_log_writer_that_stands_still_while_all_others_die_does_not_keep_the_next_out(detached):
    one = detached(f"services: {{counts: {{command: '{LINES}', shell: true}}}}")
    daemon = one.status()["daemon"]
    writer = daemon["log_writer_pid"]
    until(lambda: len(one.lines("counts/0")) > 10)
    stopped(writer)
    try:
        others = [pid for pid in helpers(daemon["pid"]) if pid != writer]
        kill_at_once(*others)
        gone(others)
        up(one)
        before = len(one.lines("counts/0"))
        until(lambda: len(one.lines("counts/0")) > before + 10, limit=5)
        assert not alive(writer)
    finally:
        kill(writer)
    found = one.lines("counts/0")
    assert found == [f"line {number}" for number in range(1, len(found) + 1)]

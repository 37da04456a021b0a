"""From one keepd to the next: what each knew of its services goes on, and nobody is ever two."""

import contextlib
import json
import os
import signal
import subprocess
import sys

import pytest

from supervisor.ipc.prctl import PR_SET_CHILD_SUBREAPER, prctl
from tests.daemon.harness import (
    WITHOUT_GROUPS,
    alive,
    children,
    ends,
    kill,
    program,
    read,
    tagged,
    until,
)
from tests.daemon.killed.losses import (
    LOSSES,
    gone,
    lose_all,
    lose_and_find,
    lose_master,
    new_master,
    orphaned,
    promoted,
    run_up,
    status,
    stopped,
    up,
)

KEPT = ("id", "state", "wanted", "ready", "pid", "run", "restarts", "waiting_for")
LIVES = f"""
    defaults: {{backoff: {{jitter: 0}}}}
    services:
      web: {{command: {program("alone")}, ready: {{notify: true}}, backoff: {{first: 10ms}}}}
      prepared: {{command: [sleep, "1000"], umask: "022"}}
      loops: {{command: "exit 3", shell: true, backoff: {{first: 1h, limit: 1h}}}}
      broken: {{command: "exit 4", shell: true, restart: never}}
      job: {{command: "echo done >> jobs", shell: true, restart: never}}
      halted: {{command: [sleep, "1000"]}}
      slow: {{command: {program("alone")}, ready: {{log: never said, timeout: 1h}}}}
"""


@pytest.mark.parametrize("loss", LOSSES)
def test_all_that_was_known_of_each_replica_is_known_to_the_next(either, loss):
    """State, run, restarts, readiness, pace, uptime, and how the last run ended."""
    one = either(LIVES)
    run_up(one, "--timeout", "1")
    one.call("stop", {"names": ["halted"]})
    one.becomes("web", "RUNNING", ready=True)
    one.kill("web")
    one.becomes("web", "RUNNING", ready=True, run=2)
    states = {"loops": "BACKOFF", "broken": "FATAL", "job": "EXITED", "halted": "STOPPED"}
    for key, state in {**states, "slow": "STARTING"}.items():
        one.becomes(key, state)

    def seen():
        return {replica["id"]: replica for replica in one.replicas()}

    before = seen()
    if loss == "everything":
        lose_all(one)
        run_up(one, "--timeout", "1")
    else:
        LOSSES[loss](one)
    until(lambda: seen()["web/0"]["state"] == "RUNNING")
    after = seen()
    for key, replica in before.items():
        assert {name: after[key][name] for name in KEPT} == {name: replica[name] for name in KEPT}
        ended, known = after[key]["last_exit"], replica["last_exit"]
        assert bool(ended) == bool(known)
        if known:
            same = {"at": "", "text": known["text"].partition(" after ")[0]}
            assert {**ended, **same} == {**known, **same}
            assert ended["text"].startswith(same["text"])
        if replica["uptime"] is not None:
            assert after[key]["uptime"] >= replica["uptime"]
    assert 0 < after["loops/0"]["next_start_in"] <= before["loops/0"]["next_start_in"]
    assert (one.folder / "jobs").read_text() == "done\n"
    assert not (one.folder / "two").exists()


@pytest.mark.parametrize("loss", LOSSES)
def test_what_a_service_says_of_itself_is_known_to_the_next(keepd, loss):
    """As much of it as there is room for."""
    one = keepd(f"""
        defaults: {{ready: {{notify: true}}, backoff: {{first: 10ms}}}}
        services:
          brief: {{command: {program("beats", "ready", "STATUS=3 jobs left")}}}
          long: {{command: {program("beats", "ready", "STATUS=" + 500 * "é")}}}
    """)
    up(one)

    def words(key):
        return one.replica(key)["text"]

    until(lambda: words("brief") and words("long"))
    before = {replica["id"]: (replica["pid"], replica["run"]) for replica in one.replicas()}
    for _ in range(2):
        LOSSES[loss](one)
        assert words("brief") == "3 jobs left"
        assert 40 < len(words("long")) <= 500
        assert words("long") == len(words("long")) * "é"
    assert {r["id"]: (r["pid"], r["run"]) for r in one.replicas()} == before


def test_how_a_service_ended_while_there_was_no_master_is_known_from_the_anchor(keepd):
    one = keepd(
        """
        defaults: {backoff: {first: 10ms}}
        services:
          web: {command: "while [ ! -e go ]; do sleep 0.01; done; rm go; exit 7", shell: true}
          job: {command: "sleep 1000; exit 1", shell: true, restart: never}
          struck: {command: [sleep, "1000"]}
        """
    ).up()
    web, job, struck = (one.pid(key) for key in ("web", "job", "struck"))
    with orphaned(one):
        (one.folder / "go").touch()
        kill(job, number=signal.SIGUSR2)
        kill(struck, number=signal.SIGKILL)
        gone([web, job, struck])
    assert one.becomes("web", "RUNNING", run=2)["last_exit"]["code"] == 7
    assert one.becomes("struck", "RUNNING", run=2)["last_exit"]["signal"] == "SIGKILL"
    assert one.becomes("job", "FATAL", run=1)["last_exit"]["signal"] == "SIGUSR2"
    until(lambda: not [p for p in children(one.process.pid) if not alive(p)])


@contextlib.contextmanager
def reaping():
    """Be who takes orphans."""
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    try:
        yield
    finally:
        prctl(PR_SET_CHILD_SUBREAPER, 0)


def reaped(pid):
    """Reap it if it is dead and ours; tell whether it has gone for good."""
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)
    return not os.path.exists(f"/proc/{pid}")


def test_what_ended_while_nothing_of_keepd_was_left_ended_in_a_way_that_nobody_knows(detached):
    """A service is started again; a job is not, since it may have done its work."""
    one = detached(
        """
        defaults: {backoff: {first: 10ms}}
        services:
          web: {command: [sleep, "1000"]}
          job: {command: "echo run >> jobs; sleep 1000", shell: true, restart: never}
        """
    )
    web, job = one.pid("web"), one.pid("job")
    until((one.folder / "jobs").exists)
    with reaping():
        lose_all(one)
        kill(web, job)
        until(lambda: reaped(web) and reaped(job))
    run_up(one, "--timeout", "5")
    replica = one.becomes("web", "RUNNING", run=2)
    assert (replica["last_exit"]["code"], replica["last_exit"]["signal"]) == (None, None)
    replica = one.becomes("job", "FATAL", run=1)
    assert "its exit code is not known" in replica["last_exit"]["text"]
    assert (one.folder / "jobs").read_text() == "run\n"


def test_how_somebody_elses_child_ended_is_asked_of_the_kernel(detached):
    """After a total loss services are no children of ours: whoever takes orphans reaps them."""
    one = detached(
        """
        services:
          web: {command: "trap 'exit 5' USR1; while :; do sleep 0.05; done", shell: true,
                backoff: {first: 10ms}}
        """
    )
    with reaping():
        lose_and_find(one)
        pid = one.kill("web", signal.SIGUSR1)
        until(lambda: reaped(pid))
    replica = one.becomes("web", "RUNNING", run=2)
    known = tuple(map(int, os.uname().release.split(".")[:2])) >= (6, 15)
    assert replica["last_exit"]["code"] == (5 if known else None)


TWO_LISTS = """
    defaults: {{backoff: {{first: 10ms}}}}
    services:
      kept: {{command: {kept}}}
      changed: {{command: {kept}, env: {{AGE: "{age}"}}}}
      {other}: {{command: {kept}}}
"""


def test_a_list_that_was_edited_while_nothing_was_left_is_carried_out_as_a_reload_would(detached):
    one = detached(TWO_LISTS.format(kept=program("alone"), age=1, other="removed"))
    before = {replica["id"]: replica["pid"] for replica in one.replicas()}
    lose_all(one)
    one.write(TWO_LISTS.format(kept=program("alone"), age=2, other="added"))
    up(one)
    one.becomes("changed", "RUNNING", run=2)
    one.becomes("added", "RUNNING", run=1)
    assert one.pid("kept") == before["kept/0"]
    assert "AGE=2" in read(one.pid("changed"), "environ")
    gone([before["changed/0"], before["removed/0"]])
    until(lambda: len(one.replicas()) == 3)
    assert not (one.folder / "two").exists()


@pytest.mark.parametrize("loss", LOSSES)
def test_what_was_removed_at_rest_counts_on_though_who_removed_it_never_knew_it_run(keepd, loss):
    """Its numbers name FIFOs and files, and nobody may read old ones as new."""
    both = "services: {web: {command: [sleep, '1000']}, job: {command: [sleep, '1000']}}"
    one = keepd(both)
    up(one)
    one.call("restart", {"names": ["job"]})
    one.becomes("job", "RUNNING", run=2)
    one.call("stop", {"names": ["job"]})
    one.becomes("job", "STOPPED")
    one.write("services: {web: {command: [sleep, '1000']}}")
    if loss == "everything":
        lose_all(one)
        up(one)
    else:
        LOSSES[loss](one)
        one.call("reload", {"yes": True})
    assert [replica["id"] for replica in one.replicas()] == ["web/0"]
    lose_master(one)
    one.write(both)
    one.call("reload", {"yes": True})
    one.becomes("job", "RUNNING", run=3)


def test_a_reload_that_was_cut_short_is_completed_by_the_next_master(either):
    """The changed one is being stopped, the added one waits for it: and then keepd is killed."""
    config = """
        defaults: {{backoff: {{first: 10ms}}, stop: {{timeout: 1s}}}}
        services:
          deaf: {{command: {deaf}, env: {{AGE: "{age}"}}, ready: {{notify: true}}}}
          {other}: {{command: {deaf}, ready: {{notify: true}}}}
    """
    one = either(config.format(deaf=program("alone", "deaf"), age=1, other="removed")).up()
    before = [replica["pid"] for replica in one.replicas()]
    one.write(config.format(deaf=program("alone", "deaf"), age=2, other="added"))
    one.call("reload", {"yes": True})
    assert all(map(alive, before))
    for _ in range(3):
        lose_master(one)
    one.becomes("deaf", "RUNNING", run=2)
    assert "AGE=2" in read(one.pid("deaf"), "environ")
    one.becomes("added", "RUNNING", run=1)
    until(lambda: len(one.replicas()) == 2)
    gone(before)
    assert not (one.folder / "two").exists()


def test_f72_a_second_up_is_refused_while_the_anchor_is_dead_and_the_master_is_not_it_yet(detached):
    one = detached(f"services: {{web: {{command: {program('alone')}}}}}")
    daemon, web = one.status()["daemon"], one.pid("web")
    kill(daemon["master_pid"], number=signal.SIGSTOP)
    try:
        kill(daemon["pid"])
        ends(daemon["pid"])
        done = run_up(one)
        assert done.returncode == 1
        assert "already running here" in done.stderr
    finally:
        kill(daemon["master_pid"], number=signal.SIGCONT)
    until(lambda: (found := status(one)) and found["daemon"]["pid"] == daemon["master_pid"])
    assert one.pid("web") == web


def test_f72_of_ten_that_come_after_a_total_loss_exactly_one_adopts(detached):
    one = detached(f"services: {{web: {{command: {program('alone')}, replicas: 3}}}}")
    before = {replica["id"]: replica["pid"] for replica in one.replicas()}
    lose_all(one)
    command = [*one.under, *one.command("up", "-d")]
    streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    ups = [subprocess.Popen(command, cwd=one.root, text=True, **streams) for _ in range(10)]
    said = [(each.communicate(timeout=40), each.returncode) for each in ups]
    assert [code for _, code in said].count(0) == 1, said
    busy = [err for (_, err), _ in said if "took longer than" in err]  # ten at once are a load
    assert sum("already running here" in err for (_, err), _ in said) == 9 - len(busy)
    assert {replica["id"]: replica["pid"] for replica in one.replicas()} == before
    assert not (one.folder / "two").exists()


def test_f26_what_a_crash_left_is_found_beside_runs_that_are_no_children_of_ours(keepd):
    """As many children as runs, and one of them leads none."""
    one = keepd(
        f"""
        defaults: {{backoff: {{first: 10ms, factor: 1}}, ready: {{notify: true}}}}
        services:
          cold: {{command: {program("alone")}}}
          web: {{command: {program("alone", "deaf", "child")}, stop: {{timeout: 100ms}}}}
        """,
        under=WITHOUT_GROUPS,
    )
    up(one)
    lose_and_find(one)
    one.call("restart", {"names": ["web"]})
    one.becomes("web", "RUNNING", run=2)
    before = [pid for pid in tagged(one.run_dir) if ":web/0:2\0" in read(pid, "environ")]
    assert len(before) == 2
    one.kill("web")
    one.becomes("web", "RUNNING", run=3)
    assert not any(map(alive, before))
    assert not (one.folder / "two").exists()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGUSR2], ids=["killed", "upgraded"])
def test_what_was_named_at_first_is_not_started_again_by_another_anchor(keepd, number):
    one = keepd("""
        services:
          job: {command: "echo done >> jobs", shell: true, restart: never}
          web: {command: [sleep, "1000"]}
          halted: {command: [sleep, "1000"]}
        """)
    run_up(one, "web", "job", "halted")
    one.becomes("job", "EXITED")
    one.call("stop", {"names": ["halted"]})
    one.becomes("halted", "STOPPED")
    daemon = one.status()["daemon"]
    kill(daemon["pid"], number=number)
    new_master(one, daemon["master_pid"])
    one.call("restart", {"names": ["web"]})  # nothing else is begun before that
    one.becomes("web", "RUNNING", run=2)
    assert (one.replica("halted")["state"], one.replica("halted")["run"]) == ("STOPPED", 1)
    assert (one.replica("job")["state"], one.replica("job")["run"]) == ("EXITED", 1)
    assert (one.folder / "jobs").read_text() == "done\n"


def test_how_a_service_ended_is_known_though_the_anchor_stands_still(either):
    """Its zombie says it to whoever may ask."""
    one = either("""
        services:
          job: {command: "while [ ! -e go ]; do sleep 0.05; done", shell: true, restart: never}
          after: {command: [sleep, "1000"], depends_on: {job: completed}}
        """).up(ready=False)
    one.becomes("job", "RUNNING")
    lose_master(one)
    anchor = one.status()["daemon"]["pid"]
    stopped(anchor)
    (one.folder / "go").touch()
    one.becomes("job", "EXITED")
    kill(anchor, number=signal.SIGCONT)
    one.becomes("after", "RUNNING")


FAILS_ONCE = """
import errno, os, sys
from supervisor.cli.main import main
from supervisor.unix import kin
hold = kin.hold
def fails_once(pid, known):
    if os.path.exists("fail"):
        os.unlink("fail")
        raise OSError(errno.ENFILE, "Too many open files in system")
    return hold(pid, known)
kin.hold = fails_once
sys.exit(main())
"""


def test_f36_a_run_that_cannot_be_taken_over_at_first_is_taken_over_later(keepd, monkeypatch):
    one = keepd(f"services: {{web: {{command: {program('alone')}, ready: {{notify: true}}}}}}")
    start = [sys.executable, "-c", FAILS_ONCE, "-c", str(one.config)]
    monkeypatch.setattr(one, "command", lambda *words: [*start, *words])
    up(one)
    pid = one.pid("web")
    (one.folder / "fail").touch()
    lose_master(one)
    one.call("restart", {"names": ["web"]})
    one.becomes("web", "RUNNING", run=2)
    assert not (one.folder / "fail").exists()
    assert not alive(pid)
    assert not (one.folder / "two").exists()


def tell():
    """Return a shell's command that says READY=1 and leaves a file `told`."""
    words = json.loads(program("beats", "ready"))
    return f"sh -c 'touch told; exec {' '.join(words)}'"


def test_readiness_that_was_told_while_there_was_no_master_is_not_lost(keepd):
    one = keepd(
        f"""
        services:
          web: {{command: "while [ ! -e go ]; do sleep 0.01; done; exec $0 $@", shell: true}}
          late: {{command: "while [ ! -e go ]; do sleep 0.01; done; exec {tell()}", shell: true,
                 ready: {{notify: true, timeout: 1h}}}}
        """.replace('exec $0 $@"', 'exec sleep 1000"')
    ).up("web")
    one.call("start")
    pid = until(lambda: one.pid("late"))
    with orphaned(one):
        (one.folder / "go").touch()
        until((one.folder / "told").exists)
    replica = one.becomes("late", "RUNNING", ready=True)
    assert (replica["pid"], replica["run"]) == (pid, 1)


def test_f26_what_a_crash_left_is_found_though_its_anchor_died_before_we_heard_of_either(detached):
    """The orphan is nobody's that we know of by then, and the dead anchor has no children."""
    one = detached(
        f"""
        defaults: {{backoff: {{first: 10ms, factor: 1}}, ready: {{notify: true}}}}
        services: {{web: {{command: {program("alone", "deaf", "child")}}}}}
        """
    )
    lose_master(one)
    before = tagged(one.run_dir)
    daemon, leader = one.status()["daemon"], one.pid("web")
    assert len(before) == 2
    stopped(daemon["master_pid"])
    kill(leader)
    until(lambda: not alive(leader))
    kill(daemon["pid"])
    ends(daemon["pid"])
    kill(daemon["master_pid"], number=signal.SIGCONT)
    promoted(one, daemon)
    one.becomes("web", "RUNNING", run=2)
    assert not any(map(alive, before))
    assert not (one.folder / "two").exists()

"""keepd may be killed at will: any process of it, at any instant, and nobody else notices."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.daemon.harness import WITHOUT_GROUPS, alive, ends, program, until
from tests.daemon.harness import kill as kill_with
from tests.daemon.killed.fire import Fire, services
from tests.ipc.groups import limited


@pytest.fixture
def fire(keepd, tmp_path):
    """A maker of keepds under fire, with services of all kinds that have come up."""

    def make(*, times=1, detached=False, groups=True):
        under = () if groups else WITHOUT_GROUPS
        one = keepd(services(tmp_path, times=times), under=under)
        found = Fire(one, seed=1, detached=detached)
        found.up()
        until(lambda: len({words[0] for words in found.journal()}) == 10 * times)
        return found

    return make


def over(found):
    """End it, and judge what was seen."""
    found.settles()
    found.ends()
    found.judge()
    print(found.told())


def kill_masters(found, kills):
    """Kill the master, again and again; one in three before it has answered anything."""
    anchor = found.daemon()["pid"]
    for _ in range(kills):
        found.stir()
        found.pause(0.2)
        master = until(lambda: found.master(anchor))
        since = found.hit(master)
        if found.dice.random() < 1 / 3:
            continue
        found.recovers(since, lambda daemon, gone=master: daemon["master_pid"] != gone)


def kill_writers(found, kills):
    anchor = found.daemon()["pid"]
    for _ in range(kills):
        found.stir()
        found.pause(0.2)
        writer = until(lambda: dict(found.helpers(anchor)).get("log writer"))
        since = found.hit(writer)
        found.recovers(since, lambda d, gone=writer: d["log_writer_pid"] not in {None, gone})


def kill_anchors(found, kills):
    """Kill the anchor: the master takes its place, with its own pid."""
    for _ in range(kills):
        found.stir()
        found.pause(0.2)
        anchor = found.daemon()["pid"]
        since = found.hit(anchor)
        found.recovers(since, lambda d, gone=anchor: gone not in {d["pid"], d["master_pid"]})


def kill_both(found, kills):
    """Kill anchor and master in the same instant, and start keepd again."""
    for _ in range(kills):
        found.stir()
        found.pause(0.2)
        daemon = found.daemon()
        gone = (daemon["pid"], daemon["master_pid"])
        since = found.hit(*gone)
        until(lambda gone=gone: not any(map(alive, gone)))
        found.up()
        found.gone.append((since, time.monotonic()))


def kill_all(found, kills):
    """Kill every process of keepd, and start it again."""
    for _ in range(kills):
        found.stir()
        found.pause(0.2)
        pids = [pid for _, pid in found.helpers(found.daemon()["pid"])]
        since = found.hit(*pids)
        until(lambda pids=pids: not any(map(alive, pids)))
        found.up()
        found.gone.append((since, time.monotonic()))


KINDS = {
    "master": (kill_masters, False),
    "log writer": (kill_writers, False),
    "anchor": (kill_anchors, True),
    "anchor and master": (kill_both, True),
    "all": (kill_all, True),
}
FEW = {"master": 8, "log writer": 6, "anchor": 4, "anchor and master": 2, "all": 2}
MANY = 1000


@pytest.mark.parametrize("kind", KINDS)
def test_f25_f26_f27_whatever_is_killed_no_service_notices(fire, kind):
    kill, detached = KINDS[kind]
    found = fire(detached=detached, groups=kind in {"log writer", "anchor"})
    kill(found, FEW[kind])
    over(found)


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("groups", [True, False], ids=["with cgroups", "without cgroups"])
@pytest.mark.parametrize("kind", KINDS)
def test_f25_f26_f27_a_thousand_kills_under_fifty_services(fire, kind, groups):
    kill, detached = KINDS[kind]
    found = fire(times=5, detached=detached, groups=groups)
    kill(found, MANY)
    over(found)
    if kind in {"master", "log writer"}:
        assert max(found.times) < 1


HOG = "import sys; sys.stdin.read(1); b'x' * (1 << 28)"


def test_f84_a_master_that_the_kernel_kills_first_for_want_of_memory_is_replaced(keepd):
    """The hungry one is somebody else; the master only seems to be worth more."""
    one = keepd(f"services: {{web: {{command: {program('alone')}, replicas: 3}}}}").up()
    master = one.status()["daemon"]["master_pid"]
    before = {replica["id"]: (replica["pid"], replica["run"]) for replica in one.replicas()}
    with limited("memory", 1 << 40) as group:
        with subprocess.Popen([sys.executable, "-IS", "-c", HOG], stdin=subprocess.PIPE) as hog:
            for pid in (hog.pid, master):
                group.write("cgroup.procs", pid)
            Path(f"/proc/{master}/oom_score_adj").write_text("1000")
            group.limit(64 << 20)
            hog.stdin.write(b".")
        assert hog.returncode == -signal.SIGKILL
        ends(master)
    until(lambda: (now := Fire(one, 1).answers()) and now["daemon"]["master_pid"] != master)
    assert {r["id"]: (r["pid"], r["run"]) for r in one.replicas()} == before
    assert not (one.folder / "two").exists()


@pytest.mark.soak
@pytest.mark.timeout(120)
def test_f44_a_master_that_stands_still_for_good_is_replaced_and_nobody_notices(keepd):
    """Who beats while nobody listens is not late, nor is who is still starting."""
    one = keepd(
        f"""
        services:
          beats: {{command: {program("beats", "ready", "beat")}, ready: {{notify: true}},
                  watchdog: 2s}}
          starts: {{command: [sleep, "1000"], ready: {{log: never said, timeout: 10s}}}}
        """
    ).up("beats")
    one.call("start")
    until(lambda: one.pid("starts"))
    daemon = one.status()["daemon"]
    before = {replica["id"]: (replica["pid"], replica["run"]) for replica in one.replicas()}
    kill_with(daemon["master_pid"], number=signal.SIGSTOP)
    ends(daemon["master_pid"], limit=60)
    until(lambda: Fire(one, 1).answers())
    assert {r["id"]: (r["pid"], r["run"]) for r in one.replicas()} == before
    assert one.status()["daemon"]["master_pid"] != daemon["master_pid"]
    assert one.replica("beats")["ready"]

"""No processes, no descriptors, no time: everything is back by itself, and nobody was given up."""

import ctypes
import mmap
import os
import re
import resource
import select
import signal
import subprocess
from pathlib import Path

import pytest

from supervisor import wards
from supervisor.control.client import Refused
from tests.daemon.harness import Keepd, alive, kill, program, until
from tests.daemon.killed.fire import Fire
from tests.ipc.groups import limited

MANY = 12
STEADY = f"""
    defaults: {{backoff: {{first: 50ms, limit: 200ms}}}}
    services:
      web: {{command: [sleep, "1000"], replicas: {MANY}}}
    """
CLOCK = Path(__file__).parent / "programs" / "clock.c"


def pids(one):
    return {replica["id"]: replica["pid"] for replica in one.replicas()}


def all_back(one, before):
    """Wait until everybody runs again, each in its second life."""

    def back():
        now = one.replicas()
        ready = all(r["state"] == "RUNNING" and r["run"] > 1 for r in now)
        return ready and not {r["pid"] for r in now} & {*before.values()}

    until(back)


@pytest.mark.parametrize("seconds", [0, pytest.param(20, marks=pytest.mark.soak)])
def test_f36_f47_while_no_process_can_be_forked_nobody_is_given_up(tmp_path, seconds):
    with limited("pids", "max") as group:
        one = Keepd(tmp_path, STEADY).up()
        try:
            master = one.status()["daemon"]["master_pid"]
            group.write("cgroup.procs", master)
            group.limit(1)  # itself
            before = pids(one)
            kill(*before.values())
            for key in before:
                one.tells(f"cannot start {key}: no room for another process")
            replica = until(
                lambda: next((r for r in one.replicas() if r["state"] == "BACKOFF"), None)
            )
            assert replica["next_start_in"] <= 0.3
            select.poll().poll(seconds * 1000)
            assert {r["state"] for r in one.replicas()} <= {"BACKOFF", "STARTING"}
            group.limit("max")
            all_back(one, before)
            assert one.status()["daemon"]["master_pid"] == master
            assert one.stop() == 0
        finally:
            one.end()


def test_f36_while_there_are_no_descriptors_nobody_is_given_up(either):
    one = either(STEADY).up()
    master = one.status()["daemon"]["master_pid"]
    before = pids(one)
    limits = resource.prlimit(master, resource.RLIMIT_NOFILE)
    resource.prlimit(master, resource.RLIMIT_NOFILE, (8, limits[1]))
    kill(*before.values())
    with pytest.raises(Refused, match="in time") as refused:
        one.call("status", limit=0.5)
    assert refused.value.kind == "timeout"
    told = re.compile("cannot (start|look after) web/.*: Too many open files")
    until(lambda: told.search(one.log("keepd")))
    resource.prlimit(master, resource.RLIMIT_NOFILE, limits)
    all_back(one, before)
    assert one.status()["daemon"]["master_pid"] == master
    assert "Traceback" not in one.log("keepd")
    assert one.stop() == 0


@pytest.mark.parametrize("seconds", [2.5, pytest.param(30, marks=pytest.mark.soak)])
def test_f44_a_master_that_was_stopped_for_a_while_restarts_only_who_has_died(keepd, seconds):
    one = keepd(f"""
        defaults: {{backoff: {{first: 10ms}}}}
        services:
          web: {{command: [sleep, "1000"], replicas: {MANY}}}
          slow: {{command: {program("alone")}, ready: {{notify: true, timeout: 1500ms}}}}
        """).up()
    master = one.status()["daemon"]["master_pid"]
    before = pids(one)
    victims = {key: pid for key, pid in before.items() if key in {"web/1", "web/5", "slow/0"}}
    one.kill("slow")
    one.becomes("slow", "STARTING", run=2)
    kill(master, number=signal.SIGSTOP)
    kill(*victims.values())
    select.poll().poll(seconds * 1000)  # longer than the new one has to become ready
    kill(master, number=signal.SIGCONT)
    if seconds > wards.HUNG:  # then another may have taken over
        until(lambda: Fire(one, 1).answers())
    until(lambda: all(r["state"] == "RUNNING" for r in one.replicas()))
    runs = {r["id"]: r["run"] for r in one.replicas()}
    assert runs == {key: 2 if key in victims else 1 for key in before}
    after = pids(one)
    assert {k: p for k, p in before.items() if k not in victims}.items() <= after.items()
    assert one.status()["daemon"]["master_pid"] == master or seconds > wards.HUNG


def test_f48_a_clock_that_jumps_restarts_nobody_and_delays_nobody(keepd, tmp_path):
    library, offset = tmp_path / "clock.so", tmp_path / "offset"
    subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-o", library, CLOCK], check=True)
    offset.write_bytes(bytes(8))
    with open(offset, "r+b") as file:
        seconds = ctypes.c_int64.from_buffer(mmap.mmap(file.fileno(), 8))
    env = {**os.environ, "LD_PRELOAD": str(library), "CLOCK_OFFSET": str(offset)}
    one = keepd(STEADY.rstrip() + "\n      job: {command: [sleep, '1000']}\n", env=env).up()
    before = pids(one)
    for run, hours in enumerate((1, -1, 24), start=2):
        seconds.value = hours * 3600
        one.kill("job")
        replica = one.becomes("job", "RUNNING", run=run)
        assert replica["uptime"] < 60
        until(lambda: one.lines("keepd")[-1].startswith("job/0 started"))
    stamps = [line.split(" ")[0] for line in one.log("keepd").splitlines()]
    assert stamps != sorted(stamps)  # it has jumped, as it was told to
    del before["job/0"]
    assert before.items() <= pids(one).items()
    assert all(alive(pid) for pid in before.values())
    assert one.stop() == 0

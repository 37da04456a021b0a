"""keepd is killed under a real systemd, in part and as a whole: its services must not notice."""

import json
import os
import re

import pytest

from tests.daemon.harness import program, until

LEAF = "/sys/fs/cgroup/system.slice/keepd.service/keepd"
TOLD = tuple(map(int, re.findall(r"\d+", os.uname().release)[:2])) >= (6, 15)
CONFIG = f"""\
version: 1
services:
  counts:
    command: i=0; while i=$((i+1)); do echo line $i; sleep 0.01; done
    shell: true
  speaks:
    command: {program("speaks")}
    ready: notify
  goes:  # when it may
    command: while [ ! -e /run/go ]; do sleep 0.01; done; echo last words; exit 7
    shell: true
    restart: never
  deaf:
    command: trap '' TERM; setsid sleep 1000001 & sleep 1000002; wait
    shell: true
    stop: {{timeout: 1s}}
"""
# At any age: before it has begun to adopt, in the middle of that, and afterwards.
TWENTY = """
for i in $(seq 20); do
  while main=$(systemctl show -P MainPID keepd); [ "$main" = 0 ] || [ "$main" = "$old" ]; do :; done
  sleep 0.$((i % 4))$((i % 5))
  kill -9 $main
  old=$main
done
"""
DROPPED_IN = "/etc/systemd/system/keepd.service.d"


@pytest.fixture
def unit(box):
    """The unit with all services ready: that of the test before, if it is as good as new."""
    if box.show("StatusText") != "4 of 4 ready" or box.show("ActiveState") != "active":
        box.sh("systemctl", "stop", "keepd")
        box.sh("systemctl", "reset-failed", "keepd", check=False)
        box.sh("sh", "-c", "rm -rf /run/hold /run/go /var/log/keepd/*")
        box.sh("systemctl", "start", "keepd")
        box.until("StatusText", "4 of 4 ready")
    log = "cat /var/log/keepd/*/counts/0.log"
    until(lambda: box.sh("sh", "-c", log, check=False).count("\n") > 10, 60)
    return box


def status(box):
    """Return what `keepd status` says, {} while nobody answers it."""
    found = json.loads(box.sh("keepd", "status", "--json", check=False) or "{}")
    return found if "daemon" in found else {}


def lives(box):
    """Return pid, run and restarts of each replica."""
    services = until(lambda: status(box), 60)["services"].values()
    return {r["id"]: (r["pid"], r["run"], r["restarts"]) for s in services for r in s["replicas"]}


def replica(box, name):
    found = status(box)
    return found and found["services"][name]["replicas"][0]


def helpers(box):
    """Return keepd's own processes: pids by title."""
    title = 'echo "$p $(tr "\\0" " " < /proc/$p/cmdline)"'
    script = f"for p in $(cat {LEAF}/cgroup.procs); do {title}; done"
    found = [line.split(" ", 2) for line in box.sh("sh", "-c", script, check=False).splitlines()]
    return {words[2].strip(): words[0] for words in found if len(words) > 2}


def kill_all(box):
    """Kill all of keepd in one instant, and nothing else."""
    box.sh("sh", "-c", f"echo 1 > {LEAF}/cgroup.kill")


def is_back(box, before):
    """Wait until keepd answers, by another anchor or master than before."""

    old = (before["daemon"]["pid"], before["daemon"]["master_pid"])

    def look():
        daemon = status(box).get("daemon")
        pids = daemon and (daemon["pid"], daemon["master_pid"])
        return pids and pids != old and pids[0] == int(box.show("MainPID"))

    until(look, 60, every=0.1)
    box.until("ActiveState", "active")
    box.until("StatusText", "4 of 4 ready")


def lines(box, name):
    text = box.sh("sh", "-c", f"cat /var/log/keepd/*/{name}/0.log")
    return [line.split(" ", 1)[1] for line in text.splitlines()]


def each_line_once(box):
    """Fail if the run of the service that counts has a line lost, doubled or torn."""
    found = lines(box, "counts")
    found = found[max(n for n, line in enumerate(found) if line == "line 1") :]
    assert found == [f"line {number}" for number in range(1, len(found) + 1)]


def test_f25_s13_whoever_of_keepd_is_killed_its_services_go_on(unit):
    before, stored = lives(unit), unit.show("NFileDescriptorStore")
    for victims in (
        ["anchor"],
        ["master"],
        ["anchor", "master"],
        ["master", "log writer"],
    ):
        was = status(unit)
        titles = until(lambda who=victims: (seen := helpers(unit)).keys() >= {*who} and seen, 60)
        unit.sh("kill", "-9", *(titles[title] for title in victims))
        is_back(unit, was)
        assert lives(unit) == before, victims
    was = status(unit)
    kill_all(unit)
    is_back(unit, was)
    assert lives(unit) == before
    unit.sh("kill", "-USR1", str(before["speaks/0"][0]))
    until(lambda: replica(unit, "speaks")["text"].startswith("asked "))
    assert "0.1" in unit.sh("sh", "-c", "ls /run/keepd/*/notify/speaks")  # for who is new to it
    unit.until("NFileDescriptorStore", stored)
    each_line_once(unit)


def test_twenty_kills_in_a_row_cost_nothing(unit):
    before, stored, was = lives(unit), unit.show("NFileDescriptorStore"), status(unit)
    unit.sh("sh", "-c", TWENTY)
    is_back(unit, was)
    assert int(unit.show("NRestarts")) >= 20
    assert lives(unit) == before
    unit.until("NFileDescriptorStore", stored)
    each_line_once(unit)


def test_s17_what_happens_while_nothing_of_keepd_lives_is_known_afterwards(unit):
    before, was = lives(unit), status(unit)
    unit.sh("touch", "/run/hold")
    kill_all(unit)
    unit.until("SubState", "start-pre")
    assert helpers(unit) == {}
    unit.sh("kill", "-USR1", str(before["speaks/0"][0]))
    unit.sh("touch", "/run/go")
    gone = f"/proc/{before['goes/0'][0]}"
    until(lambda: unit.sh("sh", "-c", f"[ -e {gone} ] || echo gone").strip(), 60)
    unit.sh("rm", "/run/hold")
    goes = until(lambda: replica(unit, "goes"), 60)
    assert goes["state"] == "FATAL"
    assert (goes["run"], goes["last_exit"]["code"]) == (1, 7 if TOLD else None)
    until(lambda: lines(unit, "goes") == ["last words"])
    assert replica(unit, "speaks")["text"].startswith("asked ")
    after = lives(unit)
    assert {**after, "goes/0": None} == {**before, "goes/0": None}
    assert status(unit)["daemon"]["pid"] != was["daemon"]["pid"]


def test_a_stop_leaves_nothing_where_keepd_is_killed_in_the_middle_of_it(unit):
    unit.sh("systemctl", "stop", "--no-block", "keepd")
    unit.until("SubState", "stop-sigterm")
    kill_all(unit)
    unit.sh("systemctl", "stop", "keepd")
    assert unit.show("ActiveState") == "failed"  # it was killed, after all
    assert unit.sleepers() == []
    until(lambda: "keepd" not in unit.sh("ls", "/sys/fs/cgroup/system.slice", "/run"))
    each_line_once(unit)


def test_a_stop_leaves_nothing_where_no_keepd_is_able_to_end_it(unit):
    try:
        unit.sh("touch", "/run/hold")
        kill_all(unit)
        unit.until("SubState", "start-pre")
        assert len(unit.sleepers()) == 2
        unit.sh("mv", "/etc/keepd/keepd.yaml", "/etc/keepd/hidden.yaml")
        unit.sh("systemctl", "stop", "keepd")
        assert unit.sleepers() == []
        until(lambda: "keepd" not in unit.sh("ls", "/sys/fs/cgroup/system.slice", "/run"))
    finally:
        unit.sh("mv", "/etc/keepd/hidden.yaml", "/etc/keepd/keepd.yaml")


def test_what_a_stop_between_two_keepds_left_is_ended_by_down(unit):
    try:
        unit.drop_in("late", "[Service]\nRestartSec=1h\n")
        unit.sh("kill", "-9", unit.show("MainPID"))
        unit.until("SubState", "auto-restart")
        unit.sh("systemctl", "stop", "keepd")
        assert len(unit.sleepers()) == 2  # systemd has asked nobody
        assert unit.sh("keepd", "down") == "what a killed keepd has left is stopped\n"
        assert unit.sleepers() == []
        each_line_once(unit)
        unit.sh("systemctl", "start", "keepd")
        unit.until("StatusText", "4 of 4 ready")
    finally:
        unit.sh("rm", f"{DROPPED_IN}/late.conf")
        unit.sh("systemctl", "daemon-reload")


def test_a_restart_stops_everything_and_starts_it_anew(unit):
    before = lives(unit)
    unit.sh("systemctl", "restart", "keepd")
    unit.until("StatusText", "4 of 4 ready")
    after = lives(unit)
    assert {pid for pid, _, _ in before.values()}.isdisjoint(pid for pid, _, _ in after.values())
    assert len(unit.sleepers()) == 2


def test_a_frozen_master_does_not_keep_the_next_keepd_out(unit):
    before, was, titles = lives(unit), status(unit), helpers(unit)
    unit.sh("kill", "-STOP", titles["master"])
    unit.sh("kill", "-9", titles["anchor"])
    is_back(unit, was)
    assert lives(unit) == before
    each_line_once(unit)


def test_a_frozen_anchor_is_replaced_and_its_services_go_on(unit):
    try:
        unit.drop_in("watch", "[Service]\nWatchdogSec=2s\n")
        unit.sh("systemctl", "restart", "keepd")
        unit.until("StatusText", "4 of 4 ready")
        before, was = lives(unit), status(unit)
        unit.sh("kill", "-STOP", unit.show("MainPID"))
        is_back(unit, was)
        assert lives(unit) == before
    finally:
        unit.sh("rm", f"{DROPPED_IN}/watch.conf")
        unit.sh("systemctl", "daemon-reload")


def test_a_faulty_list_costs_no_service_where_keepd_is_killed(unit):
    before, was = lives(unit), status(unit)
    try:
        unit.write("/etc/keepd/keepd.yaml", CONFIG.replace("restart:", "restrat:"))
        unit.sh("kill", "-9", unit.show("MainPID"))
        is_back(unit, was)
        assert lives(unit) == before
        assert "services.goes.restrat: unknown key" in unit.journal()
        unit.sh("systemctl", "stop", "keepd")
        assert unit.sleepers() == []
        unit.sh("systemctl", "start", "keepd", check=False)  # where nothing runs, it is a fault
        unit.until("ActiveState", "failed")
        assert unit.show("ExecMainStatus") == "2"
    finally:
        unit.write("/etc/keepd/keepd.yaml", CONFIG)

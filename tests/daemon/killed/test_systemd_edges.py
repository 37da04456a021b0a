"""What systemd itself runs, or has kept, while keepd is killed or becomes another version."""

import json
import time

import pytest

from tests.daemon.harness import until
from tests.daemon.killed.test_systemd_kills import kill_all, lives, status

CONFIG = """\
version: 1
services:
  polite:
    command: trap 'echo bye; exit 0' TERM; while :; do sleep 0.05; done
    shell: true
  plain: {command: [sleep, "1000001"]}
"""
AT_ONCE = 5.0  # seconds; a call that nobody takes is given up after ten


@pytest.fixture
def unit(box):
    """The unit, begun anew, with all services ready."""
    box.sh("systemctl", "stop", "keepd")
    box.sh("systemctl", "reset-failed", "keepd", check=False)
    box.sh("sh", "-c", "rm -rf /run/hold /var/log/keepd/*")
    box.sh("systemctl", "start", "keepd")
    box.until("StatusText", "2 of 2 ready")
    return box


def test_a_stop_while_nothing_of_keepd_lives_is_one_in_order(unit):
    """ExecStopPost= meets nobody at the socket, and does not wait for an answer."""
    unit.sh("touch", "/run/hold")
    kill_all(unit)
    unit.until("SubState", "start-pre")
    since = time.monotonic()
    assert unit.sh("keepd", "status", check=False) == ""
    unit.sh("systemctl", "stop", "keepd")
    assert time.monotonic() - since < AT_ONCE
    assert "bye\n" in unit.sh("sh", "-c", "cat /var/log/keepd/*/polite/0.log")
    assert unit.sleepers() == []


def test_a_reload_that_meets_no_keepd_does_not_keep_systemd_from_starting_one(unit):
    """Nobody is started again while ExecReload= runs."""
    before, daemon = lives(unit), status(unit)["daemon"]
    unit.sh("kill", "-STOP", str(daemon["master_pid"]))
    unit.sh("systemctl", "reload", "--no-block", "keepd")
    unit.until("SubState", "reload")
    since = time.monotonic()
    kill_all(unit)
    until(lambda: int(unit.show("MainPID")) not in {0, daemon["pid"]}, 60)
    assert time.monotonic() - since < AT_ONCE
    unit.until("ActiveState", "active")
    assert lives(unit) == before


def test_an_upgrade_touches_no_service_and_nothing_that_systemd_has_kept(unit):
    """Its trial runs in the unit's groups, and those are not its own."""
    before, main, stored = lives(unit), unit.show("MainPID"), unit.show("NFileDescriptorStore")
    assert "2 of 2 replicas that ran go on untouched" in unit.sh("keepd", "upgrade")
    unit.until("StatusText", "2 of 2 ready")
    assert unit.show("MainPID") == main
    assert lives(unit) == before
    kill_all(unit)
    until(lambda: (found := status(unit)) and found["daemon"]["pid"] != int(main), 60)
    assert lives(unit) == before
    unit.until("NFileDescriptorStore", stored)


def test_a_restart_leaves_nothing_of_the_past_in_the_store(unit):
    stored = unit.show("NFileDescriptorStore")
    for _ in range(3):
        unit.sh("systemctl", "restart", "keepd")
        unit.until("StatusText", "2 of 2 ready")
        unit.until("NFileDescriptorStore", stored)


NEIGHBOURS = """
keepd -c /etc/a.yaml up -d && keepd -c /etc/b.yaml up -d && kill -9 $(pgrep -f '^keepd: master')
keepd -c /etc/a.yaml status --json > /run/a; keepd -c /etc/b.yaml status --json > /run/b
keepd -c /etc/b.yaml down; keepd -c /etc/a.yaml down
"""


def test_two_keepds_in_one_unit_leave_each_other_alone(box):
    """The groups of the unit are those of the first; the other does without."""
    for name in "ab":
        service = f"{name}: {{command: [sleep, '1000002']}}"
        box.write(f"/etc/{name}.yaml", f"version: 1\nname: {name}\nservices:\n  {service}\n")
    words = ("--unit=two", "--wait", "--property=Delegate=yes", "sh", "-c", NEIGHBOURS)
    box.sh("systemd-run", *words)
    for name in "ab":
        replica = json.loads(box.sh("cat", f"/run/{name}"))["services"][name]["replicas"][0]
        assert (replica["state"], replica["run"]) == ("RUNNING", 1)
        log = box.sh("cat", f"/var/log/keepd/{name}/keepd.log")
        assert "left over" not in log
        assert ("no cgroups: those of" in log) == (name == "b")
    assert "sleep 1000002" not in box.sleepers()

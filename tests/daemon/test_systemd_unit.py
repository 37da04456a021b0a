"""The unit file as shipped, under a real systemd that is PID 1 of a box of its own."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
UNIT = ROOT / "systemd" / "keepd.service"
SDBOX = Path(__file__).with_name("sdbox")
LIMIT = 60.0  # seconds: more than anything here takes on a busy machine

WRAPPER = f"""\
#!/bin/sh
PYTHONPATH={ROOT} exec {sys.executable} -m supervisor "$@"
"""
CONFIG = """\
version: 1
services:
  plain: {command: [sleep, "1000001"]}
  after:
    command: [sleep, "1000002"]
    depends_on: [plain]
  deaf:
    command: trap '' TERM; setsid sleep 1000003 & sleep 1000004; wait
    shell: true
    stop: {timeout: 1s}
"""


class Box:
    """A systemd of our own, and what can be said to it."""

    def __init__(self, folder):
        self.folder = folder

    def up(self):
        here = os.stat("/").st_dev
        places = {str(ROOT), sys.prefix, sys.base_prefix}
        self.told("up", *sorted(p for p in places if os.stat(p).st_dev != here))

    def down(self):
        self.told("down")

    def told(self, verb, *words, text=None, check=True):
        done = subprocess.run(
            [SDBOX, verb, self.folder, *words],
            input=text or "",
            capture_output=True,
            text=True,
            timeout=LIMIT,
            check=False,
        )
        assert not (check and done.returncode), f"{verb} {words}: {done.stdout}{done.stderr}"
        return done.stdout

    def sh(self, *words, **options):
        return self.told("sh", *words, **options)

    def write(self, path, text, mode="644"):
        script = 'mkdir -p "$(dirname "$1")" && cat > "$1" && chmod "$2" "$1"'
        self.sh("sh", "-c", script, "sh", path, mode, text=text)

    def show(self, name):
        return self.sh("systemctl", "show", "--value", "-p", name, "keepd").strip()

    def sleepers(self):
        lines = self.sh("ps", "-eo", "args").splitlines()
        return sorted(line for line in lines if line.startswith("sleep 100000"))

    def until(self, name, value):
        end = time.monotonic() + LIMIT
        while (found := self.show(name)) != value:
            assert time.monotonic() < end, f"{name}: {found}\n{self.journal()}"

    def journal(self):
        return self.sh("journalctl", "--no-pager", "-u", "keepd", check=False)


@pytest.fixture(scope="module")
def box(tmp_path_factory):
    box = Box(tmp_path_factory.mktemp("sdbox"))
    try:
        box.up()
        box.write("/usr/local/bin/keepd", WRAPPER, "755")
        box.write("/etc/keepd/keepd.yaml", CONFIG)
        box.write("/etc/systemd/system/keepd.service", UNIT.read_text(encoding="utf-8"))
        box.sh("systemctl", "daemon-reload")
        yield box
    finally:
        box.down()


@pytest.fixture
def unit(box):
    """The unit, started and with all services ready; stopped afterwards."""
    box.sh("systemctl", "start", "keepd")  # returns after READY=1
    box.until("StatusText", "3 of 3 ready")
    yield box
    box.sh("systemctl", "stop", "keepd")
    box.sh("systemctl", "reset-failed", "keepd", check=False)


EXTRA = "  extra: {command: [sleep, '1000005']}\n"


def test_a_reload_takes_over_what_changed_and_fails_where_the_config_does(unit):
    before = unit.sleepers()
    try:
        unit.write("/etc/keepd/keepd.yaml", CONFIG + EXTRA)
        unit.sh("systemctl", "reload", "keepd")
        unit.until("StatusText", "4 of 4 ready")
        assert unit.sleepers() == sorted([*before, "sleep 1000005"])
        unit.write("/etc/keepd/keepd.yaml", CONFIG + EXTRA.replace("command", "comand"))
        failed = unit.sh("systemctl", "reload", "keepd", "--no-ask-password", check=False)
        assert unit.show("ActiveState") == "active", failed
        assert "keepd.yaml:11:11: services.extra.comand: unknown key" in unit.journal()
        assert len(unit.sleepers()) == 5
    finally:
        unit.write("/etc/keepd/keepd.yaml", CONFIG)
    main = unit.show("MainPID")
    unit.sh("systemctl", "kill", "-s", "HUP", "--kill-who=main", "keepd")
    unit.until("StatusText", "3 of 3 ready")
    unit.until("ActiveState", "active")
    assert unit.show("MainPID") == main
    assert unit.sleepers() == before


ALL = [f"sleep 100000{number}" for number in (1, 2, 3, 4)]


def test_the_unit_file_is_clean():
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", UNIT],
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_systemd_hears_ready_and_status_from_the_main_process(unit):
    assert unit.show("ActiveState") == "active"
    main = int(unit.show("MainPID"))
    status = json.loads(unit.sh("keepd", "status", "--json"))
    assert status["daemon"]["pid"] == main
    assert sorted(status["services"]) == ["after", "deaf", "plain"]
    assert unit.sleepers() == ALL


def test_each_replica_has_a_cgroup_below_ours(unit):
    status = json.loads(unit.sh("keepd", "status", "--json"))
    groups = set()
    for service in status["services"].values():
        text = unit.sh("cat", f"/proc/{service['replicas'][0]['pid']}/cgroup")
        groups |= {line for line in text.splitlines() if line.startswith("0::")}
    assert len(groups) == 3
    assert all("/keepd.service/" in group for group in groups)


def test_f30_a_stop_leaves_nothing_and_is_a_success(unit):
    unit.sh("systemctl", "stop", "keepd")
    assert unit.show("ActiveState") == "inactive"
    assert unit.show("Result") == "success"
    assert unit.sleepers() == []
    assert "keepd" not in unit.sh("ls", "/sys/fs/cgroup/system.slice")


def test_f82_the_notify_socket_of_systemd_is_not_for_services(unit):
    status = json.loads(unit.sh("keepd", "status", "--json"))
    pid = status["services"]["plain"]["replicas"][0]["pid"]
    environment = unit.sh("cat", f"/proc/{pid}/environ").split("\0")
    names = {line.partition("=")[0] for line in environment}
    assert "KEEPD_RUN" in names
    assert not names & {"NOTIFY_SOCKET", "INVOCATION_ID", "JOURNAL_STREAM", "WATCHDOG_USEC"}


def test_f25_a_killed_main_process_is_started_again_and_nothing_runs_twice(unit):
    restarts = int(unit.show("NRestarts"))
    unit.sh("kill", "-9", unit.show("MainPID"))
    unit.until("NRestarts", str(restarts + 1))
    unit.until("StatusText", "3 of 3 ready")
    assert unit.sleepers() == ALL

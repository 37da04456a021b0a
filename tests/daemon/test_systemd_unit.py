"""The unit file as shipped, under a real systemd that is PID 1 of a box of its own."""

import json
import subprocess

import pytest

from tests.daemon.boxes import LIMIT, UNIT, installed
from tests.daemon.harness import until

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


@pytest.fixture(scope="module")
def box(tmp_path_factory):
    with installed(tmp_path_factory.mktemp("sdbox"), CONFIG) as box:
        yield box


@pytest.fixture
def unit(box):
    """The unit, started and with all services ready."""
    box.sh("systemctl", "start", "keepd")  # returns after READY=1
    box.until("StatusText", "3 of 3 ready")
    return box


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


def test_f84_that_the_kernel_kills_one_for_want_of_memory_does_not_end_the_others(box):
    assert box.show("OOMPolicy") == "continue"


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
    until(lambda: "keepd" not in unit.sh("ls", "/sys/fs/cgroup/system.slice"))


def test_f82_the_notify_socket_of_systemd_is_not_for_services(unit):
    status = json.loads(unit.sh("keepd", "status", "--json"))
    pid = status["services"]["plain"]["replicas"][0]["pid"]
    environment = unit.sh("cat", f"/proc/{pid}/environ").split("\0")
    names = {line.partition("=")[0] for line in environment}
    assert "KEEPD_RUN" in names
    assert not names & {"NOTIFY_SOCKET", "INVOCATION_ID", "JOURNAL_STREAM", "WATCHDOG_USEC"}

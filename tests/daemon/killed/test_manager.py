"""What our service manager is told, whoever of us stands still meanwhile."""

import os
import signal
import socket

import pytest

from tests.daemon.harness import kill, until
from tests.daemon.killed.losses import new_master, stopped
from tests.daemon.test_security import heard


@pytest.fixture
def manager(tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "manager"))
        sock.setblocking(False)
        yield sock


def test_the_last_word_is_told_though_the_anchor_stood_still(keepd, manager):
    """More was said meanwhile than there was room for."""
    config = "services: {web: {command: [sleep, '1000'], replicas: 3}}"
    one = keepd(config, env={**os.environ, "NOTIFY_SOCKET": manager.getsockname()}).up()
    anchor = one.status()["daemon"]["pid"]
    until(lambda: "STATUS=3 of 3 ready" in heard(manager))
    stopped(anchor)
    for number in range(200):
        names = [f"web/{number % 2}"]
        for word, goal in (("stop", "stopped"), ("start", "ready")):
            one.call(word, {"names": names})
            one.call("wait", {"for": goal, "names": names, "timeout": 10})
    one.call("stop", {"names": ["web/1", "web/2"]})
    kill(anchor, number=signal.SIGCONT)
    said = []
    until(lambda: said.extend(heard(manager)) or said[-1:] == ["STATUS=1 of 1 ready"], limit=10)


def test_what_the_manager_had_no_room_for_is_told_by_the_anchor_that_an_upgrade_makes(
    keepd, manager
):
    config = "services: {web: {command: [sleep, '1000'], replicas: 12}}"
    env = {**os.environ, "NOTIFY_SOCKET": manager.getsockname(), "FDSTORE": "100"}
    one = keepd(config, env=env).up()
    master = one.status()["daemon"]["master_pid"]
    one.call("upgrade", limit=60)
    new_master(one, master)
    names, kept = set(), {f"FDNAME=fifo=web/{number}.1" for number in range(12)}

    def stored():
        for text in heard(manager):
            names.update(text.splitlines())
        return kept <= names

    until(stored, limit=10)

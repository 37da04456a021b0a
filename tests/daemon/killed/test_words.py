"""The words of a service that has lived shorter than whoever was to hear them was away."""

import contextlib
import signal

import pytest

from tests.daemon.harness import kill, until
from tests.daemon.killed.losses import new_master, stopped
from tests.daemon.killed.tracing import Tracer, ask

ECHO = """
    services:
      echo: {{command: "echo said $$$$; echo $$$$ >> {journal}", shell: true, restart: never}}
"""


def said_and_written(one, journal):
    """Return who has said something, and whose words are in the log."""
    said = set(journal.read_text().split())
    lines = one.log("echo/0").splitlines() if one.replica("echo/0")["run"] > 0 else []
    return said, {line.split()[-1] for line in lines if " said " in line}


def dies_in_a_birth(one, journal, number):
    """Kill the master at a call of a birth, and the writer, which has not heard of it."""
    daemon, before = one.status()["daemon"], journal.read_text()
    anchor, master, writer = (daemon[x] for x in ("pid", "master_pid", "log_writer_pid"))
    stopped(anchor)  # it is slow: the service ends before there is another master
    stopped(writer)
    with Tracer() as tracer:
        tracer.seize(master, births=True)
        with ask(one, "start", "echo/0"):
            killed = tracer.kills(master, number, lambda: journal.read_text() != before)
    kill(writer)
    with contextlib.suppress(AssertionError):  # it may not have been born
        until(lambda: journal.read_text() != before, limit=0.1)
    kill(anchor, number=signal.SIGCONT)
    if killed:
        new_master(one, master)
    until(lambda: one.status()["daemon"]["log_writer_pid"] not in {None, writer})
    return killed


@pytest.mark.parametrize(
    "stride", [11, pytest.param(1, marks=[pytest.mark.soak, pytest.mark.timeout(600)])]
)
def test_what_a_newborn_says_is_kept_when_master_and_writer_are_killed(keepd, tmp_path, stride):
    journal = tmp_path / "journal"
    journal.touch()
    one = keepd(ECHO.format(journal=journal)).up()
    until(journal.read_text)
    number = 40
    while dies_in_a_birth(one, journal, number):
        until(lambda: one.replica("echo/0")["state"] in {"EXITED", "FATAL"})
        until(lambda: len(set.union(*(x := said_and_written(one, journal)))) == len(x[1]))
        number += stride
    assert number > 100

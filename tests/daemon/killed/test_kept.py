"""What the anchor keeps open for masters to come, and lets go when the run it is of is over."""

import os
import signal
import time
from pathlib import Path

from tests.daemon.harness import LIMIT, kill, opened, until
from tests.daemon.killed.losses import lose_anchor_unheard, new_master, orphaned, promoted
from tests.daemon.killed.tracing import ask


def descriptors(one):
    """Return how many descriptors anchor and master have, and how many locks lie about."""
    daemon = one.status()["daemon"]
    pids = (daemon["pid"], daemon["master_pid"])
    return [len(os.listdir(f"/proc/{p}/fd")) for p in pids], os.listdir(one.run_dir / "births")


def test_what_was_kept_for_runs_that_are_over_is_let_go_by_the_next_master(keepd):
    """A master that dies with its services cannot say that what it had kept is needed no more."""
    one = keepd("""
        defaults: {backoff: {first: 1ms, factor: 1, limit: 1ms}}
        services: {web: {command: [sleep, '1000'], replicas: 8}}
        """).up()

    def killed(numbers):
        before = {replica["id"]: replica for replica in one.replicas()}
        master = one.status()["daemon"]["master_pid"]
        kill(master, *(before[f"web/{number}"]["pid"] for number in numbers))
        until(lambda: one.answers() and one.status()["daemon"]["master_pid"] != master)
        for number in numbers:
            run = before[f"web/{number}"]["run"]
            one.becomes(f"web/{number}", "RUNNING", run=run + 1)
        until(lambda: len(descriptors(one)[1]) == 1)

    killed([0])
    (anchor, master), _ = descriptors(one)
    for _ in range(4):
        killed(range(8))
    killed([0])

    def as_before():
        (anchors, masters), locks = descriptors(one)
        return anchors <= anchor + 2 and masters <= master + 2 and len(locks) == 1

    until(as_before)


def answer(asked):
    """Return what is told of keepd itself to one who has asked for the status."""
    with asked:
        return asked._receive(time.monotonic() + LIMIT)["result"]["daemon"]


def test_who_asks_while_there_is_no_master_is_answered_by_the_next(keepd):
    one = keepd("services: {web: {command: [sleep, '1000']}}").up()
    master = one.status()["daemon"]["master_pid"]
    with orphaned(one):
        asked = ask(one, "status", "web")
    assert answer(asked)["master_pid"] not in {None, master}


def test_who_asks_while_a_master_takes_its_anchors_place_is_answered_by_the_next(detached):
    one = detached("services: {web: {command: [sleep, '1000']}}")
    daemon = lose_anchor_unheard(one)
    asked = ask(one, "status", "web")
    kill(daemon["master_pid"], number=signal.SIGCONT)
    promoted(one, daemon)
    assert answer(asked)["pid"] == daemon["master_pid"]


def listening(pid):
    """Return the sockets on which a process could hear who calls: their flag says so, unix(7)."""
    lines = [line.split() for line in Path("/proc/net/unix").read_text().splitlines()]
    named = {f"socket:[{words[6]}]" for words in lines if words[3] == "00010000"}
    return named.intersection(opened(pid))


def test_a_name_that_somebody_has_removed_is_made_again_by_the_next_master(keepd):
    """And what nobody can call any more is kept by nobody."""
    one = keepd("services: {web: {command: [sleep, '1000']}}").up()
    daemon = one.status()["daemon"]
    before = until(lambda: listening(daemon["pid"]))
    (one.run_dir / "control.sock").unlink()
    kill(daemon["master_pid"])
    new_master(one, daemon["master_pid"])
    until(lambda: len(after := listening(daemon["pid"])) == 1 and not after & before)
    master = one.status()["daemon"]["master_pid"]
    assert len(listening(master)) == 1

"""Births that are held before their first step, while others die or wait for them."""

import contextlib

import pytest

from tests.daemon.harness import WITHOUT_GROUPS, ends, kill, program, until
from tests.daemon.killed.fire import AWAY
from tests.daemon.killed.tracing import Tracer, ask


def test_f42_a_helper_whose_parent_dies_before_it_can_want_to_hear_of_it_ends(keepd):
    """It has been forked, and has not made its first call yet."""
    one = keepd(f"services: {{web: {{command: {program('alone')}}}}}").up()
    web, titles = one.pid("web"), one.titles()
    with Tracer() as tracer:
        tracer.seize(titles["anchor"], counts=False, births=True)
        kill(titles["terminal"])
        newborn = tracer.holds_newborn()
        kill(titles["anchor"])
        tracer.buries(titles["anchor"])
    ends(newborn)
    ends(web)  # nobody watches it any more
    until(lambda: one.orphans() == [])


def is_followed(one, master):
    """Tell whether another master answers; who asks the old one's socket asks in vain."""
    with contextlib.suppress(*AWAY):
        return one.call("status", limit=1)["daemon"]["master_pid"] != master
    return False


def test_a_birth_that_hangs_is_in_doubt_for_every_master_to_come(keepd):
    """What is of it is known by nobody but who has ordered it, however many came after that."""
    one = keepd(
        f"""
        defaults: {{backoff: {{first: 50ms, limit: 50ms}}}}
        services:
          hangs: {{command: {program("alone")}}}
          web: {{command: {program("alone")}}}
        """,
        under=WITHOUT_GROUPS,
    ).up("web")
    master = one.status()["daemon"]["master_pid"]
    with Tracer() as tracer:
        tracer.seize(master, births=True)
        with ask(one, "start", "hangs"):
            newborn = tracer.holds_newborn()
            kill(master)
            tracer.buries(master)
        for run in (2, 3):
            until(lambda gone=master: is_followed(one, gone))
            one.call("restart", {"names": ["web"]})
            one.becomes("web", "RUNNING", run=run)
            replica = one.replica("hangs")
            assert (replica["state"], replica["pid"], replica["run"]) == ("STARTING", None, 1)
            master = one.status()["daemon"]["master_pid"]
            kill(master)
        until(lambda: is_followed(one, master))
    replica = one.becomes("hangs", "RUNNING")
    assert (replica["pid"], replica["run"]) == (newborn, 1)
    assert not (one.folder / "two").exists()


@pytest.mark.soak
@pytest.mark.timeout(120)
@pytest.mark.parametrize("end", ["is killed", "goes on"])
def test_a_birth_that_hangs_costs_a_master_and_puts_one_replica_in_doubt(either, end):
    """The newborn does not come to its exec, and the master waits for that."""
    one = either(
        f"""
        defaults: {{backoff: {{first: 50ms, limit: 50ms}}}}
        services:
          hangs: {{command: {program("alone")}}}
          web: {{command: {program("alone")}}}
          other: {{command: {program("alone")}, umask: "022"}}
        """
    ).up("web", "other")
    master = one.status()["daemon"]["master_pid"]
    before = {key: (one.replica(key)["pid"], one.replica(key)["run"]) for key in ("web", "other")}
    with Tracer() as tracer:
        tracer.seize(master, births=True)
        with ask(one, "start", "hangs"):
            newborn = tracer.holds_newborn()
            tracer.buries(master, limit=90)
        until(lambda: is_followed(one, master))
        told = one.run("status").stdout
        assert "in doubt: its birth was cut short" in told
        replica = one.replica("hangs")
        assert (replica["state"], replica["pid"], replica["run"]) == ("STARTING", None, 1)
        one.call("restart", {"names": ["web"]})
        one.becomes("web", "RUNNING", run=2)
        assert (one.replica("other")["pid"], one.replica("other")["run"]) == before["other"]
        assert one.replica("hangs")["run"] == 1
        if end == "is killed":
            kill(newborn)
            tracer.buries(newborn)
    replica = one.becomes("hangs", "RUNNING")
    if end == "is killed":
        assert replica["run"] == 2
        assert "keepd was killed in the middle of its birth" in one.log("keepd")
    else:
        assert (replica["pid"], replica["run"]) == (newborn, 1)
    until(lambda: "holds" in one.log("hangs/0"))
    assert not (one.folder / "two").exists()

"""What of keepd is lost in a test, and how it is seen to be back."""

import contextlib
import signal
import subprocess

from supervisor.control.client import NoDaemon, Refused
from tests.daemon.harness import (
    alive,
    children,
    ends,
    kill,
    kill_at_once,
    read,
    until,
)


def helpers(pid):
    """Return all of keepd's own processes, from the anchor down."""
    found = [pid] if read(pid, "cmdline").startswith("keepd: ") and alive(pid) else []
    return [*found, *(each for child in children(pid) if found for each in helpers(child))]


def stopped(pid):
    """Stop it; return when it is."""
    kill(pid, number=signal.SIGSTOP)
    until(lambda: read(pid, "stat").rpartition(")")[2].split()[0] == "T")


def gone(pids):
    until(lambda: not any(map(alive, pids)))


def status(one):
    try:
        return one.status()
    except (NoDaemon, Refused):
        return None


def new_master(one, master):
    """Wait until another master answers."""
    until(lambda: (found := status(one)) and found["daemon"]["master_pid"] != master)


def lose_master(one):
    """Kill the master; return when the next one answers."""
    master = one.status()["daemon"]["master_pid"]
    kill(master)
    new_master(one, master)


def lose_all(one):
    """Kill every process of keepd, and no other."""
    found = helpers(one.status()["daemon"]["pid"])
    kill_at_once(*found)
    gone(found)


def lose_and_find(one):
    lose_all(one)
    up(one)


def promoted(one, daemon):
    """Wait until the master has taken the anchor's place."""
    until(lambda: (found := status(one)) and found["daemon"]["pid"] == daemon["master_pid"])


def lose_anchor_unheard(one):
    """Kill the anchor of a master that is stopped; return the two as they were."""
    daemon = one.status()["daemon"]
    stopped(daemon["master_pid"])
    kill(daemon["pid"])
    ends(daemon["pid"])
    return daemon


def lose_anchor(one):
    """Kill the anchor; return when the master has taken its place."""
    daemon = one.status()["daemon"]
    kill(daemon["pid"])
    promoted(one, daemon)


def run_up(one, *words):
    """Start it in the background; return how that went."""
    return subprocess.run(
        [*one.under, *one.command("up", "-d", *words)],
        capture_output=True,
        text=True,
        timeout=40,
        check=False,
        cwd=one.root,
        stdin=subprocess.DEVNULL,
    )


def up(one):
    """Start it in the background, and see all become ready."""
    done = run_up(one)
    assert done.returncode == 0, done.stderr


LOSSES = {"master": lose_master, "anchor": lose_anchor, "everything": lose_and_find}


@contextlib.contextmanager
def orphaned(one):
    """Let nobody be master for a while: the anchor is stopped, and cannot start another."""
    daemon = one.status()["daemon"]
    stopped(daemon["pid"])
    kill(daemon["master_pid"])
    until(lambda: not alive(daemon["master_pid"]))
    try:
        yield
    finally:
        kill(daemon["pid"], number=signal.SIGCONT)
    new_master(one, daemon["master_pid"])

"""On a terminal nothing outlives the anchor, whoever else dies or stands still with it."""

import os
import time

import pytest

from tests.daemon.harness import alive, ends, kill, kill_at_once, program, tagged, until
from tests.daemon.killed.losses import stopped
from tests.daemon.killed.test_anchor import SHELL
from tests.daemon.screens import Screen

LIMIT = 4.0  # seconds: two are promised, on a machine that is not busy
BARE = "env -i setsid sleep 1000 >/dev/null 2>&1 & echo $! > bare; wait"
CWD = os.getcwd()
CONFIG = f"""
services:
  deaf:
    command: {program("alone", "deaf", "child")}
    ready: {{notify: true}}
    stop: {{timeout: 1m}}
  prepared: {{command: [sleep, "1000"], umask: "022"}}
  function: {{python: "tests.daemon.programs.functions:wait", log: {{to: none}}, cwd: {CWD}}}
  parent: {{command: '{BARE}', shell: true}}
"""


def stands_still(daemon):
    stopped(daemon["master_pid"])
    kill(daemon["pid"])


def both_at_once(daemon):
    kill_at_once(daemon["pid"], daemon["master_pid"])


@pytest.mark.parametrize("lose", [stands_still, both_at_once])
def test_f25_the_log_writer_ends_all_where_the_master_cannot(either, lose):
    """One that has no mark as well: a function without a log, or a child without environment."""
    with Screen() as screen:
        one = either(
            CONFIG,
            start_new_session=False,
            preexec_fn=lambda: os.login_tty(os.dup(screen.slave)),
        )
        one.under = (*one.under, *SHELL)
        one.up()
        bare = int(until(lambda: (p := one.folder / "bare").exists() and p.read_text().strip()))
        theirs = {*tagged(one.run_dir), *(replica["pid"] for replica in one.replicas()), bare}
        ours = one.helpers()
        try:
            since = time.monotonic()
            lose(one.status()["daemon"])
            for pid in (*theirs, *ours):
                ends(pid, limit=max(0, since + LIMIT - time.monotonic()))
            assert one.process.poll() is None
        finally:
            kill(*filter(alive, theirs))

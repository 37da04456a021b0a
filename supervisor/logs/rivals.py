"""A log writer that was stopped, and whose keepd is dead: it would hold its lock for good."""

from __future__ import annotations

import contextlib
import os
import signal

from supervisor.ipc.pidfd import send_signal
from supervisor.unix import kin


def end_stopped(log_dir: str) -> None:
    """KILL those who have this directory open, stand still, and have no anchor any more.

    What such a one was at its successor completes.
    """
    for pid in kin.everyone():
        seen = kin.stat(pid)
        if seen is None or seen.state not in "Tt" or kin.title(pid) != "log writer":
            continue
        with contextlib.suppress(OSError):
            pidfd = kin.hold(pid, seen.start)
            if pidfd is not None:
                if kin.has_open(pid, os.stat(log_dir)) and not kin.title(seen.parent):
                    send_signal(pidfd, signal.SIGKILL)
                os.close(pidfd)

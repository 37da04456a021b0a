"""A log writer that was stopped, and whose keepd is dead: it would hold its lock for good."""

from __future__ import annotations

import contextlib
import os
import signal

from supervisor.ipc.pidfd import open_pidfd, send_signal
from supervisor.unix import kin

_TITLE = b"keepd: "
_WRITER = b"keepd: log writer"


def end_stopped(log_dir: str) -> None:
    """KILL those who have this directory open, stand still, and have no anchor any more.

    What such a one was at its successor completes.
    """
    for pid in kin.everyone():
        seen = kin.stat(pid)
        if seen is None or seen.state not in "Tt" or not _title(pid).startswith(_WRITER):
            continue
        with contextlib.suppress(OSError):
            pidfd = open_pidfd(pid)
            try:
                again = kin.stat(pid)  # of whom we hold: it may have been somebody else before
                same = again is not None and again.start == seen.start
                if same and _has_open(pid, log_dir) and not _title(seen.parent).startswith(_TITLE):
                    send_signal(pidfd, signal.SIGKILL)
            finally:
                os.close(pidfd)


def _title(pid: int) -> bytes:
    with contextlib.suppress(OSError), open(f"/proc/{pid}/cmdline", "rb") as file:
        return file.read(64)
    return b""


def _has_open(pid: int, folder: str) -> bool:
    at = os.stat(folder)
    for fd in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(OSError):
            if os.path.samestat(os.stat(f"/proc/{pid}/fd/{fd}"), at):
                return True
    return False

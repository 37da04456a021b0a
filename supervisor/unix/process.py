"""Helpers of our own: to be forked, named, found again and signalled.

Nothing here starts a service. A helper is forked from ourselves, so that it shares our memory and
is the code that was started, and begins with a clean slate: no signal state, no descriptor and no
terminal of its parent that it was not given. Signals go by pidfd, never by a number that may have
been given to somebody else meanwhile.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
import traceback
from collections.abc import Callable, Collection

import setproctitle

from supervisor.ipc.pidfd import open_pidfd, send_signal
from supervisor.ipc.prctl import PR_SET_CHILD_SUBREAPER, PR_SET_PDEATHSIG, prctl

from . import signals

__all__ = [
    "become",
    "boot_id",
    "children",
    "close_others",
    "end_with",
    "fork",
    "keep_private",
    "pidfd_open",
    "send_signal",
    "start_time",
    "subreaper",
]

CRASHED = 70  # EX_SOFTWARE: a helper that ended by an exception

pidfd_open = open_pidfd


def subreaper() -> None:
    """Become the parent of every descendant that loses its own."""
    prctl(PR_SET_CHILD_SUBREAPER, 1)


def end_with(parent: int) -> None:
    """Get TERM when the process that has forked us ends; at once where it has ended already."""
    prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGTERM)


def become(title: str) -> None:
    """Be listed as "keepd: <title>" by ps."""
    setproctitle.setproctitle(f"keepd: {title}")


def _open_descriptors() -> list[int]:
    return [int(name) for name in os.listdir("/proc/self/fd")]


def close_others(keep: Collection[int]) -> None:
    """Close every descriptor above 2 that is not in `keep`."""
    low = 3
    for fd in sorted({*(fd for fd in keep if fd >= low), max(_open_descriptors()) + 1}):
        os.closerange(low, fd)
        low = fd + 1


def keep_private() -> None:
    """Mark every descriptor above 2 close-on-exec: also those that we were started with."""
    for fd in _open_descriptors():
        if fd > 2:
            try:
                os.set_inheritable(fd, False)
            except OSError:  # the one that listed them
                continue


def _begin(title: str, keep: Collection[int]) -> None:
    gc.freeze()  # a parent's forgotten socket, collected here, would close what has its number now
    signals.reset()
    os.setsid()
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    close_others(keep)
    become(title)


def fork(title: str, main: Callable[[], int], keep: Collection[int] = ()) -> int:
    """Return the pid of a helper that is forked from ourselves and runs main() to its exit code.

    It has a clean signal state, a session of its own, /dev/null as stdin and, beside stdout and
    stderr, only the descriptors in `keep`. It never returns into its parent's code: an exception
    goes to stderr and ends it with 70.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    with signals.held_back():
        pid = os.fork()
        if pid == 0:
            _live(title, main, keep)
    return pid


def _live(title: str, main: Callable[[], int], keep: Collection[int]) -> None:
    code = CRASHED
    try:
        _begin(title, keep)
        code = main()
        sys.stdout.flush()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:  # noqa: BLE001 - nothing of the parent's code may run in the child
        os.write(2, traceback.format_exc().encode("utf-8", "backslashreplace"))
    finally:
        os._exit(code)


def start_time(pid: int) -> int | None:
    """Return when the process was started, in clock ticks since boot; None: there is none.

    A pid and its start time together name a process; a pid alone may have been given out again.
    """
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return int(file.read().rpartition(b")")[2].split()[19])
    except (FileNotFoundError, ProcessLookupError):
        return None


def children(pid: int | None = None) -> list[int]:
    """Return the children of a process (default: our own), zombies among them."""
    folder = f"/proc/{os.getpid() if pid is None else pid}/task"
    found: list[int] = []
    try:
        for task in os.listdir(folder):
            with open(f"{folder}/{task}/children", "rb") as file:
                found += map(int, file.read().split())
    except (FileNotFoundError, ProcessLookupError):  # it, or one of its threads, has just ended
        return found
    return found


def boot_id() -> str:
    """Return the kernel's name for the time since it was booted."""
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip()

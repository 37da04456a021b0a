"""Helpers of our own: to be forked, named, found again and signalled.

Nothing here starts a service. A helper is forked from ourselves, so that it shares our memory and
is the code that was started, and begins with a clean slate: no signal state, no descriptor and no
terminal of its parent that it was not given. Signals go by pidfd, never by a number that may have
been given to somebody else meanwhile.
"""

from __future__ import annotations

import functools
import gc
import importlib.util
import os
import resource
import signal
import sys
import traceback
from collections.abc import Callable, Collection
from importlib.machinery import PathFinder
from typing import Any

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
    "whole",
]

CRASHED = 70  # EX_SOFTWARE: a helper that ended by an exception
_FAULTS = ("SIGABRT", "SIGBUS", "SIGFPE", "SIGILL", "SIGSEGV", "SIGSYS")
# Exit codes of a helper that would end so again if nobody waited: an exception, or a fault of ours.
CRASHES = frozenset([CRASHED, *(-signal.Signals[name] for name in _FAULTS)])

pidfd_open = open_pidfd


def has_terminal() -> bool:
    """Return whether a terminal controls us, so that its end comes to us as a SIGHUP."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError:
        return False
    return True


def subreaper() -> None:
    """Become the parent of every descendant that loses its own."""
    prctl(PR_SET_CHILD_SUBREAPER, 1)


def end_with(parent: int) -> None:
    """Get TERM when the process that has forked us ends; at once where it has ended already."""
    prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGTERM)


def title_folder() -> str:
    """Return where the package setproctitle lies."""
    package = importlib.util.find_spec("setproctitle")
    assert package is not None
    assert package.submodule_search_locations is not None
    return next(iter(package.submodule_search_locations))


@functools.cache
def _title() -> Any:  # noqa: ANN401 - a module without types
    """Return the kernel of setproctitle: the package around it would bring logging along."""
    found = PathFinder.find_spec("_setproctitle", [title_folder()])
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


def become(title: str) -> None:
    """Be listed as "keepd: <title>" by ps."""
    _title().setproctitle(f"keepd: {title}")


def _open_descriptors() -> list[int]:
    return [int(name) for name in os.listdir("/proc/self/fd")]


def close_others(keep: Collection[int]) -> None:
    """Close every descriptor above 2 that is not in `keep`."""
    low = 3
    try:
        last = max(_open_descriptors()) + 1
    except OSError:  # none is left to look with
        last = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    for fd in sorted({*(fd for fd in keep if fd >= low), last}):
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


def _begin(title: str, keep: Collection[int], *, deaf: bool) -> None:
    gc.freeze()  # a parent's forgotten socket, collected here, would close what has its number now
    signals.reset(mask=not deaf)
    os.setsid()
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    close_others(keep)
    become(title)


def fork(
    title: str, main: Callable[[], int], keep: Collection[int] = (), *, deaf: bool = False
) -> int:
    """Return the pid of a helper that is forked from ourselves and runs main() to its exit code.

    It has a clean signal state, a session of its own, /dev/null as stdin and, beside stdout and
    stderr, only the descriptors in `keep`. It never returns into its parent's code: an exception
    goes to stderr and ends it with 70. One that is born `deaf` lets signals through itself.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    with signals.held_back():
        pid = os.fork()
        if pid == 0:
            _live(title, main, keep, deaf=deaf)
    return pid


def _live(title: str, main: Callable[[], int], keep: Collection[int], *, deaf: bool) -> None:
    code = CRASHED
    try:
        _begin(title, keep, deaf=deaf)
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
    if pid is None:  # we have one thread
        return [int(child) for child in whole("/proc/thread-self/children").split()]
    folder = f"/proc/{pid}/task"
    found: list[int] = []
    try:
        for task in os.listdir(folder):
            found += map(int, whole(f"{folder}/{task}/children").split())
    except (FileNotFoundError, ProcessLookupError):  # it, or one of its threads, has just ended
        return found
    return found


_SHORT = 4096 - 256  # bytes: the kernel makes such files by the page, and this one was not full


def whole(path: str) -> bytes:
    """Return what a file of /proc or /sys says, without the layers of open(); raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return reread(fd)
    finally:
        os.close(fd)


def reread(fd: int) -> bytes:
    """Return what an open file of /proc or /sys says by now."""
    found = b""
    while chunk := os.pread(fd, 65_536, len(found)):
        found += chunk
        if len(chunk) < _SHORT:
            break
    return found


def boot_id() -> str:
    """Return the kernel's name for the time since it was booted."""
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip()

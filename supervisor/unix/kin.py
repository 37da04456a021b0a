"""Who belongs to whom, asked of /proc: for runs that have no cgroup of their own.

A process belongs to a run if it descends from its leader or from another of its processes, leads
or shares the leader's session, carries the run's tag in its environment, or has the run's FIFO as
stdout or stderr. Identity is pid and start time, looked at again once a pidfd is held: nobody is
ever signalled because of a number alone.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Iterable
from functools import cache

from supervisor.ipc.pidfd import open_pidfd, send_signal
from supervisor.records import record

from .process import children, start_time, whole

TAG = "KEEPD_RUN"
_ROUNDS = 100
_KERNEL_THREAD = 0x200000  # PF_KTHREAD of linux/sched.h
_GENERATIONS = 100
_LOOKS = 200  # at a process that is in the middle of its exec
_GONE = (FileNotFoundError, ProcessLookupError, PermissionError)

Members = dict[int, int]  # pid: start time


@record(frozen=True)
class Stat:
    """What /proc/PID/stat says."""

    state: str
    parent: int
    session: int
    start: int  # clock ticks since boot
    has_environment: bool  # or will never have one


@record(frozen=True)
class Marks:
    """How the processes of one run are known, beside their descent."""

    tag: str
    output: tuple[int, int] | None  # device and inode of its FIFO; /dev/null marks nobody


def stat(pid: int) -> Stat | None:
    """Return the facts; None if there is no such process."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            word = file.read().rpartition(b")")[2].split()
    except _GONE:
        return None
    return Stat(
        word[0].decode(),
        int(word[1]),
        int(word[3]),
        int(word[19]),
        bool(int(word[6]) & _KERNEL_THREAD) or (len(word) > 48 and word[48] != b"0"),
    )


def zombie_code(pid: int) -> int | None:
    """Return how a process has ended that nobody has reaped; None: it has been, or we may not know.

    `exit_code` of proc_pid_stat(5), which is 0 for whoever may not know.
    """
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            word = file.read().rpartition(b")")[2].split()
        os.stat(f"/proc/{pid}/fd/.")  # asks for the same right
    except OSError:
        return None
    return os.waitstatus_to_exitcode(int(word[49])) if word[0] == b"Z" else None


def tag(pid: int) -> str | None:
    """Return the KEEPD_RUN of a process, or None; of one in mid-exec that of its new life."""
    for _ in range(_LOOKS):
        try:
            with open(f"/proc/{pid}/environ", "rb") as file:
                environment = file.read()
        except (*_GONE, OSError):
            return None
        if environment:
            for entry in environment.split(b"\0"):
                name, _, value = entry.partition(b"=")
                if name == TAG.encode():
                    return os.fsdecode(value)
            return None
        seen = stat(pid)
        if seen is None or seen.has_environment or seen.state in "ZX":
            return None
    return None


def outputs(pid: int) -> set[tuple[int, int]]:
    """Return device and inode of what a process has as stdout and stderr."""
    found = set()
    for fd in (1, 2):
        with contextlib.suppress(OSError):
            at = os.stat(f"/proc/{pid}/fd/{fd}")
            found.add((at.st_dev, at.st_ino))
    return found


def has_open(pid: int, at: os.stat_result) -> bool:
    """Return whether a process has a file open, as far as we may see."""
    with contextlib.suppress(OSError):
        for fd in os.listdir(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):  # closed meanwhile
                if os.path.samestat(os.stat(f"/proc/{pid}/fd/{fd}"), at):
                    return True
    return False


def title(pid: int) -> str:
    """Return under what title a process of keepd's is listed; "" for anything else."""
    try:
        words = whole(f"/proc/{pid}/cmdline").partition(b"\0")[0].decode(errors="replace")
    except OSError:
        return ""
    return words.removeprefix("keepd: ") if words.startswith("keepd: ") else ""


def everyone() -> list[int]:
    """Return all pids that we can see but our own."""
    pids = [int(name) for name in os.listdir("/proc") if name.isdecimal()]
    return [pid for pid in pids if pid != os.getpid()]


def belongs(pid: int, marks: Marks) -> bool:
    """Return whether a process carries a mark of a run that nobody gives itself by chance."""
    if tag(pid) == marks.tag and is_here(pid, marks.tag.rsplit(":", 2)[0]):
        return True
    return marks.output is not None and marks.output in outputs(pid)


def is_here(pid: int, folder: str) -> bool:
    """Return whether a path means the same folder to a process as to us; or nothing, in a sandbox.

    A keepd in a container has one of the same name, and its services are seen from outside.
    """
    try:
        return os.path.samestat(
            os.stat(f"/proc/{pid}/root{os.path.realpath(folder)}"), os.stat(folder)
        )
    except OSError:
        return True


def family(roots: Iterable[int]) -> Members:
    """Return these processes and all their descendants, without the dead."""
    found: Members = {}
    waiting = list(roots)
    while waiting:
        pid = waiting.pop()
        seen = stat(pid)
        if pid not in found and seen is not None:
            if seen.state not in "ZX":
                found[pid] = seen.start
            waiting += children(pid)
    return found


def mark(pid: int, pidfd: int) -> str:
    """Return what no other process of this boot has that ever gets the same pid.

    It is the inode of its pidfd, as "i4242", where pidfs gives each process one for good (Linux
    6.9, cb12fd8e0dab "pidfd: add pidfs"); else when it was started, in clock ticks since boot. To
    ask /proc that of a newborn takes a quarter of a millisecond, the inode eight microseconds.
    """
    seen = os.fstat(pidfd)
    if seen.st_dev != _anonymous_device():
        return f"i{seen.st_ino}"
    return str(start_time(pid) or 0)


@cache
def _anonymous_device() -> int:
    """Return the device of descriptors that have no inode of their own, as pidfds had before."""
    fd = os.eventfd(0)
    try:
        return os.fstat(fd).st_dev
    finally:
        os.close(fd)


def hold(pid: int, known: int | str) -> int | None:
    """Return a pidfd of this very process, known by start time or mark; None if it is gone."""
    try:
        fd = open_pidfd(pid)
    except ProcessLookupError:
        return None
    text = str(known)  # compared with the pidfd in hand: it cannot mean an earlier owner of the pid
    if text == (mark(pid, fd) if text.startswith("i") else str(start_time(pid))):
        return fd
    os.close(fd)
    return None


def is_same(pid: int, known: int | str) -> bool:
    """Return whether there is this very process still, dead or alive."""
    fd = hold(pid, known)
    if fd is not None:
        os.close(fd)
    return fd is not None


def is_anothers(pid: int, known: int | str) -> bool:
    """Return whether a number has been given to another process than the one known.

    It cannot be while anybody is left in the session that this one has led.
    """
    return stat(pid) is not None and not is_same(pid, known)


def signal_all(members: Members, signum: int) -> None:
    """Send a signal to each of these very processes; the dead and the forbidden are skipped."""
    for pid, start in members.items():
        fd = hold(pid, start)
        if fd is not None:
            with contextlib.suppress(PermissionError):
                send_signal(fd, signum)
            os.close(fd)


def kill_all(listed: Callable[[], Members]) -> Members:
    """Freeze whom `listed` names until it names nobody new, then KILL them all; return them.

    Without the freeze a process that forks faster than we look would never be caught.
    """
    frozen: Members = {}
    for _ in range(_ROUNDS):
        fresh = {pid: at for pid, at in listed().items() if frozen.get(pid) != at}
        if not fresh:
            break
        signal_all(fresh, signal.SIGSTOP)
        frozen.update(fresh)
    signal_all(frozen, signal.SIGKILL)
    return frozen


def descends(pid: int, leader: int) -> bool:
    """Return whether a process descends from `leader`, is it, or is in the session that it leads.

    A process can give itself an environment, but neither another parent nor another's session.
    """
    for _ in range(_GENERATIONS):
        seen = stat(pid) if pid > 1 else None
        if pid == leader or (seen is not None and seen.session == leader):
            return True
        if seen is None:
            return False
        pid = seen.parent
    return False

"""What a keepd is started with, and the right to be it: the lock of its runtime directory.

The lock decides, and is taken before anything else is touched. The pid in its file is for people
only; nobody is ever signalled, or refused, because of a number that was left in a file.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import signal
import time
import zlib

from supervisor.ipc.pidfd import send_signal
from supervisor.records import record
from supervisor.unix import kin
from supervisor.unix.private import make_private, open_private, write_beside

PATIENCE = 1.0  # seconds that a master without an anchor has to leave by itself
_TRIES = 5.0  # seconds for it to be gone, once it is killed
_GLANCE = 20  # milliseconds


@record(frozen=True)
class Launch:
    """The plan itself is not in here: it is run_dir/applied.json, written before the launch."""

    run_dir: str  # absolute, 0700, ours
    log_dir: str
    project: str
    folder: str  # of the config: where services start that say nothing else
    lock_fd: int  # run_dir/lock, locked: the right to be this daemon, lost with the descriptor
    names: tuple[str, ...] = ()  # patterns of what to start first; empty: everything
    foreground: bool = True  # False: detached; nobody watches a terminal, a hang-up ends nothing
    colour: bool = False  # the terminal shows colours
    given_dir: str | None = None  # run_dir, where it was not the config that named it
    managed: bool = False  # systemd has started us, and starts the next anchor should this one die

    ends: bool = False  # it only ends what a killed one has left, and leaves

    @property
    def watched(self) -> bool:
        """Return whether somebody watches at a terminal, who must not leave services behind."""
        return self.foreground and not self.managed


class Taken(Exception):  # noqa: N818 (it names what is the case)
    """Another keepd has the lock; `pid` is its anchor's, if its file tells one."""

    def __init__(self, pid: int | None) -> None:
        super().__init__(pid)
        self.pid = pid


def claim(run_dir: str) -> int:
    """Return the locked descriptor that makes us the only keepd of this runtime directory.

    The directory is made where it is missing. Raises Taken, having changed nothing, and OSError;
    a PermissionError tells in its strerror why the directory is not ours alone.
    """
    folder = make_private(run_dir)
    try:
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        lock = os.open("lock", flags, 0o600, dir_fd=folder)
    finally:
        os.close(folder)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(lock, 0)  # the number of an earlier one
    except BlockingIOError:
        taken = Taken(_pid(lock))
        os.close(lock)
        raise taken from None
    return lock


def claim_from_dead(run_dir: str) -> int:
    """Return what claim does, also where only what a dead anchor has left holds the lock.

    A master whose anchor has died leaves at once; one that is stopped, or hangs, is killed.
    """
    try:
        return claim(run_dir)
    except Taken as taken:
        path = f"{run_dir}/lock"
        if taken.pid is None or taken.pid in _holders(path):
            raise
        lock = _claimed_within(run_dir, PATIENCE)
        if lock is not None:
            return lock
        holders = _holders(path)
        if _signed(path) in holders:  # the master has become the anchor, and has another
            raise
        for pid in holders:
            seen = kin.stat(pid)
            pidfd = kin.hold(pid, seen.start) if seen else None
            if pidfd is not None:
                if kin.title(pid) == "master":
                    send_signal(pidfd, signal.SIGKILL)
                os.close(pidfd)
        lock = _claimed_within(run_dir, _TRIES)
        if lock is None:
            raise
        return lock


def _claimed_within(run_dir: str, limit: float) -> int | None:
    end = time.monotonic() + limit
    while time.monotonic() < end:
        with contextlib.suppress(Taken):
            return claim(run_dir)
        select.poll().poll(_GLANCE)
    return None


def _holders(path: str) -> set[int]:
    """Return who has a file open, as far as we may see."""
    at = os.stat(path)
    return {pid for pid in kin.everyone() if kin.has_open(pid, at)}


def left(run_dir: str) -> str | None:
    """Return the plan in force of a keepd that was killed; None: it has ended in order."""
    try:
        with open(f"{run_dir}/applied.json", encoding="ascii") as plan:
            return plan.read() if os.path.exists(f"{run_dir}/runs") else None
    except OSError:  # there is none, or it is not ours
        return None


def sign(lock: int) -> None:
    """Write our own pid into the lock's file, for people. A full disk is no reason to fail."""
    with contextlib.suppress(OSError):
        os.pwrite(lock, b"%d\n" % os.getpid(), 0)


def apply(run_dir: str, plan: str) -> None:
    """Make the plan the one in force. Raises OSError; the one before it stays then."""
    folder = open_private(run_dir)
    try:
        write_beside(folder, "applied.json", plan.encode("ascii"))
    finally:
        os.close(folder)
    commit(run_dir)


def prepare(run_dir: str, plan: bytes) -> None:
    """Write a plan beside the one in force, as slowly as the disk likes. Raises OSError."""
    folder = open_private(run_dir)
    try:
        write_beside(folder, "applied.json", plan)
    finally:
        os.close(folder)


def commit(run_dir: str) -> None:
    """Make the plan that was prepared the one in force: one rename. Raises OSError.

    Those before it are kept beside it, for what was born by them and is not replaced yet.
    """
    new, now, before = (f"{run_dir}/applied.{name}" for name in ("json.new", "json", "before.json"))
    with contextlib.suppress(FileNotFoundError):
        if _whole(new) != _whole(now) and _is_noted(run_dir, _whole(now)):
            _keep_earlier(run_dir, before)
            with contextlib.suppress(FileNotFoundError):
                os.unlink(f"{before}.new")
            os.link(now, f"{before}.new")
            os.rename(f"{before}.new", before)
    os.rename(new, now)


def _keep_earlier(run_dir: str, before: str) -> None:
    """Make room for another plan `before`; of those there have been keep what a run is of still."""
    with contextlib.suppress(FileNotFoundError):
        os.rename(before, f"{run_dir}/applied.before.{mark(_whole(before))}.json")
    nobody = not os.path.exists(f"{run_dir}/runs")
    for path in earlier(run_dir):
        if nobody or not _is_noted(run_dir, _whole(path)):
            os.unlink(path)


def earlier(run_dir: str) -> list[str]:
    """Return the paths of the plans before the one in force."""
    names = (name for name in os.listdir(run_dir) if name.startswith("applied.before."))
    return [f"{run_dir}/{name}" for name in names if name.endswith(".json")]


def mark(plan: bytes) -> str:
    """Return what tells one plan from another."""
    return f"{zlib.crc32(plan):08x}"


def _is_noted(run_dir: str, plan: bytes) -> bool:
    """Return whether a run may be of this plan; else who runs is of the one before it still."""
    try:
        return f'"plan":"{mark(plan)}"'.encode() in _whole(f"{run_dir}/runs")
    except FileNotFoundError:
        return True


def _whole(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def discard(run_dir: str) -> None:
    """Forget the plan that was prepared, if there is one."""
    with contextlib.suppress(OSError):
        os.unlink(f"{run_dir}/applied.json.new")


def _signed(path: str) -> int | None:
    lock = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return _pid(lock)
    finally:
        os.close(lock)


def _pid(lock: int) -> int | None:
    text = os.pread(lock, 32, 0).strip()
    return int(text) if text.isdigit() else None

"""What a keepd is started with, and the right to be it: the lock of its runtime directory.

The lock decides, and is taken before anything else is touched. The pid in its file is for people
only; nobody is ever signalled, or refused, because of a number that was left in a file.
"""

from __future__ import annotations

import contextlib
import fcntl
import os

from supervisor.records import record
from supervisor.unix.private import make_private, open_private, write_beside


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

    The one before it is kept beside it, for what was born by it and is not replaced yet.
    """
    new, now, before = (f"{run_dir}/applied.{name}" for name in ("json.new", "json", "before.json"))
    with contextlib.suppress(FileNotFoundError):
        if _whole(new) != _whole(now):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(f"{before}.new")
            os.link(now, f"{before}.new")
            os.rename(f"{before}.new", before)
    os.rename(new, now)


def _whole(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def discard(run_dir: str) -> None:
    """Forget the plan that was prepared, if there is one."""
    with contextlib.suppress(OSError):
        os.unlink(f"{run_dir}/applied.json.new")


def _pid(lock: int) -> int | None:
    text = os.pread(lock, 32, 0).strip()
    return int(text) if text.isdigit() else None

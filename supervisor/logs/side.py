"""The FIFO for the records of a run: beside that of what it prints, and only where it is wanted.

As that one it is opened for both directions and by whoever of keepd lives, so that it never ends.
"""

from __future__ import annotations

import contextlib
import os

from supervisor.records import record
from supervisor.unix.private import make_folders, make_passable, passable_beside

_FLAGS = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW


@record(frozen=True)
class Side:
    """One such FIFO, open."""

    path: str
    fd: int

    def remove(self) -> None:
        """Close it, and remove it with what is in it."""
        os.close(self.fd)
        with contextlib.suppress(OSError):  # a name that is left does no harm
            os.unlink(self.path)


def _paths(run_dir: str, id_: str, run: int) -> tuple[str, str]:
    """Return its path for our own user and, where others may pass, for another one."""
    name = f"{id_.replace('/', '+')}.{run}.records"
    return f"{run_dir}/fifo/{id_}.{run}.records", f"{passable_beside(run_dir)}/{name}"


def made(run_dir: str, id_: str, run: int, uid: int | None) -> Side:
    """Return the one of a run, made if need be, for us or for the user with this uid; OSError."""
    near, far = _paths(run_dir, id_, run)
    if uid is None or uid == os.geteuid():
        make_folders(os.path.dirname(near), 0o700)
        return Side(near, open_fifo(near, os.O_NONBLOCK))
    make_passable(os.path.dirname(far))
    side = Side(far, open_fifo(far, os.O_NONBLOCK))
    os.fchown(side.fd, uid, -1)
    return side


def found(run_dir: str, id_: str, run: int) -> Side | None:
    """Return the one that an earlier keepd has made for a run, if there is one."""
    for path in _paths(run_dir, id_, run):
        with contextlib.suppress(OSError):
            return Side(path, os.open(path, _FLAGS | os.O_NONBLOCK))
    return None


def open_fifo(path: str, flags: int = 0) -> int:
    """Return a FIFO's descriptor; one that is there already is taken over with what is in it."""
    with contextlib.suppress(FileExistsError):
        os.mkfifo(path, 0o600)
    return os.open(path, _FLAGS | flags)

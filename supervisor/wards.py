"""What the anchor looks after while masters come and go: their services, and whether they turn."""

from __future__ import annotations

import os
import signal
import socket
import time

from supervisor.ipc.pidfd import code_of
from supervisor.offspring import Offspring
from supervisor.unix import kin, process, rights

HUNG = 20.0  # seconds without a turn of the master's loop
AGAIN = 5.0  # seconds from one such look to the next, which decides


class Wards:
    """Children of the anchor that an earlier master has left: services, and what they started.

    The dead stay zombies until a master says that they may go: so their end is never forgotten,
    and nobody else gets their number.
    """

    def __init__(self, children: Offspring) -> None:
        self._children = children
        self._told: set[int] = set()  # the dead that the master there is knows of
        self._master: socket.socket | None = None  # whom they were told

    def tell(self) -> None:
        """Tell the master who of them has ended, and how."""
        if _dead(os.P_ALL, 0) is None:
            return
        ours, sock = self._children.pids(), self._children.master.sock
        if sock is not self._master:
            self._master = sock
            self._told.clear()
        for pid in process.children():
            if pid in ours or pid in self._told:
                continue
            end = _dead(os.P_PID, pid)
            if end is None:
                continue
            if pid in self._children.foreign:
                os.waitpid(pid, os.WNOHANG)
                self._children.foreign -= {pid}  # who gets the number may be a service
            elif sock is not None and rights.send(sock, f"exit {pid} {end}"):
                self._told.add(pid)

    def kill(self) -> None:
        """End them all, and what they have started: nobody else is left who could."""
        others = self._children.foreign | self._children.pids()
        kin.kill_all(lambda: kin.family(p for p in process.children() if p not in others))

    def let_go(self, pid: int) -> None:
        """Forget one, as a master says."""
        self._told.discard(pid)
        if pid not in self._children.pids():
            try:
                os.waitpid(pid, os.WNOHANG)
            except ChildProcessError:  # not ours, or told twice
                return


class Watch:
    """Whether the master's loop turns. One that hangs is killed: the next goes on where it was."""

    def __init__(self, children: Offspring) -> None:
        self._children = children
        self._of = (0, 0.0)  # pid and latest turn of the master, when they last changed
        self._since = 0.0  # when that was
        self._warned = 0.0  # when it was found too long ago first

    def look(self) -> None:
        """Look once."""
        now, turned = time.monotonic(), self._children.beat.latest()
        pid = self._children.master.pid
        self._children.been_up = self._children.been_up or turned > 0
        if (pid, turned) != self._of:
            self._of, self._since, self._warned = (pid, turned), now, 0.0
        elif pid and now - self._since > HUNG:
            if not self._warned:  # it may be that we stood still ourselves
                self._warned = now
            elif now - self._warned > AGAIN:
                os.kill(pid, signal.SIGKILL)


def _dead(kind: int, number: int) -> int | None:
    """Return how a child has ended, which stays a zombie; None: it lives, or there is none."""
    try:
        info = os.waitid(kind, number, os.WEXITED | os.WNOWAIT | os.WNOHANG)
    except ChildProcessError:
        return None
    if info is None:
        return None
    return code_of(info)

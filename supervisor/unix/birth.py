"""One birth by a zygote, seen from the master: asked for, told of, given up, never waited for."""

from __future__ import annotations

import array
import enum
import marshal
import os
import select
import socket
import time
from collections.abc import Callable, Mapping
from typing import Any

from . import process, zygote
from .poller import Poller
from .words import step_words

_FLAGS = socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL


class Stage(enum.Enum):
    """How far a birth has come."""

    ASKED = "asked"  # no pid is known
    BORN = "born"  # there is a process, and it is our child; it prepares itself
    ALIVE = "alive"  # it has executed its program, or is about to call its function
    FAILED = "failed"  # `error` says why; a process that was born is about to end


class Birth:
    """One birth: `told` is called at each new stage."""

    def __init__(
        self,
        poller: Poller,
        order: Mapping[str, Any],
        told: Callable[[], None],
        group: int = -1,
    ) -> None:
        """Prepare it; ValueError for an order that cannot be sent. `group` becomes the birth's."""
        body = marshal.dumps(dict(order), zygote.FORMAT)
        self._order = memoryview(len(body).to_bytes(zygote.HEADER, "big") + body)
        self._name = order["argv"][0] if "argv" in order else order["call"]
        self._cwd = order["cwd"]
        self._poller = poller
        self._told = told
        self._heard = b""
        self._exec = False
        self._group = group
        self._sock, self._its = socket.socketpair()
        self.stage = Stage.ASKED
        self.pid = 0
        self.pidfd = -1  # belongs to whoever is told BORN
        self.error = ""
        self.since = time.monotonic()
        poller.watch(self._sock.fileno(), self._ready)

    def send_to(self, zygote_sock: socket.socket, out: int) -> None:
        """Hand the newborn's end of our socket, its output and its group to a zygote."""
        rights = array.array("i", [fd for fd in (self._its.fileno(), out, self._group) if fd >= 0])
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)]
        zygote_sock.sendmsg([b"birth"], ancillary, _FLAGS)
        self._let_go()

    def _let_go(self) -> None:
        """Close what is the newborn's."""
        self._its.close()
        group, self._group = self._group, -1
        if group >= 0:
            os.close(group)

    def give_up(self) -> None:
        """Hear no more; a newborn without its order ends by itself."""
        self._poller.forget(self._sock.fileno())
        self._sock.close()
        self._let_go()

    def fail(self, words: str) -> None:
        """End the birth."""
        if self.stage in {Stage.ASKED, Stage.BORN}:
            self.error = words
            self._reached(Stage.FAILED)

    def _reached(self, stage: Stage) -> None:
        self.stage = stage
        if stage in {Stage.ALIVE, Stage.FAILED}:
            self.give_up()
        self._told()

    def _ready(self, mask: int) -> None:
        if mask & select.EPOLLOUT:
            self._send()
        if not mask & ~select.EPOLLOUT:
            return
        try:
            data = self._sock.recv(65_536, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        *lines, self._heard = (self._heard + data).split(b"\n")
        for line in lines:
            if self.stage in {Stage.ASKED, Stage.BORN}:
                self._hear(line)
        if data:
            return
        if self.stage is Stage.ASKED:  # its zygote has died, whose own end says more
            self._poller.forget(self._sock.fileno())
        elif self.stage is Stage.BORN:
            self._ended()

    def _hear(self, line: bytes) -> None:
        word, _, rest = line.partition(b" ")
        if word == b"pid":
            self.pid = int(rest)
        elif word == b"born" and self.pid:
            self._born()
        elif word == b"exec":
            self._exec = True
        elif word == b"alive":
            self._reached(Stage.ALIVE)
        elif word == b"failed":
            step, number, text = rest.decode("utf-8", "replace").split(" ", 2)
            self.fail(step_words(step, int(number), text, self._name, self._cwd))
        elif word == b"error":
            self.fail(rest.decode("utf-8", "replace"))

    def _born(self) -> None:
        try:
            fd = process.pidfd_open(self.pid)
        except OSError as error:
            self.fail(f"the newborn cannot be held: {error.strerror}")
            return
        try:
            os.waitid(os.P_PIDFD, fd, os.WEXITED | os.WNOWAIT | os.WNOHANG)
        except ChildProcessError:  # somebody else's, who has got the number of one that has gone
            os.close(fd)
            self.fail("killed before its birth was over")
            return
        self.pidfd = fd
        self._reached(Stage.BORN)
        if self.stage is Stage.BORN:
            self._send()

    def _send(self) -> None:
        try:
            while self._order:
                self._order = self._order[self._sock.send(self._order, _FLAGS) :]
            self._poller.change(self._sock.fileno(), select.EPOLLIN)
        except BlockingIOError:
            self._poller.change(self._sock.fileno(), select.EPOLLIN | select.EPOLLOUT)
        except OSError:  # it has gone; the end of file that follows says so
            self._poller.change(self._sock.fileno(), select.EPOLLIN)

    def settle(self) -> None:
        """Come to a result now: the newborn has ended, and whatever it said can be read."""
        if self.stage is Stage.BORN:
            self._ready(select.EPOLLIN)
        if self.stage is Stage.BORN:
            self._ended()

    def _ended(self) -> None:
        """Take the end of the newborn's socket: closed by its exec, or by its death."""
        if self._exec:
            self._reached(Stage.ALIVE)
        else:
            self.fail("killed before its program was executed")

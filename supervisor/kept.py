"""Descriptors that must outlive the process which works with them: kept by name in the anchor.

A FIFO forgets what is in it when its last opener goes, and a notify socket what was sent to it: who
keeps them open keeps their contents. A name is a word for the kind and the run that it is of:
"fifo web/0.7". Under systemd they are kept by the service manager as well, which outlives us all
(FileDescriptorStoreMax= in sd_pid_notify_with_fds(3)); but for the control socket: ExecStopPost=
and ExecReload= call it, and systemd starts nobody who could answer before they have ended.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable

from supervisor.unix import notify, rights
from supervisor.unix.poller import Poller

_AT_ONCE = rights.MOST


class Kept:
    """The anchor's side: what it keeps, by name."""

    def __init__(self) -> None:
        self.manager = notify.Manager()
        self._fds = notify.stored()  # what systemd has kept for us

    def take(self, names: list[str], fds: list[int]) -> None:
        """Keep descriptors that are ours from now on; a name that is known gets another."""
        for name, fd in zip(names, fds, strict=False):
            before = self._fds.get(name)
            if before is not None and os.path.sameopenfile(before, fd):  # by another master
                os.close(fd)
                continue
            self.drop([name])
            self._fds[name] = fd
            if not name.startswith("socket "):  # a call that nobody will take must be refused
                self.manager.store(name, fd)

    def drop(self, names: list[str]) -> None:
        """Keep these no longer."""
        for name in names:
            fd = self._fds.pop(name, None)
            if fd is not None:
                self.manager.unstore(name)
                os.close(fd)

    def named(self, *kinds: str) -> dict[str, int]:
        """Return all of some kinds, by their whole names."""
        return {name: fd for name, fd in self._fds.items() if name.partition(" ")[0] in kinds}

    def all(self) -> dict[str, int]:
        """Return everything that is kept."""
        return dict(self._fds)

    def restore(self, fds: dict[str, int]) -> None:
        """Go on keeping what whoever was the anchor before has kept."""
        self._fds.update(fds)


class Keeping:
    """The master's side: what is to be kept is told in as few packets as can be."""

    def __init__(self, poller: Poller, anchor: socket.socket) -> None:
        self._poller = poller
        self._anchor = anchor
        self._new: dict[str, int] = {}  # not told yet; descriptors stay their owner's
        self._old: dict[str, None] = {}
        self._waiting = False
        self._kept: set[str] = set()

    def keep(self, name: str, fd: int) -> None:
        """Have a descriptor kept, which must stay open until it is dropped."""
        self._new[name] = fd
        self._old.pop(name, None)
        self._kept.add(name)
        self._soon()

    def drop(self, name: str) -> None:
        """Have it kept no longer."""
        self._new.pop(name, None)
        self._old[name] = None
        self._kept.discard(name)
        self._soon()

    def only(self, names: Iterable[str]) -> None:
        """Drop what of all these we have not kept: earlier masters have, of runs that are over."""
        for name in names:
            if name not in self._kept:
                self.drop(name)

    def flush(self) -> None:
        """Tell the anchor; what it has no room for now is told with the next."""
        self._waiting = False
        while self._old:
            names = list(self._old)[: _AT_ONCE * 4]
            if not rights.send(self._anchor, "\n".join(["drop", *names])):
                return
            for name in names:
                del self._old[name]
        while self._new:
            names = list(self._new)[:_AT_ONCE]
            fds = [self._new[name] for name in names]
            if not rights.send(self._anchor, "\n".join(["keep", *names]), *fds):
                return
            for name in names:
                del self._new[name]

    def _soon(self) -> None:
        if not self._waiting:
            self._waiting = True
            self._poller.later(self.flush)

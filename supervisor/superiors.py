"""Who commands a master: the anchor that has forked it, signals, and systemd behind them."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Mapping
from typing import Protocol

from supervisor.control.server import Server
from supervisor.core.events import Input, ShutdownWanted
from supervisor.core.service import State
from supervisor.core.supervisor import Supervisor
from supervisor.launch import Launch
from supervisor.logs.relay import LogRelay
from supervisor.processes import Processes
from supervisor.records import record
from supervisor.reloads import Asked, Reloads
from supervisor.unix import process, rights, signals
from supervisor.unix.beat import Beat
from supervisor.unix.poller import Poller
from supervisor.upgrades import Upgrades

HURRIED = 1.0  # seconds that a second Ctrl-C leaves to everyone
_AT_ONCE = 1000  # numbers in a packet


@record(frozen=True)
class Anchored:
    """What the anchor hands to a master."""

    fd: int  # a SOCK_SEQPACKET to the anchor; its end is the anchor's end
    pid: int
    nofile: int  # the soft descriptor limit that services get
    foreign: frozenset[int]  # children that whoever became the anchor by exec had already
    beat: Beat  # what we and the anchor know of each other
    born: float  # when the anchor was (monotonic seconds)
    first: bool  # nobody was master here before, since the launch
    kept: Mapping[str, int]  # what earlier masters had kept, by name
    names: frozenset[str]  # of all that is kept, also of what is not handed over

    def sockets(self) -> dict[int, int]:
        """Return where earlier masters listened: descriptors by the inodes of their names."""
        kept = ((*name.partition(" "), fd) for name, fd in self.kept.items())
        return {int(at): fd for kind, _, at, fd in kept if kind == "socket" and at.isdecimal()}

    def orphans(self) -> list[int]:
        """Return the children of the anchor that an earlier master has left behind."""
        if os.getppid() != self.pid:  # it is dead, and its number may be somebody else's
            return []
        others = {os.getpid(), *self.foreign, *self.beat.helpers()}
        return [pid for pid in process.children(self.pid) if pid not in others]


class Promoted(Exception):  # noqa: N818 (it names what is the case)
    """The anchor is gone, and we are to be it; `kept` is what it has kept."""

    def __init__(self, kept: dict[str, int]) -> None:
        super().__init__(kept)
        self.kept = kept


class Master(Protocol):
    """Who hears what the superiors want."""

    launch: Launch
    code: int | None
    stopping: bool
    supervisor: Supervisor
    processes: Processes
    reloads: Reloads
    upgrades: Upgrades
    relay: LogRelay
    server: Server

    def handle(self, event: Input) -> None:
        """Tell the core."""

    def say(self, text: str) -> None:
        """Tell it to keepd's own log."""


class Superiors:
    """Signals, the anchor's words, and what is told to systemd by way of the anchor."""

    def __init__(self, poller: Poller, anchored: Anchored, master: Master) -> None:
        self._poller = poller
        self._master = master
        self.managed = master.launch.managed
        self.promoted = False  # the anchor is gone, and we are to be it
        self.changed = True  # a state, since systemd was told of them
        self._told = ""
        self._interrupts = 0
        self._stopping_told = False
        self._untold: dict[str, str] = {}  # for systemd, by what it is about
        self._free: list[int] = []  # whom the anchor may reap, and has not been told of
        heard = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR2, signal.SIGCHLD)
        self._signals = signals.SignalPipe(heard)
        signals.let_through()  # what came since our birth is heard as well
        poller.watch(self._signals.fileno(), self._hear_signals)
        self.anchor = socket.socket(fileno=anchored.fd)
        self.anchor.setblocking(False)
        poller.watch(anchored.fd, self._hear_anchor)

    def notify(self, text: str) -> None:
        """Tell it to the anchor, mostly for systemd; of two of a kind, the later."""
        kind = text.partition("=")[0]
        self._untold.pop(kind, None)
        self._untold[kind] = text
        self._tell()

    def let_go(self, pid: int) -> None:
        """Let the anchor reap a child; it is told at the end of this turn."""
        self._free.append(pid)

    def become_new(self) -> None:
        """Let the anchor take over to the code that is installed now: it ends us."""
        self.notify("upgrade")

    def ask_for_writer(self) -> None:
        """Have the anchor connect us with the log writer: what it sent may have got lost."""
        rights.send(self.anchor, "writer")

    def _tell(self) -> None:
        for kind, text in list(self._untold.items()):
            if not rights.send(self.anchor, text):
                return  # there is no room: in a later turn
            del self._untold[kind]

    def look(self) -> None:
        """Tell systemd how many are ready, if that has changed; and again what must not be lost."""
        while self._free:  # one that it is not told of would stay a zombie
            some, rest = self._free[:_AT_ONCE], self._free[_AT_ONCE:]
            if not rights.send(self.anchor, "\n".join(["reap", *map(str, some)])):
                break
            self._free = rest
        self._tell()
        if self._master.stopping and not self._stopping_told:
            self._stopping_told = True
            self.notify("STOPPING=1")
        if not (self.changed and self.managed):
            return
        services = self._master.supervisor.services.values()
        wanted = [service for service in services if service.wanted]
        ready = sum(service.state in {State.RUNNING, State.EXITED} for service in wanted)
        self.changed, text = False, f"STATUS={ready} of {len(wanted)} ready"
        if text != self._told:
            self._told = text
            self.notify(text)

    def _hear_signals(self, _mask: int) -> None:
        for number in self._signals.take():
            match number:
                case signal.SIGCHLD:
                    self._master.processes.deaths.child_died()
                case signal.SIGHUP:
                    self._master.reloads.ask(Asked())
                case signal.SIGUSR2:
                    self._master.upgrades.ask(None)
                case _:
                    self._interrupt()

    def _interrupt(self) -> None:
        """Stop in order; hurry at the second asking, kill at the third."""
        self._interrupts += 1
        patience = {1: None, 2: HURRIED}.get(self._interrupts, 0.0)
        self._master.handle(ShutdownWanted(patience))

    def _hear_anchor(self, _mask: int) -> None:
        text, fds = rights.receive(self.anchor)
        if text is None:
            return
        if not text:
            self._poller.forget(self.anchor.fileno())
            self._lose_anchor()
            return
        word, *numbers = text.split()
        if word == "exit":
            self._master.processes.deaths.exited(*map(int, numbers))
        for fd in fds:  # the other end of a new log writer's socket
            self._master.relay.attach(socket.socket(fileno=fd))

    def _lose_anchor(self) -> None:
        """Stop what somebody watched; else leave it as it is, for an anchor that takes over."""
        if self._master.launch.watched:
            self._master.say("the anchor is gone: stopping everything")
            self._master.handle(ShutdownWanted(HURRIED))
            return
        self._poller.forget(self._master.server.fileno())  # who calls now is for the next
        self._master.code = process.CRASHED
        self.promoted = not self.managed  # else systemd starts another

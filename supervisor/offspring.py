"""The anchor's helpers: log writer, master and the terminal's follower, forked from its own image.

Each is forked with nothing but the descriptors that it is given. Master and writer speak with each
other over a socket pair; the anchor hands one end of a new pair to each of them whenever one of the
two is new, so that either may die without the other noticing more than that.
"""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Callable, Collection, Mapping
from functools import partial

from supervisor import bereaved
from supervisor.kept import Kept
from supervisor.launch import Launch
from supervisor.logs import terminal, writer
from supervisor.master import run_master
from supervisor.rebirth import State
from supervisor.records import field, record, replace
from supervisor.superiors import Anchored, Promoted
from supervisor.unix import process, rights
from supervisor.unix.beat import Beat
from supervisor.unix.notify import Untold

PAUSE = 0.05  # seconds at least from one start of a helper to the next
REST = 0.2  # the same from the crash of a helper on, doubled with each up to some six
GOOD_LIFE = 60.0  # seconds after which earlier crashes are forgotten
RETRY = 1.0  # seconds until one that could not be forked is tried again
SWEEP = 10.0  # seconds between two looks at our children, whatever SIGCHLD has told
DYING = 0.1  # the same, when the master has closed its socket


@record()
class Helper:
    """A process of keepd that the anchor starts again."""

    pid: int = 0
    due: float = 0.0  # not before this it is started (again)
    crashes: int = 0  # in a row, by exceptions and faults of its own
    sock: socket.socket | None = None  # our end of its SOCK_SEQPACKET; None once it is closed

    def close(self) -> None:
        """Let go of the socket."""
        sock, self.sock = self.sock, None
        if sock is not None:
            sock.close()

    def ended(self, code: int) -> None:
        """Hear how it has ended: who crashes again and again is started after a longer pause."""
        self.close()
        now = time.monotonic()
        if code not in process.CRASHES or now - self.due > GOOD_LIFE:
            self.crashes = 0
        self.crashes += code in process.CRASHES
        self.due = max(self.due, now + REST * (2 ** min(self.crashes, 5) - 1))


@record()
class Offspring:
    """The three, and what they are forked with."""

    launch: Launch
    nofile: int  # the soft descriptor limit that services get
    foreign: frozenset[int]  # children that whoever became us by exec had already
    kept: Kept
    succeed: Callable[[State, Promoted], int]  # be the anchor in a master's place
    beat: Beat = field(default_factory=Beat)  # of the master's loop
    born: float = field(default_factory=time.monotonic)
    master: Helper = field(default_factory=Helper)
    writer: Helper = field(default_factory=Helper)
    follower: Helper = field(default_factory=Helper)
    been_up: bool = False  # a master has come as far as its loop
    unheard: set[int] = field(default_factory=set)  # signals for the next master

    @classmethod
    def of(cls, left: State, succeed: Callable[[State, Promoted], int]) -> Offspring:
        """Return what an anchor has that takes the place of another."""
        kept = Kept()
        kept.restore(dict(left.kept))
        kept.manager.resume(left.untold)
        found = cls(left.launch, left.nofile, left.foreign, kept, succeed, born=left.born)
        found.been_up = True  # one of them has begun with what the launch names
        if left.stopping:
            found.beat.stop()
        return found

    def everyone(self) -> list[Helper]:
        """Return all that are to live."""
        followers = [self.follower] if self.launch.foreground else []
        return [self.writer, self.master, *followers]

    def pids(self) -> set[int]:
        """Return the pids of those that have not been reaped."""
        return {one.pid for one in (self.writer, self.master, self.follower) if one.pid}

    def begin(self) -> None:
        """Fork all of them; OSError."""
        if self.launch.foreground:
            self.fork_follower(terminal.marks(self.launch.log_dir))
        self.fork_writer()
        self.fork_master()

    def missing(self) -> list[Helper]:
        """Return those that are to live, and do not."""
        return [helper for helper in self.everyone() if not helper.pid]

    def pause(self) -> float:
        """Return the seconds until the next look, should nothing tell of anything before."""
        dying = self.master.pid and self.master.sock is None
        due = [helper.due - time.monotonic() for helper in self.missing()]
        return min([DYING if dying else SWEEP, self.kept.manager.pause(), *due])

    def revive(self) -> None:
        """Start again who has died; one that dies young only after a pause."""
        now = time.monotonic()
        for helper in self.missing():
            if now < helper.due:
                continue
            try:
                if helper is self.writer:
                    self.fork_writer()
                elif helper is self.master:
                    self.fork_master()
                else:
                    self.fork_follower()
            except OSError:  # no process or descriptor to be had: tried again
                helper.due = now + RETRY
        self.command()  # it does not listen yet, and hears it then

    def command(self, *numbers: int) -> None:
        """Send signals to the master; where there is none, to the next one."""
        self.unheard.update(numbers)
        while self.master.pid and self.unheard:  # unreaped: the number is still its own
            os.kill(self.master.pid, self.unheard.pop())

    def end(self) -> None:
        """Kill those that live, and hear of it."""
        for helper in self.everyone():
            if helper.pid:
                os.kill(helper.pid, signal.SIGKILL)
                os.waitpid(helper.pid, 0)
                helper.pid = 0

    def fork_master(self) -> None:
        """Fork a master, and let the writer know it."""
        ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        given = self.kept.named("notify", "pidfd", "socket")
        anchored = Anchored(
            fd=its.fileno(),
            pid=os.getpid(),
            nofile=self.nofile,
            foreign=self.foreign,
            beat=self.beat,
            born=self.born,
            first=not self.been_up,
            kept=given,
            names=frozenset(self.kept.all()),
        )
        launch = self.launch
        self.beat.reset()
        self.master.close()
        # The lock: no other keepd begins before its end.
        keep = [its.fileno(), launch.lock_fd, *given.values()]
        self._fork(self.master, "master", lambda: self._master(anchored), keep, deaf=True)
        its.close()
        self.master.sock = ours
        ours.setblocking(False)
        if self.writer.pid:
            self.introduce()

    def _master(self, anchored: Anchored) -> int:
        """Be the master, and if need be the anchor after it."""
        try:
            return run_master(self.launch, anchored)
        except Promoted as promoted:
            left = self.state(promoted.kept)
            return self.succeed(replace(left, foreign=frozenset()), promoted)  # those were its own

    def state(self, kept: Mapping[str, int], untold: Untold = ()) -> State:
        """Return what another anchor after us needs."""
        stopping = self.beat.stopping()
        return State(self.launch, self.nofile, self.born, self.foreign, kept, stopping, untold)

    def fork_writer(self) -> None:
        """Fork a log writer, and let the master know it."""
        launch, run_dir = self.launch, self.launch.run_dir
        ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)

        last = partial(bereaved.end_all, run_dir) if launch.watched else None
        self.writer.close()
        self._fork(
            self.writer,
            "log writer",
            lambda: writer.main(its.fileno(), run_dir, launch.log_dir, last),
            [its.fileno()],
        )
        its.close()
        self.writer.sock = ours
        if self.master.pid:
            self.introduce()

    def fork_follower(self, since: terminal.Marks | None = None) -> None:
        """Fork the process that shows the logs on the terminal."""
        launch, ours = self.launch, os.getpid()

        def follow() -> int:
            process.end_with(ours)
            return terminal.main(launch.log_dir, 1, launch.colour, since)

        self._fork(self.follower, "terminal", follow)

    def introduce(self) -> None:
        """Give master and writer the two ends of a new connection."""
        masters, writers = socket.socketpair()
        with masters, writers:
            if self.writer.sock is not None and self.master.sock is not None:
                rights.send(self.writer.sock, f"master {self.master.pid}", writers.fileno())
                rights.send(self.master.sock, f"writer {self.writer.pid}", masters.fileno())

    def _fork(
        self,
        helper: Helper,
        title: str,
        main: Callable[[], int],
        keep: Collection[int] = (),
        *,
        deaf: bool = False,
    ) -> None:
        helper.due = time.monotonic() + PAUSE
        helper.pid = process.fork(title, main, keep, deaf=deaf)
        self.beat.show(self.pids())

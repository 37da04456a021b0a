"""The main pid, and the one that has no reason to die: it holds the place, waits, forwards signals.

It forks the log writer, the master and the terminal's follower from its own image, starts again
whichever of them is killed, and ends with the master's exit code. It parses nothing that users
write, allocates nothing by input size, and decides nothing about services. When the master is
killed, the next one first clears away what that one left, so that nothing ever runs twice.
"""

from __future__ import annotations

import gc
import os
import select
import signal
import socket
import time
from collections.abc import Callable, Collection

from supervisor.launch import Launch
from supervisor.logs import terminal, writer
from supervisor.master import Anchored, run_master
from supervisor.records import field, record
from supervisor.unix import kin, limits, notify, process, rights, signals

PAUSE = 0.2  # seconds before a helper that dies young is started again; more for one that crashes
HOPELESS = 3  # crashes of the master in a row, none of which came as far as its loop
SWEEP = 10.0  # seconds between two looks at our children, whatever SIGCHLD has told
DYING = 0.1  # the same, when the master has closed its socket
PATIENCE = 5.0  # seconds that writer and follower have to finish when the master has left


@record()
class Helper:
    """A process of keepd that the anchor starts again."""

    pid: int = 0
    due: float = 0.0  # not before this it is started (again)
    crashes: int = 0  # in a row, by its own exceptions


@record()
class Anchor:
    """What the anchor knows: three pids and two sockets."""

    launch: Launch
    nofile: int  # the soft descriptor limit that children get back
    wake: signals.SignalPipe
    foreign: frozenset[int]  # children that whoever became us by exec had already
    hangs_up: bool = False  # SIGHUP means that the terminal is gone, and with it who watched it
    master: Helper = field(default_factory=Helper)
    writer: Helper = field(default_factory=Helper)
    follower: Helper = field(default_factory=Helper)
    to_master: socket.socket | None = None
    stopping: bool = False
    code: int | None = None  # the master's, once it has left in order


def run(launch: Launch) -> int:
    """Be the anchor until keepd is to end; return its exit code."""
    process.become("anchor")
    signals.reset()
    process.subreaper()
    wake = signals.SignalPipe()
    wake.listens([signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD])
    anchor = Anchor(launch, limits.raise_nofile(), wake, frozenset(process.children()))
    anchor.hangs_up = launch.foreground and process.has_terminal()
    gc.collect()
    gc.freeze()  # what is forked from here on shares these pages for good
    gc.enable()
    if launch.foreground:
        _fork_follower(anchor, terminal.marks(launch.log_dir))
    _fork_both(anchor)
    while anchor.code is None:
        _turn(anchor)
    _finish(anchor)
    return anchor.code


def _turn(anchor: Anchor) -> None:
    poll = select.poll()
    poll.register(anchor.wake, select.POLLIN)
    if anchor.to_master is not None:
        poll.register(anchor.to_master, select.POLLIN)
    poll.poll(_pause(anchor))
    _hear(anchor)
    for number in anchor.wake.take():
        if number != signal.SIGCHLD:
            _forward(anchor, number)
    _reap(anchor)
    if anchor.code is None:
        try:
            _revive(anchor)
        except OSError:  # no process or descriptor to be had: tried again
            for helper in _missing(anchor):
                helper.due = time.monotonic() + 1


def _missing(anchor: Anchor) -> list[Helper]:
    """Return who is to be started next: a writer only for a master that lives."""
    first = anchor.writer if anchor.master.pid else anchor.master
    more = [anchor.follower] if anchor.launch.foreground else []
    return [helper for helper in (first, *more) if not helper.pid]


def _pause(anchor: Anchor) -> float:
    """Return the milliseconds until the next look, should no signal tell of anything before."""
    limit = DYING if anchor.master.pid and anchor.to_master is None else SWEEP
    due = [helper.due - time.monotonic() for helper in _missing(anchor)]
    return max(0.0, min([limit, *due])) * 1000 + 1


def _revive(anchor: Anchor) -> None:
    """Start again who has died; one that dies young only after a pause."""
    now = time.monotonic()
    if not anchor.master.pid and anchor.writer.pid:  # never two writers: it drains, and leaves
        if now >= anchor.master.due:
            os.kill(anchor.writer.pid, signal.SIGKILL)
            anchor.master.due = now + PATIENCE
    elif not anchor.master.pid:  # a writer by itself would find no master, and leave
        if now >= anchor.master.due:
            _fork_both(anchor)
    elif not anchor.writer.pid and now >= anchor.writer.due:
        _fork_writer(anchor)
    if anchor.launch.foreground and not anchor.follower.pid and now >= anchor.follower.due:
        _fork_follower(anchor)


def _fork(helper: Helper, title: str, main: Callable[[], int], keep: Collection[int] = ()) -> None:
    helper.due = time.monotonic() + PAUSE / 4
    helper.pid = process.fork(title, main, keep)


def _fork_both(anchor: Anchor) -> None:
    ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    if anchor.to_master is not None:
        anchor.to_master.close()
    anchor.to_master = ours
    ours.setblocking(False)
    _fork_writer(anchor)  # its socket waits in ours for the master
    known = anchor.foreign | {anchor.writer.pid, anchor.follower.pid}
    anchored = Anchored(its.fileno(), os.getpid(), anchor.nofile, anchor.stopping, known)
    launch = anchor.launch
    keep = [its.fileno(), launch.lock_fd]  # the lock: no other keepd begins before its end
    _fork(anchor.master, "master", lambda: run_master(launch, anchored), keep)
    its.close()


def _fork_writer(anchor: Anchor) -> None:
    """Fork a log writer, and hand the other end of its socket to the master."""
    launch = anchor.launch
    masters, its = socket.socketpair()
    _fork(
        anchor.writer,
        "log writer",
        lambda: writer.main(its.fileno(), launch.run_dir, launch.log_dir),
        [its.fileno()],
    )
    if anchor.to_master is not None:
        rights.send(anchor.to_master, f"writer {anchor.writer.pid}", masters.fileno())
    masters.close()
    its.close()


def _fork_follower(anchor: Anchor, since: terminal.Marks | None = None) -> None:
    launch, ours = anchor.launch, os.getpid()

    def follow() -> int:
        process.end_with(ours)
        return terminal.main(launch.log_dir, 1, launch.colour, since)

    _fork(anchor.follower, "terminal", follow)


def _hear(anchor: Anchor) -> None:
    """Pass on to systemd what the master has to say: only the main pid may (NotifyAccess=main)."""
    while anchor.to_master is not None:
        text, _ = rights.receive(anchor.to_master)
        if text is None:
            return
        if text:
            anchor.stopping = anchor.stopping or text == "STOPPING=1"
            notify.sd_notify(text)
        else:  # it is dying: SIGCHLD follows
            anchor.to_master.close()
            anchor.to_master = None


def _forward(anchor: Anchor, number: int) -> None:
    if number == signal.SIGHUP and anchor.hangs_up:
        number = signal.SIGTERM  # nobody is left who could stop us
    if number != signal.SIGHUP:
        anchor.stopping = True
    if anchor.master.pid:
        os.kill(anchor.master.pid, number)  # our own child, unreaped: the number is still its own


def _reap(anchor: Anchor) -> None:
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        for helper in (anchor.master, anchor.writer, anchor.follower):
            if helper.pid == pid:
                _bury(anchor, helper, os.waitstatus_to_exitcode(status))


def _bury(anchor: Anchor, helper: Helper, code: int) -> None:
    now = time.monotonic()
    helper.pid = 0
    helper.crashes = helper.crashes + 1 if code == process.CRASHED else 0
    helper.due = max(helper.due, now + PAUSE * (2 ** min(helper.crashes, 5) - 1))
    if helper is anchor.master and code >= 0 and code != process.CRASHED:
        anchor.code = code
    elif anchor.master.crashes >= HOPELESS or (anchor.master.crashes and anchor.stopping):
        anchor.code = 1  # it cannot even begin; why has been printed
    elif not anchor.master.pid:  # the next master waits for the writer, but not for ever
        anchor.master.due = now + (PATIENCE if anchor.writer.pid else PAUSE)


def _finish(anchor: Anchor) -> None:
    """Let the writer and then the follower end in order, each within a limit."""
    if anchor.master.crashes:  # nobody else is left to end what masters have left
        kin.kill_all(lambda: kin.family(_orphans(anchor)))
    _await(anchor, anchor.writer, PATIENCE)
    if anchor.follower.pid:
        os.kill(anchor.follower.pid, signal.SIGTERM)
        _await(anchor, anchor.follower, PATIENCE / 2)


def _orphans(anchor: Anchor) -> list[int]:
    known = anchor.foreign | {anchor.writer.pid, anchor.follower.pid}
    return [pid for pid in process.children() if pid not in known]


def _await(anchor: Anchor, helper: Helper, limit: float) -> None:
    end = time.monotonic() + limit
    while helper.pid:
        left = end - time.monotonic()
        if left <= 0:
            os.kill(helper.pid, signal.SIGKILL)
            end += limit
        poll = select.poll()
        poll.register(anchor.wake, select.POLLIN)
        poll.poll(max(left, 0.0) * 1000)
        anchor.wake.take()
        _reap(anchor)

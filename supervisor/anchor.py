"""The main pid, and the one that has no reason to die: it holds the place, waits, forwards signals.

It forks the log writer, the master and the terminal's follower from its own image, starts again
whichever of them is killed, and ends with the master's exit code. Services lose their parent with
a master and become ours: how they end is told to the next master, and they stay zombies until that
has noted it. It parses nothing that users write, and decides nothing about services.
"""

from __future__ import annotations

import contextlib
import gc
import os
import select
import signal
import sys
import time

from supervisor import rebirth
from supervisor.kept import Kept
from supervisor.launch import Launch
from supervisor.logs import terminal
from supervisor.offspring import Helper, Offspring
from supervisor.records import record
from supervisor.superiors import Promoted
from supervisor.unix import kin, limits, process, rights, signals
from supervisor.wards import Wards, Watch

_HEARD = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR2)
PAUSE = 0.2  # seconds before a helper that crashes is started again, doubled up to some six
HOPELESS = 3  # crashes of the master in a row, when none has ever come as far as its loop
SWEEP = 10.0  # seconds between two looks at our children, whatever SIGCHLD has told
DYING = 0.1  # the same, when the master has closed its socket
MOST_ASHES = 32  # masters that have become the anchor one after the other, in one image
PATIENCE = 5.0  # seconds that writer and follower have to finish when the master has left

_ashes: list[Promoted] = []


@record()
class Anchor:
    """What the anchor knows."""

    children: Offspring
    wake: signals.SignalPipe
    hangs_up: bool  # SIGHUP means that the terminal is gone, and with it who watched it
    wards: Wards
    watch: Watch
    stopping: bool = False
    code: int | None = None  # the master's, once it has left in order


def run(launch: Launch, given: Offspring | None = None, *, stopping: bool = False) -> int:
    """Be the anchor until keepd is to end; return its exit code."""
    process.become("anchor")
    process.subreaper()
    with signals.held_back():  # what has come since an exec is for the handlers
        signals.reset(mask=False)
        wake = signals.SignalPipe()
        wake.listens([*_HEARD, signal.SIGCHLD])
    signals.let_through()
    children = given or Offspring(
        launch, limits.raise_nofile(), frozenset(process.children()), Kept(), _succeed
    )
    hangs_up = launch.foreground and process.has_terminal()
    anchor = Anchor(children, wake, hangs_up, Wards(children), Watch(children))
    anchor.stopping = launch.ends or stopping
    anchor.watch.been_up = given is not None  # one of them has begun with what the launch names
    gc.collect()
    gc.freeze()  # what is forked from here on shares these pages for good
    gc.enable()
    try:
        if launch.foreground:
            children.fork_follower(terminal.marks(launch.log_dir))
        children.fork_writer()
        children.fork_master(stopping=anchor.stopping, first=not anchor.watch.been_up)
    except OSError:  # services run: who is missing is tried again
        if given is None:
            raise
    while anchor.code is None:
        _turn(anchor)
    _finish(anchor)
    return anchor.code


def resume() -> None:
    """Be the anchor of a keepd that was there before, in a new image (see rebirth.py)."""
    left = rebirth.state()
    sys.exit(run(left.launch, _children_of(left), stopping=left.stopping))


def _children_of(left: rebirth.State) -> Offspring:
    kept = Kept()
    kept.restore(dict(left.kept))
    return Offspring(left.launch, left.nofile, left.foreign, kept, _succeed, born=left.born)


def _succeed(left: rebirth.State, promoted: Promoted) -> int:
    """Be the anchor in the place of one that has died, in the image that it had itself.

    What a master has in memory stays there, unused; so after some such deaths another image begins.
    """
    _ashes.append(promoted)  # collected, its objects would close what has their numbers by then
    if len(_ashes) > MOST_ASHES:
        with contextlib.suppress(OSError):  # then in this image all the same
            rebirth.become_anchor(left)
    gc.collect()
    gc.freeze()
    with signals.held_back():  # until there is somebody who hears them
        signals.reset(mask=False)  # else they would be written to whatever has the pipe's number
        rebirth.let_go(left)
        return run(left.launch, _children_of(left), stopping=left.stopping)


def _turn(anchor: Anchor) -> None:
    poll = select.poll()
    poll.register(anchor.wake, select.POLLIN)
    master = anchor.children.master
    if master.sock is not None:
        poll.register(master.sock, select.POLLIN)
    poll.poll(_pause(anchor))
    anchor.children.kept.manager.flush()
    _hear(anchor)
    for number in anchor.wake.take():
        if number != signal.SIGCHLD:
            _forward(anchor, number)
    _reap(anchor)
    with contextlib.suppress(OSError):  # no descriptor to be had: tried again
        anchor.wards.tell()
    anchor.watch.look()
    if anchor.code is None:
        try:
            _revive(anchor)
        except OSError:  # no process or descriptor to be had: tried again
            for helper in _missing(anchor):
                helper.due = time.monotonic() + 1


def _missing(anchor: Anchor) -> list[Helper]:
    return [helper for helper in anchor.children.everyone() if not helper.pid]


def _pause(anchor: Anchor) -> float:
    """Return the milliseconds until the next look, should no signal tell of anything before."""
    dying = anchor.children.master.pid and anchor.children.master.sock is None
    due = [helper.due - time.monotonic() for helper in _missing(anchor)]
    due.append(anchor.children.kept.manager.pause())
    return max(0.0, min([DYING if dying else SWEEP, *due])) * 1000 + 1


def _revive(anchor: Anchor) -> None:
    """Start again who has died; one that dies young only after a pause."""
    now, children = time.monotonic(), anchor.children
    for helper in _missing(anchor):
        if now < helper.due:
            continue
        if helper is children.writer:
            children.fork_writer()
        elif helper is children.master:
            anchor.wards.told.clear()
            children.fork_master(stopping=anchor.stopping, first=not anchor.watch.been_up)
        else:
            children.fork_follower()


def _hear(anchor: Anchor) -> None:
    """Do what the master asks for; what is for systemd only the main pid may say."""
    master = anchor.children.master
    while master.sock is not None:
        text, fds = rights.receive(master.sock)
        if text is None:
            return
        word, *names = text.split("\n")
        if not text:  # it is dying: SIGCHLD follows
            master.close()
        elif word == "keep":
            anchor.children.kept.take(names, fds)
        elif word == "drop":
            anchor.children.kept.drop(names)
        elif word == "upgrade":
            _upgrade(anchor)
        elif word == "writer":
            with contextlib.suppress(OSError):  # it asks again
                anchor.children.introduce()
        elif word == "reap":
            for pid in names:
                anchor.wards.let_go(int(pid))
        else:
            anchor.stopping = anchor.stopping or text == "STOPPING=1"
            anchor.children.kept.manager.tell(text.partition("=")[0], text)


def _upgrade(anchor: Anchor) -> None:
    """Be the code that is installed now, which has been tried; who is killed for it is safe."""
    children = anchor.children
    for helper in children.everyone():
        if helper.pid:
            os.kill(helper.pid, signal.SIGKILL)
            os.waitpid(helper.pid, 0)
            helper.pid = 0
    _hear(anchor)  # what else it wanted: nobody but us may have the FIFO of a newborn open now
    for helper in children.everyone():
        helper.close()
    try:
        left = children.state(children.kept.all(), stopping=anchor.stopping)
        rebirth.become_anchor(left)
    except OSError:  # then we are what we were, and start them again
        return


def _forward(anchor: Anchor, number: int) -> None:
    if number == signal.SIGHUP and anchor.hangs_up:
        number = signal.SIGTERM  # nobody is left who could stop us
    if number not in {signal.SIGHUP, signal.SIGUSR2}:
        anchor.stopping = True
    if anchor.children.master.pid:
        # Our own child, unreaped: the number is still its own.
        os.kill(anchor.children.master.pid, number)


def _reap(anchor: Anchor) -> None:
    for helper in anchor.children.everyone():
        if helper.pid:
            pid, status = os.waitpid(helper.pid, os.WNOHANG)
            if pid:
                helper.pid = 0  # reaped: the number may be somebody else's
                _hear(anchor)  # its last words
                _bury(anchor, helper, os.waitstatus_to_exitcode(status))


def _bury(anchor: Anchor, helper: Helper, code: int) -> None:
    now = time.monotonic()
    helper.pid = 0
    helper.close()
    helper.crashes = helper.crashes + 1 if code == process.CRASHED else 0
    helper.due = max(helper.due, now + PAUSE * (2 ** min(helper.crashes, 5) - 1))
    if helper is not anchor.children.master:
        return
    if code >= 0 and code != process.CRASHED:
        anchor.code = code
    elif helper.crashes >= HOPELESS and (anchor.stopping or not anchor.watch.been_up):
        anchor.code = 1  # it cannot even begin, or end; why has been printed


def _finish(anchor: Anchor) -> None:
    """Let the writer and then the follower end in order, each within a limit."""
    children = anchor.children
    if children.master.crashes and anchor.stopping:  # nobody else is left to end the services
        known = children.foreign | children.pids()
        kin.kill_all(lambda: kin.family(p for p in process.children() if p not in known))
    children.writer.close()
    _await(anchor, children.writer, PATIENCE)
    if children.follower.pid:
        os.kill(children.follower.pid, signal.SIGTERM)
        _await(anchor, children.follower, PATIENCE / 2)


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

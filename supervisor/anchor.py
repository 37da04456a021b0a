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
from supervisor.offspring import Helper, Offspring
from supervisor.records import record
from supervisor.superiors import Promoted
from supervisor.unix import limits, process, rights, signals
from supervisor.wards import Wards, Watch

_HEARD = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR2)
HOPELESS = 3  # crashes of the master in a row, when none has ever come as far as its loop
PATIENCE = 5.0  # seconds that writer and follower have to finish when the master has left


@record()
class Anchor:
    """What the anchor knows."""

    children: Offspring
    wake: signals.SignalPipe
    hangs_up: bool  # SIGHUP means that the terminal is gone, and with it who watched it
    wards: Wards
    watch: Watch
    code: int | None = None  # the master's, once it has left in order


def run(launch: Launch, left: rebirth.State | None = None) -> int:
    """Be the anchor, in the place of another if it has left something; return keepd's exit code."""
    process.become("anchor")
    process.subreaper()
    with signals.held_back():  # what has come since an exec is for the handlers
        signals.reset(mask=False)
        wake = signals.SignalPipe([*_HEARD, signal.SIGCHLD])
    signals.let_through()
    if left is not None:
        children = Offspring.of(left, _succeed)
    else:
        foreign = frozenset(process.children())
        children = Offspring(launch, limits.raise_nofile(), foreign, Kept(), _succeed)
    hangs_up = launch.foreground and process.has_terminal()
    anchor = Anchor(children, wake, hangs_up, Wards(children), Watch(children))
    if launch.ends:
        children.beat.stop()
    gc.collect()
    gc.freeze()  # what is forked from here on shares these pages for good
    gc.enable()
    try:
        children.begin()
    except OSError:  # services run: who is missing is tried again
        if left is None:
            raise
    while anchor.code is None:
        _turn(anchor)
    _finish(anchor)
    return anchor.code


def resume() -> None:
    """Be the anchor of a keepd that was there before, in a new image (see rebirth.py)."""
    left = rebirth.state()
    sys.exit(run(left.launch, left))


def _succeed(left: rebirth.State, promoted: Promoted) -> int:
    return rebirth.in_place(left, promoted, lambda: run(left.launch, left))


def _turn(anchor: Anchor) -> None:
    _wait(anchor, anchor.children.pause())
    anchor.children.kept.manager.flush()
    _hear(anchor)
    came = anchor.wake.take()
    _reap(anchor)  # who is dead hears nothing any more
    for number in came:
        if number != signal.SIGCHLD:
            _forward(anchor, number)
    with contextlib.suppress(OSError):  # no descriptor to be had: tried again
        anchor.wards.tell()
    anchor.watch.look()
    if anchor.code is None:
        anchor.children.revive()


def _wait(anchor: Anchor, seconds: float) -> None:
    poll = select.poll()
    poll.register(anchor.wake, select.POLLIN)
    if anchor.children.master.sock is not None:
        poll.register(anchor.children.master.sock, select.POLLIN)
    poll.poll(max(0.0, seconds) * 1000 + 1)


def _hear(anchor: Anchor) -> None:
    """Do what the master asks for; what is for systemd only the main pid may say."""
    children = anchor.children
    while children.master.sock is not None:
        text, fds = rights.receive(children.master.sock)
        if text is None:
            return
        word, *names = text.split("\n")
        if not text:  # it is dying: SIGCHLD follows
            children.master.close()
        elif word == "keep":
            children.kept.take(names, fds)
        elif word == "drop":
            children.kept.drop(names)
        elif word == "upgrade":
            _upgrade(anchor)
        elif word == "writer":
            with contextlib.suppress(OSError):  # it asks again
                children.introduce()
        elif word == "reap":
            for pid in names:
                anchor.wards.let_go(int(pid))
        else:
            children.kept.manager.tell(text.partition("=")[0], text)


def _upgrade(anchor: Anchor) -> None:
    """Be the code that is installed now, which has been tried; who is killed for it is safe."""
    children, kept = anchor.children, anchor.children.kept
    with signals.held_back():  # what waits is there after an exec, what we have heard is not
        for number in anchor.wake.take():
            os.kill(os.getpid(), number)
        children.end()
        _hear(anchor)  # what else it wanted: nobody but us may have the FIFO of a newborn open now
        with contextlib.suppress(OSError):  # then we are what we were, and start them again
            rebirth.become_anchor(children.state(kept.all(), kept.manager.untold()))


def _forward(anchor: Anchor, number: int) -> None:
    if number == signal.SIGHUP and anchor.hangs_up:
        number = signal.SIGTERM  # nobody is left who could stop us
    if number not in {signal.SIGHUP, signal.SIGUSR2}:
        anchor.children.beat.stop()
    anchor.children.command(number)


def _reap(anchor: Anchor) -> None:
    for helper in anchor.children.everyone():
        if helper.pid:
            pid, status = os.waitpid(helper.pid, os.WNOHANG)
            if pid:
                helper.pid = 0  # reaped: the number may be somebody else's
                _hear(anchor)  # its last words
                _bury(anchor, helper, os.waitstatus_to_exitcode(status))


def _bury(anchor: Anchor, helper: Helper, code: int) -> None:
    children = anchor.children
    helper.ended(code)
    if helper is not children.master:
        return
    if code >= 0 and code not in process.CRASHES:
        anchor.code = code
    elif helper.crashes >= HOPELESS and (children.beat.stopping() or not children.been_up):
        anchor.code = 1  # it cannot even begin, or end; why has been printed


def _finish(anchor: Anchor) -> None:
    """Let the writer and then the follower end in order, each within a limit."""
    children = anchor.children
    if children.master.crashes and children.beat.stopping():  # nobody else is left to end them
        anchor.wards.kill()
    children.writer.close()
    _await(anchor, children.writer, PATIENCE)
    if children.follower.pid:
        os.kill(children.follower.pid, signal.SIGTERM)
        _await(anchor, children.follower, PATIENCE / 2)


def _await(anchor: Anchor, helper: Helper, limit: float) -> None:
    end = time.monotonic() + limit
    while helper.pid:
        if time.monotonic() >= end:
            os.kill(helper.pid, signal.SIGKILL)
            end += limit
        _wait(anchor, end - time.monotonic())
        anchor.wake.take()
        _reap(anchor)

"""Another list while services run: read it elsewhere, compare, and only then switch.

The config is read in a process of its own, which also writes the new plan beside the one in force.
Whatever is wrong with it changes nothing and is told. What remains to be done here is quick: a
comparison, one rename, and an event for the core. Nothing here blocks.
"""

from __future__ import annotations

import collections
import functools
import os
import signal
from collections.abc import Callable, Mapping
from typing import Protocol

from supervisor import launch as launches
from supervisor import planned
from supervisor.config import plan as plans
from supervisor.config import reader
from supervisor.config.faults import Fault, as_json, lines
from supervisor.config.places import Overrides
from supervisor.control.server import Reply
from supervisor.core.supervisor import Supervisor
from supervisor.ipc import pidfd as pidfds
from supervisor.launch import Launch
from supervisor.records import record
from supervisor.unix import process
from supervisor.unix.poller import Poller

LIMIT = reader.Limits().seconds + 2.0  # for the whole of a reading
MOST_WAITING = 16
QUIET = 0.1  # seconds that a file must not have changed for: an editor may still be writing
_CHUNK = 1 << 18


@record(frozen=True)
class Asked:
    """One wish to read the config again."""

    reply: Reply | None = None  # None: by a signal
    variables: Mapping[str, str] | None = None  # what ${VAR} means; None: as for ourselves
    dry: bool = False  # only tell what it would change
    yes: bool = False  # also if most services go


@record()
class Reading:
    """A reader at work."""

    asked: Asked
    pid: int
    pidfd: int
    out: int  # what it says
    deadline: float
    said: bytes = b""
    code: int | None = None  # once it has ended
    over: bool = False  # it has said all


class Owner(Protocol):
    """What the master lends: its state, and what only it can do."""

    launch: Launch
    plan: plans.Plan
    supervisor: Supervisor

    def now(self) -> float:
        """Return the monotonic time."""

    def say(self, text: str) -> None:
        """Tell it to keepd's own log."""

    def switch(self, plan: plans.Plan) -> None:
        """Have this plan from now on."""

    def notify(self, text: str) -> None:
        """Tell it to our own manager."""


class Reloads:
    """All wishes for a reload, one after the other."""

    def __init__(self, poller: Poller, owner: Owner) -> None:
        self._poller = poller
        self._owner = owner
        self._waiting: collections.deque[Asked] = collections.deque()
        self._reading: Reading | None = None
        self._dying: dict[int, int] = {}  # readers that are not waited for any more: pidfd, pid

    def pids(self) -> set[int]:
        """Return our own children, which nobody else may reap."""
        reading = self._reading
        return {*self._dying.values(), *([reading.pid] if reading and reading.code is None else [])}

    def ask(self, asked: Asked) -> None:
        """Reload as soon as those that have asked before are served."""
        if asked.reply is None and any(other.reply is None for other in self._waiting):
            return  # that one has not been begun: it will see what there is to see
        if len(self._waiting) >= MOST_WAITING:
            self._refuse(asked, "busy", "cannot reload: too many wait for that already")
            return
        self._waiting.append(asked)
        self._next()

    def next_deadline(self) -> float | None:
        """Return when the patience with a reader ends."""
        return self._reading.deadline if self._reading else None

    def look(self) -> None:
        """Give up a reader that takes too long, or for which nobody waits any more."""
        reading = self._reading
        if reading is None:
            return
        gone = reading.asked.reply is not None and reading.asked.reply.closed
        if gone or self._owner.now() >= reading.deadline:
            self._end()
            config = self._owner.plan.config
            if gone:
                self._owner.say("reload given up: who had asked for it is gone")
                self._done(reading.asked)
            else:
                self._refuse_faults(reading.asked, reader.late(config))

    def close(self) -> None:
        """Read nothing any more."""
        self._waiting.clear()
        if self._reading is not None:
            self._end()
        for pidfd in self._dying:
            self._poller.forget(pidfd)
            os.close(pidfd)
        self._dying.clear()

    def _next(self) -> None:
        while self._reading is None and self._waiting:
            asked = self._waiting.popleft()
            if asked.reply is not None and asked.reply.closed:
                continue
            if self._owner.supervisor.shutdown:
                self._refuse(asked, "stopping", "cannot reload: keepd is stopping")
                continue
            if not asked.dry:
                usec = int(self._owner.now() * 1e6)
                self._owner.notify(f"RELOADING=1\nMONOTONIC_USEC={usec}")
            try:
                self._begin(asked)
            except OSError as error:
                why = error.strerror or str(error)
                self._refuse(
                    asked, "failed", f"cannot reload: no process to read the config: {why}"
                )

    def _begin(self, asked: Asked) -> None:
        launch, deadline = self._owner.launch, self._owner.now() + LIMIT
        overrides = Overrides(launch.given_dir, variables=asked.variables, quiet=QUIET)
        keep = None if asked.dry else functools.partial(launches.prepare, launch.run_dir)
        ours, theirs = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            os.set_blocking(theirs, True)
            config = self._owner.plan.config
            live = functools.partial(_live, os.getpid(), theirs, config, overrides, keep)
            pid = process.fork("reader", live, keep=(theirs,))
            pidfd = process.pidfd_open(pid)
        except OSError:
            os.close(ours)
            raise
        finally:
            os.close(theirs)
        self._reading = Reading(asked, pid, pidfd, ours, deadline)
        self._poller.watch(ours, self._hear)
        self._poller.watch(pidfd, self._ended)

    def _hear(self, _mask: int) -> None:
        reading = self._reading
        if reading is None:
            return
        chunk = os.read(reading.out, _CHUNK)
        reading.said += chunk
        if not chunk:
            self._poller.forget(reading.out)
            reading.over = True
            self._judge_if_over(reading)

    def _ended(self, _mask: int) -> None:
        reading = self._reading
        if reading is not None:
            self._poller.forget(reading.pidfd)
            reading.code = _reap(reading.pidfd)
            self._judge_if_over(reading)

    def _judge_if_over(self, reading: Reading) -> None:
        if reading.over and reading.code is not None:
            self._end()
            self._judge(reading.asked, reading.said, reading.code)

    def _end(self) -> None:
        """Let go of the reader; one that lives is killed, and reaped when it has gone."""
        reading, self._reading = self._reading, None
        assert reading is not None
        self._poller.forget(reading.out)
        os.close(reading.out)
        if reading.code is not None:
            os.close(reading.pidfd)
            return
        pidfd = reading.pidfd
        process.send_signal(pidfd, signal.SIGKILL)
        self._dying[pidfd] = reading.pid
        self._poller.watch(pidfd, lambda _mask: self._bury(pidfd))

    def _bury(self, pidfd: int) -> None:
        self._poller.forget(pidfd)
        del self._dying[pidfd]
        _reap(pidfd)
        os.close(pidfd)

    def _judge(self, asked: Asked, said: bytes, code: int) -> None:
        owner, answer = self._owner, reader.understood(self._owner.plan.config, said, code)
        if isinstance(answer, tuple):
            self._refuse_faults(asked, answer)
            return
        try:
            plan = plans.decode(answer)
        except ValueError as error:
            self._refuse(asked, "failed", f"cannot reload: the reader answers with {error}")
            return
        outline = planned.outline(owner.supervisor.services, owner.plan, plan)
        if outline.moved:
            self._refuse(asked, "bad-config", f"cannot reload: {outline.moved}", faults=[])
        elif owner.supervisor.shutdown:
            self._refuse(asked, "stopping", "cannot reload: keepd is stopping")
        elif asked.dry:
            self._answer(asked, outline)
        elif outline.most_go and not asked.yes:
            text = f"cannot reload: {outline.most_go}; `keepd reload --yes` if that is meant"
            self._refuse(asked, "needs-yes", text, **outline.as_json(dry=False))
        else:
            self._switch(asked, plan, outline)

    def _switch(self, asked: Asked, plan: plans.Plan, outline: planned.Outline) -> None:
        owner = self._owner
        try:
            launches.commit(owner.launch.run_dir)  # first: whoever comes after us reads that
        except OSError as error:
            text = f"cannot reload: the plan cannot be written: {error.strerror or error}"
            self._refuse(asked, "failed", text)
            return
        for line in outline.log_lines():
            owner.say(line)
        owner.switch(plan)
        self._answer(asked, outline)

    def _answer(self, asked: Asked, outline: planned.Outline) -> None:
        if asked.reply is not None:
            asked.reply.result(outline.as_json(dry=asked.dry))
        self._done(asked)

    def _refuse_faults(self, asked: Asked, faults: tuple[Fault, ...]) -> None:
        count = "1 fault" if len(faults) == 1 else f"{len(faults)} faults"
        config = self._owner.plan.config
        if not asked.dry:
            self._owner.say(f"cannot reload {config}: {count}; nothing has changed")
            for line in lines(faults)[: planned.MOST_LINES]:
                self._owner.say(line)
        if asked.reply is not None:
            asked.reply.error("bad-config", f"cannot use {config}: {count}", faults=as_json(faults))
        self._done(asked)

    def _refuse(self, asked: Asked, kind: str, text: str, **data: object) -> None:
        if not asked.dry:
            self._owner.say(f"{text}; nothing has changed")
        if asked.reply is not None:
            asked.reply.error(kind, text, **data)
        self._done(asked)

    def _done(self, asked: Asked) -> None:
        if not asked.dry:
            launches.discard(self._owner.launch.run_dir)
            self._owner.notify("READY=1")
        self._poller.later(self._next)


def _live(
    parent: int,
    out: int,
    config: str,
    overrides: Overrides,
    keep: Callable[[bytes], None] | None,
) -> int:
    """Be the reader, not longer than whoever wants to know."""
    process.end_with(parent)
    return reader.serve(out, config, overrides, keep)


def _reap(pidfd: int) -> int:
    end = pidfds.reap(pidfd)
    return (end and end.code) or 0  # somebody else has it: what it has said is whole or not

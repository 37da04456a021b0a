"""How runs end: asked, killed, found dead; and never said to be over while anything of one is left.

Of each run exactly one last word is told, SpawnFailed or Gone, and only when no process of it is
left; until then its leader stays unreaped, so that nobody else can get its number, and what its end
was stands in the run file before that is given up.
"""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Callable
from typing import TYPE_CHECKING

from supervisor.core.events import Exited, Gone, Report, SpawnFailed
from supervisor.inherited import Bystanders
from supervisor.ipc import pidfd as pidfds
from supervisor.ipc.pidfd import Exit
from supervisor.runs import Book, Run, Streams
from supervisor.sweeps import Sweeper
from supervisor.ties import Ties
from supervisor.unix import kin, signals
from supervisor.unix.poller import Poller

if TYPE_CHECKING:
    from supervisor.births import Births

_CANCELLED = "stopped before its birth was over"


class Deaths:
    """The ends of all runs that are not over."""

    def __init__(
        self, poller: Poller, book: Book, ties: Ties, births: Births, streams: Streams
    ) -> None:
        self._poller = poller
        self._book = book
        self._ties = ties
        self._births = births
        self._streams = streams
        self.report: Callable[[str, Report], None] = lambda _id, _report: None
        self.look_into: Callable[[Run], None] = lambda _run: None  # one that is in doubt
        self.need = ""  # what could not be done, in words; the next sweep tries again
        self.spared: Callable[[], set[int]] = set  # children that others have, and reap
        self.sweeper = Sweeper(
            book.by_pid, lambda: births.helpers() | self.spared(), ties.inherited.orphans
        )
        self._bystanders = Bystanders(poller, self.settle_soon)
        self._ended: dict[str, Run] = {}  # the leader is dead, the run not over yet
        self._settling = False
        self._reaping = False

    def close(self) -> None:
        """Look after nobody any more; what still runs is left alone."""
        self.sweeper.close()
        self._bystanders.close()
        for run in self._book.by_id.values():
            self._release(run)

    def watch(self, run: Run, events: int = select.EPOLLIN) -> None:
        """Hear of the death of a run's leader."""
        self._poller.watch(run.pidfd, lambda _mask: self.died(run), events)

    def terminate(self, run: Run) -> None:
        """Ask a run to end, as its spec says."""
        run.ending = True
        if run.doubt:
            self.look_into(run)
        elif not run.spawned:
            self.fail(run, _CANCELLED)
        elif run.exit is not None:
            self.sweeper.terminate(run)
        elif not run.asked:  # by an earlier master: a second time may mean something else
            pidfds.send_signal(run.pidfd, signals.number(run.spec.stop.signal))
            pidfds.send_signal(run.pidfd, signal.SIGCONT)
            run.asked = True
            self._ties.file.trace(run.id, run.trace())

    def kill(self, run: Run) -> None:
        """KILL to all of a run."""
        run.killing = True
        if run.doubt:
            self.look_into(run)
        if run.doubt:
            return
        if not run.spawned and run.failure is None:
            self.fail(run, _CANCELLED)
        else:
            self.child_died()
            self.guarded(self.sweeper.kill, run)

    def fail(self, run: Run, words: str) -> None:
        """End a birth; the report comes when no process of it is left."""
        run.failure = run.failure or words
        self._births.give_up(run)
        if run.pid:
            self.kill(run)
        else:
            self._over(run)

    def died(self, run: Run) -> None:
        """Hear that a leader has ended."""
        if run.pidfd >= 0:
            self._poller.forget(run.pidfd)
        self._ended[run.id] = run
        self.settle_soon()

    def exited(self, pid: int, code: int) -> None:
        """Hear from the anchor how a child of it has ended."""
        run = self._book.by_pid.get(pid)
        if run is None and self._is_in_doubt(pid):  # it is looked for again, and its end asked
            self._ties.inherited.heard(pid, code)
            return
        if run is None or not run.inherited:
            self._ties.inherited.let_go(pid)
            self.settle_soon()
            return
        self._ties.inherited.heard(pid, code)
        self.died(run)

    def _is_in_doubt(self, pid: int) -> bool:
        inherited = self._ties.inherited
        run = self._book.by_id.get(inherited.led_by(pid))
        return run is not None and run.doubt and inherited.trace(run.id, run.number).pid == pid

    def child_died(self) -> None:
        """Hear SIGCHLD: reap strangers, go on with sweeps."""
        self._reaping = True
        self.settle_soon()

    def settle_soon(self) -> None:
        """Look at all that has died, when the batch of news is over."""
        if not self._settling:
            self._settling = True
            self._poller.later(self._settle)

    def sweep(self) -> None:
        """Compare what we believe with what is: one poll() over all pidfds."""
        self.need = ""
        alive = {run.pidfd: run for run in self._book.by_pid.values() if run.exit is None}
        poll = select.poll()
        for fd in alive:
            poll.register(fd, select.POLLIN)
        for fd, _ in poll.poll(0):
            run = alive[fd]
            if run.inherited and self._ties.inherited.give_up(run):
                run.exit = Exit(kin.zombie_code(run.pid))  # its parent does not ask how, or tell
            self.died(run)
        for run in [run for run in self._book.by_id.values() if run.doubt]:
            self.guarded(self.look_into, run)
        self.child_died()

    def guarded(self, act: Callable[[Run], None], run: Run) -> None:
        """Do something with a run; what cannot be done now is tried again with the next sweep."""
        try:
            act(run)
        except OSError as error:  # no descriptors left, say
            self.need = f"cannot look after {run.id}: {error.strerror or error}"

    def _settle(self) -> None:
        """Look once at all that has died since: told, swept, reaped."""
        self._settling = False
        self.sweeper.look_anew()
        for run in list(self._ended.values()):
            self.guarded(self._settle_one, run)
        # Only after a SIGCHLD: with many children it takes a while, and somebody is to be born now.
        # And an unknown child may be a newborn that has not been told of yet.
        if self._reaping and not self._births.expecting():
            self._reaping = False
            self.sweeper.reap()

    def _settle_one(self, run: Run) -> None:
        if run.exit is None:
            run.exit = self._ties.inherited.exit(run) if run.inherited else pidfds.peek(run.pidfd)
            if run.exit is None:
                self._go_on_watching(run)
                return
            if run.birth is not None:
                run.birth.settle()
        if not self.sweeper.left(run):
            self._over(run)
            return
        if run.inherited:  # no SIGCHLD will tell us of their end
            self._bystanders.watch(self.sweeper.members(run))
        if run.killing or run.failure is not None:
            self.sweeper.kill(run)
        elif not run.told:
            run.told = True
            self.report(run.id, Exited(run.number, run.exit.code))

    def _go_on_watching(self, run: Run) -> None:
        """Hear of a leader again, which lives; or is dead, and its parent has not told how."""
        del self._ended[run.id]
        dead = run.inherited and pidfds.wait(run.pidfd, 0)
        if dead:
            self._ties.inherited.wait_for(run)
        self.watch(run, 0 if dead else select.EPOLLIN)  # 0: when it is reaped

    def _over(self, run: Run) -> None:
        """Say the last word of a run."""
        code = run.exit.code if run.exit is not None else None
        self._ties.file.trace(run.id, run.trace(over=True))
        if run.inherited:
            self._ties.inherited.over(run)
        elif run.pidfd >= 0:
            pidfds.reap(run.pidfd)
        self._release(run)
        self._births.forget(run)
        self._book.forget(run)
        self._ended.pop(run.id, None)
        self._streams.end(run.id, run.number)
        if run.failure is not None:
            self.report(run.id, SpawnFailed(run.number, run.failure))
        else:
            self.report(run.id, Gone(run.number, code))

    def _release(self, run: Run) -> None:
        if run.birth is not None:
            run.birth.give_up()
        fd, run.pidfd = run.pidfd, -1  # first: a second time it would be somebody else's number
        if fd >= 0:
            self._poller.forget(fd)
            os.close(fd)
        ear, run.ear = run.ear, None
        if ear is not None:
            self._poller.forget(ear.fileno())
            ear.close()

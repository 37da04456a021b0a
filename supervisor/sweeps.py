"""What is left of a run, and its end: nothing of it may outlive it, whoever its parent is by now.

With a cgroup the kernel knows. Without one we do: everything that lost its parent below us became
our child (we are a subreaper), and session, tag and FIFO say whose it is. Nobody is ended here who
was not found to belong to a run.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from supervisor.ipc import pidfd as pidfds
from supervisor.unix import kin, process

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

    from supervisor.runs import Run


class Sweeper:
    """Looks for what belongs to runs; `runs` are those that are not over, by their leader's pid."""

    def __init__(
        self,
        runs: Mapping[int, Run],
        helpers: Callable[[], AbstractSet[int]],
        orphans: Callable[[], list[int]],
    ) -> None:
        """`orphans` are children of the anchor that no master has left behind on purpose."""
        self._runs = runs
        self._helpers = helpers
        self._orphans = orphans
        self._strangers: list[tuple[int, Run | None]] | None = None
        # Held for good: a look at our children is never more needed than when descriptors run out.
        self._children = os.open("/proc/thread-self/children", os.O_RDONLY | os.O_CLOEXEC)

    def close(self) -> None:
        """Look no more."""
        os.close(self._children)

    def look_anew(self) -> None:
        """Forget what the last look at our children showed."""
        self._strangers = None

    def strangers(self) -> list[tuple[int, Run | None]]:
        """Return our living children that lead no run, each with the run that it belongs to."""
        if self._strangers is None:
            unknown = self._unknown()
            self._strangers = self._attribute(unknown) if unknown else []
        return self._strangers

    def _unknown(self) -> list[int]:
        """Return children of ours and of the anchor that nobody knows.

        As many children as are known: they are those.
        """
        helpers, orphans = self._helpers(), self._orphans()
        listed = process.reread(self._children)  # we have one thread
        ours = sum(not run.inherited for run in self._runs.values())  # the others are no children
        if not orphans and listed.count(b" ") == ours + len(helpers):
            return []
        children = [*map(int, listed.split()), *orphans]
        return [pid for pid in children if pid not in self._runs and pid not in helpers]

    def _attribute(self, pids: list[int]) -> list[tuple[int, Run | None]]:
        tags = {run.marks.tag: run for run in self._runs.values()}
        outputs = {run.marks.output: run for run in self._runs.values() if run.marks.output}
        found: list[tuple[int, Run | None]] = []
        for pid in pids:
            seen = kin.stat(pid)
            if seen is None or seen.state in "ZX":
                continue
            run = self._runs.get(seen.session) or tags.get(kin.tag(pid) or "")
            if run is None:
                run = next((outputs[at] for at in kin.outputs(pid) if at in outputs), None)
            found.append((pid, run))
        return found

    def left(self, run: Run) -> bool:
        """Return whether anything of a run lives beside its leader, which has ended."""
        if run.group is not None:
            return run.group.populated()
        return bool(self._others(run))

    def _others(self, run: Run) -> list[int]:
        """Return what is left of a run beside its leader and the descendants of these."""
        found = [pid for pid, owner in self.strangers() if owner is run]
        # Asked anew each time: an anchor that has just died has left its children to somebody else.
        if run.inherited and run.pid not in self._orphans():
            session = None if kin.is_anothers(run.pid, run.mark) else run.pid
            others = (pid for pid in kin.everyone() if pid != run.pid)
            found += [pid for pid in others if _belongs(pid, run, session)]
        return found

    def members(self, run: Run) -> kin.Members:
        """Return all that is left of a run, its leader among it."""
        if run.group is not None:
            seen = {pid: kin.stat(pid) for pid in run.group.everybody()}
            return {pid: at.start for pid, at in seen.items() if at is not None}
        roots = self._others(run)
        if run.exit is None and run.pidfd >= 0 and not pidfds.wait(run.pidfd, 0):
            roots.append(run.pid)
        return kin.family(roots)

    def kill(self, run: Run) -> None:
        """KILL to all that is left of it; their deaths are heard later."""
        if run.group is not None:
            run.group.kill()
        else:
            kin.kill_all(lambda: self._look_at(run))
        if run.pidfd >= 0 and run.exit is None:
            pidfds.send_signal(run.pidfd, signal.SIGKILL)

    def _look_at(self, run: Run) -> kin.Members:
        self.look_anew()
        return self.members(run)

    def terminate(self, run: Run) -> None:
        """Send TERM to what its leader has left behind."""
        for signum in (signal.SIGTERM, signal.SIGCONT):
            if run.group is not None:
                run.group.signal(signum)
            else:
                kin.signal_all(self._look_at(run), signum)

    def reap(self) -> None:
        """Let the kernel forget the dead among our children that lead no run."""
        helpers = self._helpers()
        while (dead := _first_dead()) is not None:
            if dead in self._runs or dead in helpers:
                for pid in self._unknown():
                    _reap(pid)
                return
            _reap(dead)


def _belongs(pid: int, run: Run, session: int | None) -> bool:
    seen = kin.stat(pid)
    if seen is None or seen.state in "ZX":
        return False
    return seen.session == session or kin.belongs(pid, run.marks)


def _first_dead() -> int | None:
    try:
        info = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT | os.WNOHANG)
    except ChildProcessError:
        return None
    return info.si_pid if info else None


def _reap(pid: int) -> None:
    try:
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG)
    except ChildProcessError:  # somebody has done it
        return

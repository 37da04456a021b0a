"""What becomes of services that somebody watched on a terminal, where anchor and master are gone.

Nobody is left then who knows them but the log writer, which ends them: whoever leads a run by the
run file, and all that descends from it; whoever is in a group of ours, or has one of our marks.
"""

from __future__ import annotations

import contextlib
import os

from supervisor.runfiles import RunFile, Trace
from supervisor.unix import kin, leftovers
from supervisor.unix.cgroup import Tree


def end_all(run_dir: str) -> None:
    """KILL every process of every run, and wait for their end."""
    leaders: list[int] = []
    tree = None
    with contextlib.suppress(OSError):  # then by their marks alone
        file = RunFile(run_dir, make=False)
        leaders = [trace.pid for trace in file.past.traces.values() if _leads(trace)]
        if file.groups and os.path.isdir(file.groups):
            tree = Tree(file.groups, file.groups)
        file.close()
    leftovers.sweep_leftovers(run_dir, tree, lambda: leaders)


def _leads(trace: Trace) -> bool:
    if not trace.pid or trace.end is not None or kin.descends(os.getpid(), trace.pid):
        return False
    return kin.is_same(trace.pid, trace.mark)

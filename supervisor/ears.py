"""What a run says of itself on its notify socket, as news for the core.

Nobody is believed but the run's own processes; whose word it is the kernel says, not the word.
"""

from __future__ import annotations

from collections.abc import Iterator

from supervisor.births import Run
from supervisor.core.events import Ailed, Beat, BecameReady, Report, TimeAsked
from supervisor.unix import kin


def news(run: Run) -> Iterator[Report]:
    """Yield what its words mean; what is said before its birth is told waits until then."""
    if run.ear is None:
        return
    said = [words for pid, words in run.ear.take() if _belongs(run, pid)]
    for words in said:
        if words.status is not None:
            run.status = words.status
        if words.ready and not run.ready:
            run.ready = True
            if run.spawned:
                yield BecameReady(run.number)
        if words.more_time is not None:
            yield TimeAsked(run.number, words.more_time)
    if any(words.beat for words in said):  # one of many that came at once
        yield Beat(run.number)
    if any(words.trigger for words in said):
        yield Ailed(run.number, "it said so itself")


def _belongs(run: Run, pid: int) -> bool:
    """Return whether a process is one of the run: by its descent, its session, its group.

    One that has gone cannot be asked any more, and a command like systemd-notify soon has: it was
    of the run's own user, or root, and those alone can reach the socket.
    """
    if run.pid <= 0 or pid <= 0:
        return False
    if pid == run.pid or kin.descends(pid, run.pid):
        return True
    return kin.stat(pid) is None or (run.group is not None and pid in run.group.everybody())

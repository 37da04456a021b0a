"""Runs that an earlier master began: found again, and looked after though no children of ours.

A process is known by pid and start time, or, where its birth was cut short before those were noted,
by its run's cgroup, tag or FIFO. How it ended its parent knows: the anchor, which tells us, and
keeps it a zombie until we say that it may go. Where the anchor has died as well it is somebody
else's child, and the kernel is asked (PIDFD_GET_INFO, Linux 6.15); else nobody can know.
"""

from __future__ import annotations

import fcntl
import os
import select
import struct
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING

from supervisor.ipc.pidfd import Exit
from supervisor.records import record
from supervisor.runfiles import RunFile, Trace
from supervisor.unix import kin
from supervisor.unix.poller import Poller

if TYPE_CHECKING:
    from supervisor.runs import Run

CUT_SHORT = "keepd was killed in the middle of its birth"
DOUBT = "in doubt: its birth was cut short, and does not come to an end"

_PIDFD_GET_INFO = 0xC048FF0B
_INFO_EXIT = 1 << 3
_INFO_SIZE = 72
_EXIT_AT = 60  # of the int in struct pidfd_info, which is a wait status
_SWEEPS = 3  # so often it is looked for in vain how a dead process has ended


@record(frozen=True)
class Parent:
    """The anchor, as the parent of what earlier masters have left."""

    orphans: Callable[[], list[int]]  # children of it that are no helpers
    let_go: Callable[[int], None]  # a zombie may be reaped
    pidfds: Mapping[str, int]  # that were kept, by "pidfd web/0.7": of those somebody else reaps


class Inherited:
    """What there is to be known of runs that are not our children."""

    def __init__(self, file: RunFile, parent: Parent) -> None:
        self.any = bool(file.past.traces)  # else only our own children need be looked at
        self._file = file
        self._parent = parent
        traces = file.past.traces.items()
        self._leaders = {trace.pid: key for key, trace in traces if trace.pid}
        self._exits: dict[int, int] = {}  # of the anchor's children, by pid
        self._dead: dict[str, int] = {}  # leaders whose end is not told: the sweeps since

    def trace(self, key: str, run: int) -> Trace:
        """Return what was noted of the process of a run."""
        trace = self._file.past.traces.get(key)
        return trace if trace is not None and trace.run == run else Trace(run)

    def led_by(self, pid: int) -> str:
        """Return the id of the replica whose run was noted to be led by a process; "" for none."""
        return self._leaders.get(pid, "")

    def said(self, key: str) -> str:
        """Return what a run has said of itself."""
        said: str = self._file.past.notes.get(key, {}).get("said", "")
        return said

    def in_doubt(self, key: str) -> bool:
        """Return whether a process of the run may come to be still, of which nothing is known."""
        noted = self._file.past.notes.get(key, {})
        return self._file.being_born(noted.get("by", 0))

    def find(self, run: Run, trace: Trace) -> tuple[int, int] | None:
        """Return (pid, pidfd) of a run's leader, dead or alive; None: there is none any more."""
        if trace.end is not None:
            return None
        if trace.pid:
            pidfd = kin.hold(trace.pid, trace.mark)
            if pidfd is None:
                kept = self._parent.pidfds.get(f"pidfd {run.id}.{run.number}")
                pidfd = None if kept is None else os.dup(kept)
            return None if pidfd is None else (trace.pid, pidfd)
        for pid in self._candidates(run):
            seen = kin.stat(pid)
            if (
                seen is not None
                and seen.session == pid
                and (run.group is not None or kin.belongs(pid, run.marks))
            ):
                pidfd = kin.hold(pid, seen.start)
                if pidfd is not None:
                    return pid, pidfd
        return None

    def _candidates(self, run: Run) -> Iterable[int]:
        """Return who may be the leader: the oldest first, for what it starts inherits its marks."""
        pids = run.group.everybody() if run.group is not None else kin.everyone()
        found = [(seen.start, pid) for pid in pids if (seen := kin.stat(pid)) is not None]
        return [pid for _, pid in sorted(found)]

    def heard(self, pid: int, code: int) -> None:
        """Take the anchor's word on how one of its children has ended."""
        self._exits[pid] = code

    def is_cold(self, run: Run) -> bool:
        """Return whether a run is somebody else's child: the anchor of its master has died too."""
        return run.pid not in self._parent.orphans()

    def exit(self, run: Run) -> Exit | None:
        """Return how a run's leader has ended, once that is known; None: not yet, or it lives."""
        if run.pid in self._exits:
            return Exit(self._exits[run.pid])
        if not _readable(run.pidfd):
            return None
        reaped = _reaped(run.pidfd)  # asked first: from then on the kernel knows, or never will
        known, code = _kernel_knows(run.pidfd)
        if known:
            return Exit(code)
        return Exit(None) if reaped and self.is_cold(run) else None

    def waits(self) -> bool:
        """Return whether a process is dead, and its parent has not asked how: some never do."""
        return bool(self._dead)

    def wait_for(self, run: Run) -> None:
        """Note that a leader is dead, and that nobody has told how it ended."""
        self._dead.setdefault(run.id, 0)

    def give_up(self, run: Run) -> bool:
        """Return whether that has been waited for long enough; asked once a sweep."""
        self._dead[run.id] = self._dead.get(run.id, 0) + 1
        return self._dead[run.id] > _SWEEPS

    def over(self, run: Run) -> None:
        """Let go of a run's leader."""
        self._dead.pop(run.id, None)
        self._exits.pop(run.pid, None)
        if run.pid > 0:
            self._parent.let_go(run.pid)

    def let_go(self, pid: int) -> None:
        """Let a dead orphan go that leads no run."""
        self._exits.pop(pid, None)
        self._parent.let_go(pid)

    def orphans(self) -> list[int]:
        """Return children of the anchor that may belong to a run."""
        return self._parent.orphans() if self.any else []


class Bystanders:
    """Processes that are nobody's leader and no child of ours, and whose end is waited for."""

    def __init__(self, poller: Poller, died: Callable[[], None]) -> None:
        self._poller = poller
        self._died = died
        self._fds: dict[int, int] = {}  # pidfds by pid

    def watch(self, members: kin.Members) -> None:
        """Hear of the end of these as well."""
        for pid, start in members.items():
            fd = None if pid in self._fds else kin.hold(pid, start)
            if fd is not None:
                self._fds[pid] = fd
                self._poller.watch(fd, partial(self._end, pid))

    def close(self) -> None:
        """Hear no more."""
        for pid in list(self._fds):
            self._let_go(pid)

    def _end(self, pid: int, _mask: int) -> None:
        self._let_go(pid)
        self._died()

    def _let_go(self, pid: int) -> None:
        fd = self._fds.pop(pid)
        self._poller.forget(fd)
        os.close(fd)


def _readable(pidfd: int) -> int:
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return next((mask for _, mask in poll.poll(0)), 0)


def _reaped(pidfd: int) -> bool:
    """Return whether the process is no zombie any more: old kernels tell by its absence only."""
    if _readable(pidfd) & select.POLLHUP:
        return True
    try:
        with open(f"/proc/self/fdinfo/{pidfd}", encoding="ascii") as file:
            return any(line.split() == ["Pid:", "-1"] for line in file)
    except OSError:
        return False


def _kernel_knows(pidfd: int) -> tuple[bool, int | None]:
    room = bytearray(_INFO_SIZE)
    struct.pack_into("=Q", room, 0, _INFO_EXIT)
    try:
        fcntl.ioctl(pidfd, _PIDFD_GET_INFO, room)
    except OSError:  # an older kernel, or not reaped yet
        return False, None
    (mask,) = struct.unpack_from("=Q", room, 0)
    if not mask & _INFO_EXIT:
        return False, None
    (status,) = struct.unpack_from("=i", room, _EXIT_AT)
    return True, os.waitstatus_to_exitcode(status)

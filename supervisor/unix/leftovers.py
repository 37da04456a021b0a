"""What an earlier keepd of the same runtime directory left running when all of it was killed.

Only what is certainly its own is ended: who is in one of its groups, or carries its tag, or has
one of its FIFOs as stdout or stderr. Never ourselves, nor what we descend from.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from collections.abc import Callable, Iterable

from supervisor.ipc.pidfd import send_signal
from supervisor.records import record

from . import kin
from .cgroup import Group, Tree

_PATIENCE = 5.0  # seconds for all that was killed to be gone


@record(frozen=True)
class Leftover:
    """One process that an earlier keepd left."""

    pid: int
    what: str  # the run that it belonged to, as far as can be known
    gone: bool  # False: killed, and still there

    def __str__(self) -> str:
        """Return it as one line for people."""
        end = "killed" if self.gone else "cannot be killed"
        return f"left over from an earlier keepd: {self.what}, pid {self.pid}: {end}"


def sweep_leftovers(
    run_dir: str, tree: Tree | None, orphans: Callable[[], Iterable[int]]
) -> list[Leftover]:
    """Kill them all, wait for their end, and say which they were.

    `orphans` are pids of processes that are ours by descent, whatever marks they have got rid of.
    """
    ours = _ancestors()
    found: dict[int, tuple[int, str]] = {}  # pid: pidfd, what

    def listed() -> kin.Members:
        members: kin.Members = {}
        family = dict.fromkeys(kin.family(orphans()), "of an unknown run")
        for pid, what in {**family, **_tagged(run_dir), **_grouped(tree)}.items():
            seen = kin.stat(pid) if pid not in ours else None
            if seen is not None and seen.state not in "ZX":
                members[pid] = seen.start
                if pid not in found:
                    fd = kin.hold(pid, seen.start)
                    if fd is not None:
                        found[pid] = (fd, what)
        return members

    kin.kill_all(listed)
    for group in _groups(tree):
        group.kill()
    _kill_again([fd for fd, _ in found.values()])
    left = [Leftover(pid, what, _wait(fd, 0)) for pid, (fd, what) in found.items()]
    for fd, _ in found.values():
        os.close(fd)
    return left


def _kill_again(pidfds: list[int]) -> None:
    """KILL by the pidfds held, and wait for all of them together."""
    for fd in pidfds:
        with contextlib.suppress(PermissionError):
            send_signal(fd, signal.SIGKILL)
    end = time.monotonic() + _PATIENCE
    for fd in pidfds:
        _wait(fd, max(0.0, end - time.monotonic()))


def _wait(pidfd: int, limit: float) -> bool:
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(limit * 1000))


def _ancestors() -> set[int]:
    found: set[int] = set()
    pid = os.getpid()
    while pid and pid not in found:
        found.add(pid)
        seen = kin.stat(pid)
        pid = seen.parent if seen else 0
    return found


def _tagged(run_dir: str) -> dict[int, str]:
    """Return whoever carries the tag of this runtime directory, or one of its FIFOs."""
    found: dict[int, str] = {}
    for name in os.listdir("/proc"):
        if name.isdecimal():
            what = _run_of(int(name), run_dir)
            if what and kin.is_here(int(name), run_dir):
                found[int(name)] = what
    return found


def _run_of(pid: int, run_dir: str) -> str:
    tag = kin.tag(pid)
    if tag is not None and tag.startswith(f"{run_dir}:"):
        replica, _, run = tag.removeprefix(f"{run_dir}:").rpartition(":")
        if ":" not in replica:  # else the folder is another, whose name begins so
            return f"{replica} run {run}"
    for fd in (1, 2):
        with contextlib.suppress(OSError):
            path = os.readlink(f"/proc/{pid}/fd/{fd}").removesuffix(" (deleted)")
            if path.startswith(f"{run_dir}/fifo/"):
                replica, _, run = path.removeprefix(f"{run_dir}/fifo/").rpartition(".")
                return f"{replica} run {run}"
    return ""


def _groups(tree: Tree | None) -> list[Group]:
    if tree is None:
        return []
    try:
        names = sorted(e.name for e in os.scandir(tree.services.path) if e.is_dir())
    except FileNotFoundError:
        return []
    return [Group(f"{tree.services.path}/{name}", tree.leaf.path) for name in names]


def _grouped(tree: Tree | None) -> dict[int, str]:
    """Return whoever is in a replica's group, or in the leaf without descending from our own."""
    found: dict[int, str] = {}
    for group in _groups(tree):
        replica = "/".join(os.path.basename(group.path).rsplit(".", 1))
        found.update(dict.fromkeys(group.everybody(), replica))
    if tree is not None:
        inside = tree.leaf.procs()
        top = max((pid for pid in _ancestors() if pid in inside), default=os.getpid(), key=_depth)
        ours = {os.getpid(), *kin.family([top])}
        found.update({pid: "a process of keepd" for pid in inside if pid not in ours})
    return found


def _depth(pid: int) -> int:
    """Return how far above us an ancestor is."""
    steps, at = 0, os.getpid()
    while at != pid:
        seen = kin.stat(at)
        if seen is None or not seen.parent:
            break
        steps, at = steps + 1, seen.parent
    return steps

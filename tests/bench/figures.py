"""What the kernel says of processes: CPU, wake-ups, memory, descriptors. And tables of it."""

import contextlib
import os
import statistics
from pathlib import Path

from supervisor.unix import process

_TICK = os.sysconf("SC_CLK_TCK")


def tree(root):
    """Return the descendants of a process, zombies among them."""
    found, waiting = [], [root]
    while waiting:
        below = process.children(waiting.pop())
        found += below
        waiting += below
    return found


def _read(pid, name):
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/{name}").read_text(encoding="utf-8")
    return ""


def cpu(pids):
    """Return the CPU seconds of processes."""
    return sum(int((_read(pid, "schedstat") or "0").split()[0]) for pid in pids) / 1e9


def cpu_of_reaped(pids):
    """Return the CPU seconds of their children that have been reaped."""
    stats = [_read(pid, "stat").rpartition(")")[2].split() for pid in pids]
    return sum(int(stat[13]) + int(stat[14]) for stat in stats if stat) / _TICK


def _sum(pids, name, *starts):
    lines = [line for pid in pids for line in _read(pid, name).splitlines()]
    return sum(int(line.split()[1]) for line in lines if line.startswith(starts))


def wakeups(pids):
    """Return how often they have been put on a CPU again."""
    return _sum(pids, "status", "voluntary_ctxt_switches", "nonvoluntary_ctxt_switches")


def pss(pids):
    """Return their memory in MiB, what is shared counted once."""
    return _sum(pids, "smaps_rollup", "Pss:") / 1024


def descriptors(pid):
    """Return how many descriptors a process has open."""
    return len(os.listdir(f"/proc/{pid}/fd"))


def title(pid):
    """Return what ps shows of a process, or its program's name."""
    words = _read(pid, "cmdline").replace("\0", " ").strip()
    return words if words.startswith("keepd:") else _read(pid, "comm").strip()


def in_keepds_group(pid):
    """Return whether a process is in a cgroup that keepd has made for it."""
    return "/keepd." in _read(pid, "cgroup")


def median(values):
    return statistics.median(values) if values else float("nan")


def percentile(values, part):
    values = sorted(values)
    return values[min(len(values) - 1, int(part * len(values)))] if values else float("nan")


def table(heading, rows):
    """Print rows, each a dict of the same columns, as a table."""
    print(f"\n{heading}")
    lines = [list(rows[0]), *([_text(value) for value in row.values()] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        first, *others = (text.ljust if not at else text.rjust for at, text in enumerate(line))
        cells = [first(widths[0])]
        cells += [just(width) for just, width in zip(others, widths[1:], strict=True)]
        print("  ".join(cells), flush=True)


def _text(value):
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"
    return str(value)

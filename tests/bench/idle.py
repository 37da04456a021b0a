"""What 500 services cost that do nothing: wake-ups, CPU, memory, descriptors of keepd's processes.

Nothing is asked of the supervisor meanwhile. Wake-ups and CPU are of `_SECONDS`, when all that
follows from the start is over.
"""

from . import figures
from .peers import SET_UP, Keepd, group_mount, others
from .run import Run

_COUNT = 500
_SETTLED = 8.0  # seconds after the start
_SECONDS = 20.0
WAKEUPS, PSS, DESCRIPTORS = 1.0, 26.0, 4.0  # goals: a second; MiB; a service in any process


def _once(peer, tools):
    with Run(peer, tools, _COUNT) as run:
        run.wait_all()
        run.rest(_SETTLED)
        own = run.own()
        wakeups, cpu = figures.wakeups(own), figures.cpu(own)
        run.rest(_SECONDS)
        descriptors = {pid: figures.descriptors(pid) / _COUNT for pid in own}
        row = {
            f"{_COUNT} services": peer.name,
            "processes": len(own),
            "wake-ups/s": (figures.wakeups(own) - wakeups) / _SECONDS,
            "CPU ms/s": (figures.cpu(own) - cpu) / _SECONDS * 1000,
            "PSS MiB": figures.pss(own),
            "most descriptors/service": max(descriptors.values()),
        }
        parts = [
            f"{figures.title(pid).removeprefix('keepd: ')} {figures.pss([pid]):.1f} MiB "
            f"{descriptors[pid]:.2f} fd"
            for pid in own
        ]
    return row, f"{peer.name}: {', '.join(parts)}"


def main(tools, _options):
    """Print the table; return whether every keepd meets the goals."""
    keepds = [Keepd("keepd, plain"), Keepd("keepd, logs", logs=True)]
    keepds.append(Keepd("keepd, logs, umask", logs=True, more=SET_UP))
    if group_mount():
        keepds.append(Keepd("keepd, logs, cgroups", groups=True, logs=True))
    rows, parts = zip(*[_once(peer, tools) for peer in others() + keepds], strict=True)
    goals = f"<= {WAKEUPS:.0f} wake-up/s, {PSS:.0f} MiB, {DESCRIPTORS:.0f} descriptors a service"
    figures.table(f"Idle (goal {goals})", rows)
    print("\n".join(parts))
    return all(_meets(row) for row in rows[-len(keepds) :])


def _meets(row):
    return (
        row["wake-ups/s"] <= WAKEUPS
        and row["PSS MiB"] <= PSS
        and row["most descriptors/service"] <= DESCRIPTORS
    )

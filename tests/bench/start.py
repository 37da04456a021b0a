"""From the launch to the first instruction of the first and of the last of 1,000 services.

A service is a static C program: what is seen is the supervisor's time, not the service's. A plain
one needs nothing set up before its exec. The median ratio to the loop in C of the same round is
what counts; seconds depend on who else is busy.
"""

from .figures import cpu, cpu_of_reaped, in_keepds_group, median, table
from .peers import SET_UP, Keepd, group_mount, others
from .run import Run

_KEEPDS = [
    (Keepd("keepd, plain"), 2.0),
    (Keepd("keepd, logs", logs=True), 3.0),
    (Keepd("keepd, cwd", more="cwd: /"), 2.0),
    (Keepd("keepd, umask", more=SET_UP), 3.0),
]
_WITH_GROUPS = [
    (Keepd("keepd, cgroups", groups=True), 3.0),
    (Keepd("keepd, cgroups + logs + umask", groups=True, logs=True, more=SET_UP), 3.0),
]
FIRST = 0.25  # seconds from the launch to the first service: the goal
_FEW = 10  # services, for the first of them: with many their list alone takes a while to read


def _first(peer, tools):
    with Run(peer, tools, _FEW) as run:
        return run.next_born(60.0).at - run.launched


def _once(peer, tools, count):
    soonest = _first(peer, tools)
    with Run(peer, tools, count) as run:
        run.wait_all()
        tree = run.tree()
        spent = cpu(tree) + cpu_of_reaped(tree)
        assert in_keepds_group(run.born[0].pid) == getattr(peer, "groups", False)
        times = sorted(each.at - run.launched for each in run.born)
    return soonest, times[0], times[-1], spent


def main(tools, options):
    """Print the table; return whether all goals are met."""
    keepds = _KEEPDS + (_WITH_GROUPS if group_mount() else [])
    goals = [(peer, None) for peer in others()] + keepds
    found = {peer.name: [] for peer, _ in goals}
    for _ in range(options.rounds):
        for peer, _ in goals:
            found[peer.name].append(_once(peer, tools, options.services))
    rows, met = [], True
    limit = found["C loop"]
    for peer, goal in goals:
        soonest, first, last, spent = map(median, zip(*found[peer.name], strict=True))
        pairs = list(zip(found[peer.name], limit, strict=True))
        ratio = median([ours[2] / bound[2] for ours, bound in pairs])
        rows.append(
            {
                f"{options.services} services": peer.name,
                f"first of {_FEW} s": soonest,
                "first s": first,
                "all s": last,
                "best s": min(times[2] for times in found[peer.name]),
                "x C loop": ratio,
                "CPU s": spent,
                "x CPU": median([ours[3] / bound[3] for ours, bound in pairs]),
                "goal": f"<= {goal:.0f}x" if goal else "",
            }
        )
        met = met and (goal is None or (ratio <= goal and soonest <= FIRST))
    table(f"Start (first of {_FEW} services: goal {FIRST} s)", rows)
    return met

"""From kill -9 of one service to the first instruction of its replacement, without backoff.

One is killed at a time, each peer some dozens of times in a row, the peers in turn.
"""

import os
import random
import signal
import time

from .figures import cpu, median, percentile, table
from .peers import SET_UP, Keepd, group_mount, others
from .run import Run

SIZES = (10, 500)
GOAL = 1.6  # times the loop in C, at the median
_KILLS = 60  # a round
_BUDGET = 15.0  # seconds a round, for those that restart once a second
_AGE = 0.3  # seconds a service must have lived: who dies young is treated otherwise by some


def _kills(run, dice):
    """Kill one after the other; return the seconds that each replacement took."""
    living, took = {each.pid: each.at for each in run.born}, []
    end = time.monotonic() + _BUDGET
    while len(took) < _KILLS and time.monotonic() < end:
        run.rest(dice.uniform(0.02, 0.06))
        old = [pid for pid, at in living.items() if time.monotonic() - at > _AGE]
        if not old:
            continue
        pid = dice.choice(old)
        del living[pid]
        began = time.monotonic()
        os.kill(pid, signal.SIGKILL)
        new = run.next_born(20.0)
        run.born.append(new)
        living[new.pid] = new.at
        took.append(new.at - began)
    return took


def _once(peer, tools, count, seed):
    with Run(peer, tools, count) as run:
        run.wait_all()
        run.rest(1.0)  # what is done after a start is not what is measured
        own = run.own()
        before = cpu(own)
        took = _kills(run, random.Random(seed))
        return took, (cpu(own) - before) / len(took)


def _peers():
    keepds = [
        Keepd("keepd, plain"),
        Keepd("keepd, logs", logs=True),
        Keepd("keepd, cwd", more="cwd: /"),
        Keepd("keepd, umask", more=SET_UP),
    ]
    return others() + keepds + ([Keepd("keepd, cgroups", groups=True)] if group_mount() else [])


def main(tools, options):
    """Print a table for each size; return whether the goal is met by plain commands."""
    everyone = _peers()
    met = [_compare(everyone, tools, options.rounds, count) for count in SIZES]
    return all(met)


def _compare(everyone, tools, rounds, count):
    found = {peer.name: [] for peer in everyone}
    for seed in range(rounds):
        for peer in everyone:
            found[peer.name].append(_once(peer, tools, count, seed))
    limits = [median(took) for took, _ in found["C loop"]]
    rows = []
    for name, runs in found.items():
        took = [seconds * 1000 for each, _ in runs for seconds in each]
        ratios = [median(each) / limit for (each, _), limit in zip(runs, limits, strict=True)]
        best = min(seconds for each, _ in found["C loop"] for seconds in each) * 1000
        rows.append(
            {
                f"{count} services": name,
                "kills": len(took),
                "best ms": min(took),
                "p50 ms": median(took),
                "p90 ms": percentile(took, 0.9),
                "p99 ms": percentile(took, 0.99),
                "x C loop": median(ratios),
                "best x": min(took) / best,
                "CPU ms": median([spent for _, spent in runs]) * 1000,
            }
        )
    table(f"Restart after kill -9 (p50 of plain commands: goal <= {GOAL}x)", rows)
    plain = next(row for row in rows if row[f"{count} services"] == "keepd, plain")
    return plain["x C loop"] <= GOAL

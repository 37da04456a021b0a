"""What a quiet service and an operator notice of those who share a keepd with them.

Noise: the time from a message to a service until its answer, which it prints before it answers,
beside services that print as fast as they can. `silent` ones print as fast, into /dev/null: that
much the kernel's scheduler adds where there are fewer cores than busy processes. Crash loops: the
time from the SIGKILL of a service to its next run, and of a `status`, beside 200 of them.
"""

import contextlib
import select
import sys
import tempfile

from supervisor.unix import process
from tests.daemon.harness import LIMIT, Keepd
from tests.daemon.neighbours import (
    ECHO,
    NOISE,
    QUIET,
    answers,
    loops,
    loops_are_slow,
    noisy,
    restarts,
    visiting,
)

from .figures import median, percentile, table

_ROUNDS, _COUNT, _KILLS = 2, 600, 50
_SETTLED = 300  # milliseconds
_MOST = 2.0  # times the p99 of the silent or the quiet: the goal


@contextlib.contextmanager
def _keepd(services, start=Keepd.up_detached):
    # Detached: the terminal of a foreground would be one more that reads all of the noise.
    with tempfile.TemporaryDirectory(prefix="bench.") as folder:
        one = Keepd(folder, "services:\n  " + "\n  ".join(services) + "\n")
        try:
            yield start(one)
        finally:
            one.run("down")
            one.end()


def _not_ready(one):
    return one.up(ready=False)


def _noise():
    """Print what each kind of noise does to a round trip; return whether the goal is met."""
    beside = {"nobody": (), "2 silent": [noisy("flood", f"s{n}", "none") for n in range(2)]}
    beside |= {kind: [noisy(kind)] for kind in NOISE}
    beside |= {"4 silent": [noisy("flood", f"s{n}", "none") for n in range(4)]}
    beside |= {"all four": [noisy(kind) for kind in NOISE]}
    found = {name: [] for name in beside}
    for _ in range(_ROUNDS):
        for name, services in beside.items():
            with _keepd([ECHO, *services]) as one:
                one.becomes("echo/0", "RUNNING")
                select.poll().poll(_SETTLED)
                with visiting(one) as ask:
                    found[name].append(ask(_COUNT))
    rows = [_row("round trip beside", name, runs, found["nobody"]) for name, runs in found.items()]
    table(f"Noise (goal: p99 <= {_MOST:.0f}x that beside nobody, or as many silent ones)", rows)
    p99 = {row["round trip beside"]: row["p99 us"] for row in rows}
    most = {name: max(p99["nobody"], p99["2 silent"]) for name in NOISE}
    most["all four"] = max(p99["nobody"], p99["4 silent"])
    return all(p99[name] <= _MOST * limit for name, limit in most.items())


def _loops():
    """Print what 200 crash loops do to restarts and to `status`."""
    found = {name: {"nobody": [], "200 loops": []} for name in ("restart", "status")}
    for _ in range(_ROUNDS):
        for name, services in (("nobody", ()), ("200 loops", loops(100))):
            with _keepd([QUIET, *services], _not_ready) as one:
                one.becomes("quiet/0", "RUNNING")
                loops_are_slow(one, LIMIT * 3)
                found["restart"][name].append(restarts(one, "quiet/0", _KILLS))
                found["status"][name].append(answers(one, "quiet/0", _COUNT // 3))
    for what, of in found.items():
        head = f"{what} beside"
        rows = [_row(head, name, runs, of["nobody"]) for name, runs in of.items()]
        table(f"Crash loops: {what}", rows)


def _row(head, name, runs, quiet):
    took = [seconds * 1e6 for run in runs for seconds in run]
    still = [seconds * 1e6 for run in quiet for seconds in run]
    return {
        head: name,
        "count": len(took),
        "p50 us": median(took),
        "p90 us": percentile(took, 0.9),
        "p99 us": percentile(took, 0.99),
        "x p50": median(took) / median(still),
        "x p99": percentile(took, 0.99) / percentile(still, 0.99),
    }


if __name__ == "__main__":
    process.subreaper()
    met = _noise()
    _loops()
    sys.exit(not met)

"""Those who print without end and those who crash for ever, seen from who shares a keepd with them.

Times are compared within one run, turn and turn about, so that who else is busy counts for both.
"""

import re
import signal
import statistics

import pytest

from tests.bench.figures import percentile
from tests.daemon.harness import LIMIT, kill, until
from tests.daemon.neighbours import (
    ECHO,
    NOISE,
    QUIET,
    answers,
    is_loop,
    loops,
    loops_are_slow,
    noisy,
    restarts,
    visiting,
)
from tests.logs.house import memory


def listed(*services):
    return "services:\n  " + "\n  ".join(services) + "\n"


def turns(one, ask, pids, rounds, count):
    """Return the round trips while these processes stand still, and while they go on."""
    still, loud = [], []
    for _ in range(rounds):
        kill(*pids, number=signal.SIGSTOP)
        still += ask(count)
        kill(*pids, number=signal.SIGCONT)
        loud += ask(count)
    return still, loud


def as_loud(one, ask, rounds, count):
    """Return the p99 of round trips beside noise that is written, and beside as much that is not.

    What a busy machine does to those who sleep is the kernel's; the rest of it would be keepd's.
    """
    groups = [[one.pid(f"{prefix}{kind}") for kind in NOISE] for prefix in ("", "un")]
    found = []
    for others, pids in (groups, groups[::-1]):
        kill(*others, number=signal.SIGSTOP)
        found.append(percentile(turns(one, ask, pids, rounds, count)[1], 0.99))
    return found[::-1]


@pytest.mark.parametrize(
    ("rounds", "count"), [(4, 40), pytest.param(10, 200, marks=pytest.mark.soak)]
)
def test_f63_noise_of_every_kind_neither_delays_nor_tears_what_a_neighbour_does(
    keepd, rounds, count
):
    silent = [noisy(kind, f"un{kind}", "none") for kind in NOISE] if rounds > 4 else []
    one = keepd(listed(ECHO, *map(noisy, NOISE), *silent)).up_detached()
    writer = one.titles()["log writer"]
    until(lambda: all(any((one.log_dir / kind).glob("0.*.log")) for kind in NOISE), every=0.1)
    before = memory(writer)
    pids = [replica["pid"] for replica in one.replicas() if replica["id"] != "echo/0"]
    with visiting(one) as ask:
        still, loud = turns(one, ask, pids, rounds, count)
        if silent:
            written, unread = as_loud(one, ask, rounds, count)
            assert written <= 2 * max(percentile(still, 0.99), unread)
    assert statistics.median(loud) <= 3 * statistics.median(still)
    assert memory(writer) - before < 16 << 20
    assert {replica["run"] for replica in one.replicas()} == {1}
    assert one.run("down").returncode == 0
    beats = [f"beat {number}" for number in range(count)]
    assert one.lines("echo/0") == ["listens", *beats * (len(one.lines("echo/0")) // count)]
    assert len(one.lines("echo/0")) > 2 * rounds * count


def test_f45_both_kinds_of_crash_loop_are_seen_in_status_and_delay_nobody(keepd):
    one = keepd(listed("quiet: {command: [sleep, '1000'], backoff: {first: 0s}}", *loops(10)))
    one.up(ready=False)
    seen = set()

    def both():
        seen.update(shown(one.run("status").stdout))
        return seen >= {("brief", "3", "0.2"), ("longer", "4", "1.2")}

    until(both)
    for run in range(2, 7):
        one.kill("quiet")
        one.becomes("quiet", "RUNNING", run=run)
    assert all(replica["run"] < 6 for replica in one.replicas() if is_loop(replica))


def shown(table):
    """Return what `status` shows of those in BACKOFF: name, exit code, length of the last life."""
    row = (
        r"^(brief|longer)/\d +BACKOFF +no +- +- +\d+  exited with (\d) after (\d\.\d)\S* s, "
        r"\S+ \S+ ago; next start in [\d.]+ \w+$"
    )
    return re.findall(row, table, re.MULTILINE)


@pytest.mark.soak
def test_f45_f46_two_hundred_crash_loops_change_neither_restarts_nor_status(keepd):
    one = keepd(listed(QUIET)).up()
    before = (restarts(one, "quiet/0", 100), answers(one, "quiet/0", 500))
    one.write(listed(QUIET, *loops(100)))
    one.call("reload")
    loops_are_slow(one, LIMIT * 3)
    after = (restarts(one, "quiet/0", 100), answers(one, "quiet/0", 500))
    for quiet, beside in zip(before, after, strict=True):
        assert statistics.median(beside) <= 2 * statistics.median(quiet)
    assert all(r["state"] in {"BACKOFF", "RUNNING"} for r in one.replicas())

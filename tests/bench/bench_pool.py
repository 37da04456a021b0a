"""A pool beside multiprocessing's, and those of pebble, loky, billiard and concurrent.futures.

`python -m tests.bench.bench_pool [--rounds N] [PEER ...]`: tiny tasks per second, two workers, the
rounds interleaved so that whatever else the machine does meets all alike. What counts is the ratio
to multiprocessing's pool; peers that are not installed are left out.
"""

import argparse
import importlib.util
import multiprocessing
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from itertools import chain

from supervisor.ipc import Pool

from . import figures

WORKERS = 2
CELLS = {  # name: tasks in a round, and how many times multiprocessing's rate it must reach
    "map": (400_000, 1.2),
    "map, chunksize=1": (20_000, 1.5),
    "apply_async": (20_000, 1.5),
    "imap_unordered": (20_000, 1.4),
    "apply": (3_000, 0.9),
}


def tiny(number):
    return number


class Pools:
    """Pools with the methods of multiprocessing's."""

    def __init__(self, pool):
        self.pool = pool

    def run(self, cell, count):
        pool, numbers = self.pool, range(count)
        if cell == "map":
            return pool.map(tiny, numbers)
        if cell == "map, chunksize=1":
            return pool.map(tiny, numbers, 1)
        if cell == "apply_async":
            return [each.get() for each in [pool.apply_async(tiny, (n,)) for n in numbers]]
        if cell == "imap_unordered":
            return list(pool.imap_unordered(tiny, numbers))
        return [pool.apply(tiny, (n,)) for n in numbers]

    def end(self):
        self.pool.terminate()
        self.pool.join()


class Executors:
    """Pools with the methods of concurrent.futures."""

    def __init__(self, executor):
        self.executor = executor

    def run(self, cell, count):
        executor, numbers = self.executor, range(count)
        if cell == "map":
            return list(executor.map(tiny, numbers, chunksize=count // (WORKERS * 4)))
        if cell == "map, chunksize=1":
            return list(executor.map(tiny, numbers, chunksize=1))
        if cell == "apply_async":
            return [each.result() for each in [executor.submit(tiny, n) for n in numbers]]
        if cell == "imap_unordered":
            return None
        return [executor.submit(tiny, n).result() for n in numbers]

    def end(self):
        self.executor.shutdown()


class Pebble:
    """Pebble's pool, whose map has a time limit for each chunk."""

    def __init__(self, pool):
        self.pool = pool

    def run(self, cell, count):
        pool, numbers = self.pool, range(count)
        if cell.startswith("map"):
            size = 1 if cell.endswith("1") else count // (WORKERS * 4)
            return list(pool.map(tiny, numbers, chunksize=size).result())
        if cell == "apply_async":
            return [each.result() for each in [pool.schedule(tiny, args=(n,)) for n in numbers]]
        if cell == "imap_unordered":
            return None
        return [pool.schedule(tiny, args=(n,)).result() for n in numbers]

    def end(self):
        self.pool.stop()
        self.pool.join()


def ours():
    return Pools(Pool(WORKERS))


def theirs():
    return Pools(multiprocessing.get_context("fork").Pool(WORKERS))


def futures():
    return Executors(ProcessPoolExecutor(WORKERS, multiprocessing.get_context("fork")))


def billiard():
    return Pools(importlib.import_module("billiard.pool").Pool(WORKERS))


def loky():
    return Executors(importlib.import_module("loky").ProcessPoolExecutor(WORKERS))


def pebble():
    context = multiprocessing.get_context("fork")
    return Pebble(importlib.import_module("pebble").ProcessPool(WORKERS, context=context))


PEERS = {
    "ours": ours,
    "multiprocessing": theirs,
    "futures": futures,
    "billiard": billiard,
    "loky": loky,
    "pebble": pebble,
}
SLOW = {"billiard", "loky", "pebble", "futures"}  # a tenth of the tasks will do


def rate(made, cell, count):
    """Return tasks per second of a fresh pool, which has done something before."""
    pool = made()
    try:
        pool.run(cell, 200)
        begun = time.perf_counter()
        found = pool.run(cell, count)
        took = time.perf_counter() - begun
    finally:
        pool.end()
    if found is None:
        return None
    assert sorted(found) == list(range(count))
    return count / took


def main():
    options = argparse.ArgumentParser(prog="python -m tests.bench.bench_pool", description=__doc__)
    options.add_argument("peers", nargs="*", default=None, help=", ".join(PEERS))
    options.add_argument("--rounds", type=int, default=5)
    given = options.parse_args()
    names = ["ours", "multiprocessing", *(given.peers or sorted(SLOW))]
    names = [n for n in names if n not in SLOW - {"futures"} or importlib.util.find_spec(n)]
    rates = {(cell, name): [] for cell in CELLS for name in names}
    for _, cell, name in chain(
        (r, c, n) for r in range(given.rounds) for c in CELLS for n in names
    ):
        count = CELLS[cell][0] // (10 if name in SLOW else 1)
        rates[cell, name].append(rate(PEERS[name], cell, count))
    met = True
    rows = []
    for cell, (_, least) in CELLS.items():
        best = {
            name: max(r for r in rates[cell, name] if r) for name in names if rates[cell, name][0]
        }
        pairs = zip(rates[cell, "ours"], rates[cell, "multiprocessing"], strict=True)
        ratio = figures.median([mine / other for mine, other in pairs])
        met &= ratio >= least
        shown = {name: f"{best[name]:,.0f}" if name in best else "-" for name in names}
        rows.append({"tasks/s": cell, **shown, "ratio": ratio, "wanted": least})
    figures.table("Pool, two workers, tiny tasks; best of each, median ratio", rows)
    sys.exit(not met)


if __name__ == "__main__":
    main()

"""Queues and locks beside multiprocessing's: `python -m tests.bench.bench_ipc [--quick]`.

Ours and theirs take turns within one run, so that the ratios hold on a busy machine; each figure is
the median of its ratios. Producers are forked, the consumer is this process. It exits with 1 if a
ratio falls short.
"""

import argparse
import multiprocessing
import os
import statistics
import sys
import time
from dataclasses import dataclass

from supervisor.ipc import Lock, Queue, RelayQueue

CONTEXT = multiprocessing.get_context("fork")
QUEUES = [  # bytes in a message, producers, messages, at least so many times as fast
    (100, 1, 120_000, 2.5),
    (100, 8, 120_000, 2.5),
    (10_000, 1, 15_000, 2.0),
    (10_000, 8, 15_000, 2.0),
    (1_000_000, 1, 500, 1.3),
    (1_000_000, 8, 500, 1.0),
]
ROUND_TRIPS, RELAYED, PAIRS = 5_000, 60_000, 100_000


@dataclass
class Row:
    name: str
    ratios: list[float]
    wanted: float

    @property
    def ratio(self):
        return statistics.median(self.ratios)

    def __str__(self):
        least, most = min(self.ratios), max(self.ratios)
        verdict = "" if self.ratio >= self.wanted else "   TOO LOW"
        spread = f"({least:.2f} to {most:.2f})"
        return f"{self.name:38} {self.ratio:6.2f} {spread:18} wanted {self.wanted:.2f}{verdict}"


def forked(work):
    pid = os.fork()
    if pid == 0:
        try:
            work()
        finally:
            os._exit(0)
    return pid


def transfer(queue, size, producers, messages):
    """Return messages a second, through a queue."""
    payload, each = b"m" * size, messages // producers

    def produce():
        for _ in range(each):
            queue.put(payload)
        queue.close()
        queue.join_thread()

    began = time.perf_counter()
    pids = [forked(produce) for _ in range(producers)]
    for _ in range(each * producers):
        queue.get()
    took = time.perf_counter() - began
    for pid in pids:
        os.waitpid(pid, 0)
    return each * producers / took


def relayed(messages, size=100):
    """Return messages a second, through a RelayQueue, split into lines again."""
    line = b"m" * (size - 1) + b"\n"
    read, write = os.pipe()

    def produce():
        for _ in range(messages):
            os.write(write, line)

    queue = RelayQueue()
    queue.add(0, read)
    began = time.perf_counter()
    pid = forked(produce)
    left = messages
    while left:
        for key in queue.poll():
            left -= len((queue.read(key) or b"").splitlines())
    took = time.perf_counter() - began
    os.waitpid(pid, 0)
    queue.close()
    os.close(read)
    os.close(write)
    return messages / took


def round_trips(make, times):
    """Return round trips a second, as the median of single ones has it."""
    there, back = make(), make()

    def echo():
        for _ in range(times):
            back.put(there.get())

    pid = forked(echo)
    took = []
    for _ in range(times):
        began = time.perf_counter()
        there.put(b"ping")
        back.get()
        took.append(time.perf_counter() - began)
    os.waitpid(pid, 0)
    return 1 / statistics.median(took)


def uncontended(lock, pairs):
    began = time.perf_counter()
    for _ in range(pairs):
        with lock:
            pass
    return pairs / (time.perf_counter() - began)


def contended(lock, pairs, processes=4):
    began = time.perf_counter()
    pids = [forked(lambda: uncontended(lock, pairs // processes)) for _ in range(processes)]
    for pid in pids:
        os.waitpid(pid, 0)
    return pairs / (time.perf_counter() - began)


def compared(name, rounds, wanted, ours, theirs):
    """Return the ratio of two rates, taken in turns."""
    ratios = []
    for turn in range(rounds):
        first, second = (ours, theirs) if turn % 2 else (theirs, ours)
        one, two = first(), second()
        ratios.append(one / two if turn % 2 else two / one)
    row = Row(name, ratios, wanted)
    print(row, flush=True)
    return row


def measured(rounds, share):
    """Yield a row for each of what is promised; `share` of the usual work is done for it."""
    for size, producers, messages, wanted in QUEUES:
        work = (size, producers, max(80, int(messages * share)))
        yield compared(
            f"Queue, {size} bytes, {producers} producer(s)",
            rounds,
            wanted,
            lambda work=work: transfer(Queue(), *work),
            lambda work=work: transfer(CONTEXT.Queue(), *work),
        )
    trips, pairs = int(ROUND_TRIPS * share), int(PAIRS * share)
    yield compared(
        "round trip, beside SimpleQueue",
        rounds,
        1.0,
        lambda: round_trips(Queue, trips),
        lambda: round_trips(CONTEXT.SimpleQueue, trips),
    )
    yield compared(
        "RelayQueue, 100 bytes, 1 producer",
        rounds,
        4.0,
        lambda: relayed(int(RELAYED * share)),
        lambda: transfer(CONTEXT.Queue(), 100, 1, int(RELAYED * share)),
    )
    for name, measure, wanted in (
        ("Lock, uncontended `with`", uncontended, 1 / 3),
        ("Lock, contended by 4", contended, 0.5),
    ):
        yield compared(
            name,
            rounds,
            wanted,
            lambda measure=measure: measure(Lock(), pairs),
            lambda measure=measure: measure(CONTEXT.Lock(), pairs),
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="less work, fewer rounds")
    quick = parser.parse_args().quick
    rows = list(measured(3 if quick else 7, 0.25 if quick else 1.0))
    return any(row.ratio < row.wanted for row in rows)


if __name__ == "__main__":
    sys.exit(main())

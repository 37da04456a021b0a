"""A pool under fire: workers die at every bytecode of their loop, and at random."""

import contextlib
import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from supervisor.ipc import Pool, TaskCrashed
from tests.ipc.deaths import Tracer, after, ended, forked
from tests.ipc.pools import LIMIT, closed, kill, pause, square

THEIRS = str(Path(multiprocessing.__file__).parent)
ROOT = Path(__file__).parents[2]
SWEEP = str(Path(__file__).with_name("sweep.py"))
SPOKEN = {
    "stdout": subprocess.PIPE,
    "env": {**os.environ, "PYTHONPATH": str(ROOT)},
    "text": True,
    "start_new_session": True,
}


@pytest.mark.timeout(120)
def test_f3_a_worker_that_dies_at_any_bytecode_of_its_loop_costs_nothing():
    swept("places", least=900)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_f3_a_worker_that_dies_at_any_step_of_its_loop_costs_nothing():
    swept("steps", least=2000)


def swept(what, least):
    """Have so many workers die in their loop at least, and nearly all at the places meant."""
    sweep = subprocess.Popen([sys.executable, SWEEP, what], **SPOKEN)
    try:
        said, _ = sweep.communicate(timeout=3500)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(sweep.pid, signal.SIGKILL)
        sweep.communicate()
    print(said)
    assert sweep.returncode == 0
    parts = [json.loads(line) for line in said.splitlines()]
    planned = sum(part["planned"] for part in parts)
    assert planned > least
    assert sum(len(part["missed"]) for part in parts) < planned / 25


def doomed_theirs(last):
    Tracer(after(last), THEIRS).watch(sys._getframe(1))


def hurts_theirs():
    """Do the same to multiprocessing's pool, in a session of its own, until it has hung twice."""
    os.setsid()
    hung = 0
    for last in (5, 25, 45, 65, 85, 105):
        pool = multiprocessing.get_context("fork").Pool(2)
        doomed = [pool.apply_async(doomed_theirs, (last,)) for _ in range(2)]
        try:
            for each in doomed:
                each.get(1.0)
            for _ in range(3):
                assert pool.map_async(square, range(8), 2).get(1.0) == [n * n for n in range(8)]
        except multiprocessing.TimeoutError:
            hung += 1
        if hung >= 2:
            return
    raise AssertionError("the tests of ours prove nothing")


@pytest.mark.timeout(120)
def test_f3_multiprocessings_own_pool_is_hurt_by_such_deaths():
    pid = forked(hurts_theirs)
    try:
        assert ended(pid, limit=60) == 0
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)  # its workers, which wait for ever


@dataclass
class Outcome:
    kills: int = 0
    right: int = 0
    wrong: int = 0
    crashed: Counter = field(default_factory=Counter)


def fight(pool, kills, seed):
    """Keep the pool busy while workers are killed; every result must come, and be right."""
    chance, outcome, victims = random.Random(seed), Outcome(), set()
    while outcome.kills < kills:
        results = [(n, pool.apply_async(square, (n,))) for n in range(40)]
        lists = [pool.map_async(square, range(60), size) for size in (1, 7, 60)]
        some = pool.imap_unordered(square, range(60), chance.choice((1, 5)))
        for _ in range(chance.randrange(4)):
            pause(chance.random() * 0.004)
            outcome.kills += strike(pool, chance, victims)
        for n, result in results:
            count(outcome, lambda r=result: r.get(LIMIT), n * n)
        for result in lists:
            count(outcome, lambda r=result: r.get(LIMIT), [n * n for n in range(60)])
        found = Counter()
        while True:
            try:
                found[some.next(LIMIT)] += 1
            except StopIteration:
                break
            except TaskCrashed as error:
                outcome.crashed[error.signal] += 1
        assert max(found.values()) == 1
    return outcome


def strike(pool, chance, victims):
    """Kill a worker; return whether it is one more."""
    workers = [(worker, pid) for worker in list(pool._pool) if (pid := pid_of(worker))]
    if not workers:
        return False
    worker, pid = chance.choice(workers)
    kill(worker)
    new = pid not in victims
    victims.add(pid)
    return new


def pid_of(worker):
    with contextlib.suppress(ValueError):  # it has been let go meanwhile
        return worker.pid


def count(outcome, get, expected):
    try:
        found = get()
    except TaskCrashed as error:
        outcome.crashed[error.signal] += 1
    else:
        outcome.right += found == expected
        outcome.wrong += found != expected


def killed_at_random(kills, seed):
    """With retries nothing at all is lost; without, at most one task for each kill, by name."""
    with Pool(3, max_retries=100) as pool:
        outcome = fight(pool, kills // 2, seed)
        closed(pool)
    assert not outcome.crashed
    assert not outcome.wrong
    with Pool(3) as pool:
        outcome = fight(pool, kills // 2, seed + 1)
        closed(pool)
    assert set(outcome.crashed) <= {signal.SIGKILL}
    assert outcome.crashed.total() <= outcome.kills
    assert outcome.right
    assert not outcome.wrong


@pytest.mark.timeout(120)
def test_f3_workers_killed_at_random_cost_at_most_a_task_each():
    killed_at_random(120, seed=1)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_f3_ten_thousand_workers_killed_at_random_cost_at_most_a_task_each():
    for seed in range(10):
        killed_at_random(1000, seed)

"""A pool where memory or processes run short: one task pays, or all are told; nobody waits."""

import errno
import os
import signal

import pytest

from supervisor.ipc import Pool, TaskCrashed
from tests.ipc.deaths import ended, forked
from tests.ipc.groups import limited
from tests.ipc.pools import LIMIT, closed, kill, square

MB = 1 << 20


def eats(size):
    return len(b"\1" * size)


@pytest.mark.parametrize("retries", [0, 1])
def test_f33_a_worker_killed_for_its_memory_costs_its_own_task_and_no_other(retries):
    with limited("memory", 48 * MB) as group, Pool(2, group.enter, max_retries=retries) as pool:
        greedy = [pool.apply_async(eats, (size,)) for size in (10, 200 * MB, 1000)]
        assert pool.map(square, range(50), 1) == [n * n for n in range(50)]
        assert (greedy[0].get(LIMIT), greedy[2].get(LIMIT)) == (10, 1000)
        with pytest.raises(TaskCrashed, match="SIGKILL") as caught:
            greedy[1].get(LIMIT)
        assert caught.value.signal == signal.SIGKILL
        assert caught.value.attempts == retries + 1
        assert pool.map(square, range(20)) == [n * n for n in range(20)]
        closed(pool)


def threads():
    return len(os.listdir("/proc/self/task"))


def test_a_pool_that_can_fork_only_some_of_its_workers_is_an_error_and_leaves_none():
    def work():
        group.enter()
        with pytest.raises(OSError, match="temporarily unavailable") as caught:
            Pool(8)
        assert caught.value.errno == errno.EAGAIN
        assert threads() == 1
        with pytest.raises(ChildProcessError):
            os.waitpid(-1, os.WNOHANG)
        group.limit("max")
        with Pool(8) as pool:
            assert pool.map(square, range(20)) == [n * n for n in range(20)]
            closed(pool)

    with limited("pids", 4) as group:
        assert ended(forked(work)) == 0


def test_a_pool_that_can_fork_no_more_goes_on_with_whom_it_has_and_later_with_all():
    def work():
        group.enter()
        with Pool(2, max_retries=1) as pool:
            first, second = pool._pool
            group.limit(1)
            kill(first)
            assert pool.map(square, range(50), 1) == [n * n for n in range(50)]
            kill(second)
            waiting = pool.map_async(square, range(9), 1)
            with pytest.raises(TaskCrashed, match=r"cannot start a worker: .*unavailable"):
                waiting.get(LIMIT)
            group.limit("max")
            assert pool.map(square, range(50), 1) == [n * n for n in range(50)]
            assert not {first, second} & set(pool._pool)
            closed(pool)

    with limited("pids", 8) as group:
        assert ended(forked(work)) == 0

"""What becomes of tasks, and of the pool, when a worker dies, hangs, or cannot live."""

import contextlib
import functools
import itertools
import multiprocessing
import os
import signal
import subprocess
import sys
import threading

import pytest

from supervisor.ipc import Pool, TaskCrashed, TaskTimeout
from supervisor.ipc.pidfd import open_pidfd, wait
from tests.ipc.pools import (
    LIMIT,
    Explosive,
    add,
    closed,
    dies_at,
    dies_once,
    kill,
    kill_idle,
    killed_by_it,
    noted,
    pause,
    runs,
    square,
    who_works,
)


@pytest.fixture
def pool():
    with Pool(2) as pool:
        yield pool


@pytest.mark.parametrize("chunksize", [1, 4, 100])
def test_f3_one_item_whose_worker_is_killed_fails_by_name_and_no_other(pool, chunksize):
    found = pool.imap(functools.partial(dies_at, 33), range(100), chunksize)
    assert list(itertools.islice(found, 33)) == list(range(33))
    with pytest.raises(TaskCrashed, match="SIGKILL") as caught:
        next(found)
    assert list(found) == list(range(34, 100))
    error = caught.value
    assert (error.signal, error.exitcode, error.attempts) == (signal.SIGKILL, -9, 1)
    assert isinstance(error, multiprocessing.ProcessError)
    assert error.pid not in {worker.pid for worker in pool._pool}
    closed(pool)


@pytest.mark.parametrize(("end", "exitcode"), [(os._exit, 7), (sys.exit, 7)])
def test_f3_a_worker_that_exits_in_its_task_has_crashed_as_well(pool, end, exitcode):
    with pytest.raises(TaskCrashed, match="exit code 7") as caught:
        pool.apply(end, (exitcode,))
    assert caught.value.signal is None
    assert caught.value.exitcode == exitcode
    assert pool.apply(add, (1,)) == 1


def test_f3_a_task_runs_again_if_it_may(tmp_path):
    with Pool(2, max_retries=1) as pool:
        work = functools.partial(dies_once, str(tmp_path))
        assert pool.map(work, range(20), 5) == list(range(20))
        (tmp_path / "mark").unlink()
        assert pool.apply(work, (5,)) == 5
        closed(pool)


def test_a_poisonous_item_is_run_as_often_as_allowed_and_the_others_go_on(tmp_path):
    with Pool(2, max_retries=2) as pool:
        found = pool.imap_unordered(functools.partial(noted, str(tmp_path), bad=3), range(10), 5)
        values, errors = [], []
        for _ in range(10):
            try:
                values.append(next(found))
            except TaskCrashed as error:
                errors.append(error)
        assert sorted(values) == [0, 1, 2, 4, 5, 6, 7, 8, 9]
        assert [error.attempts for error in errors] == [3]
        closed(pool)
    assert runs(tmp_path)[3] == 3


def test_without_retries_nothing_runs_twice_where_each_item_is_a_task(tmp_path):
    with Pool(2) as pool, pytest.raises(TaskCrashed):
        pool.map(functools.partial(noted, str(tmp_path), bad=3), range(10), 1)
    assert set(runs(tmp_path).values()) == {1}


def test_without_retries_the_guilty_item_runs_once_in_a_chunk_as_well(tmp_path):
    with Pool(1) as pool, pytest.raises(TaskCrashed):
        pool.map(functools.partial(noted, str(tmp_path), bad=6), range(10), 10)
    counts = runs(tmp_path)
    assert set(counts) == set(range(10))
    assert [counts[n] for n in (6, 7, 8, 9)] == [1, 1, 1, 1]
    assert max(counts.values()) <= 2


def quick_but_one(folder, number):
    """Be so quick that items are begun in rows; leave a line and die at one of them."""
    return noted(folder, number, bad=number) if number == 5000 else number


@pytest.mark.parametrize("retries", [0, 1])
def test_quick_items_are_begun_in_rows_and_the_guilty_one_runs_no_more_than_it_may(
    tmp_path, retries
):
    work = functools.partial(quick_but_one, str(tmp_path))
    with Pool(1, max_retries=retries) as pool:
        with pytest.raises(TaskCrashed) as caught:
            pool.map(work, range(10_000), 10_000)
        assert caught.value.attempts == retries + 1
        assert pool.map(work, range(4000), 4000) == list(range(4000))
        closed(pool)
    assert runs(tmp_path) == {5000: retries + 1}


def test_what_kills_whoever_unpickles_it_fails_and_the_pool_goes_on(pool):
    with pytest.raises(TaskCrashed, match="before it could begin"):
        pool.apply(add, (Explosive(killed_by_it),))
    assert pool.map(square, [2]) == [4]


def test_a_task_that_takes_too_long_is_killed_and_no_other():
    with Pool(2, task_timeout=0.5) as pool:
        found = pool.imap(pause, [0.01, 60.0, 0.02, 0.03], 4)
        assert next(found) == 0.01
        with pytest.raises(TaskTimeout, match="longer than it may"):
            next(found)
        assert list(found) == [0.02, 0.03]
        assert pool.map(pause, [0.3] * 4, 4) == [0.3] * 4, "each item has the whole time"
        closed(pool)


def test_workers_end_after_their_number_of_tasks():
    with Pool(2, maxtasksperchild=2) as pool:
        pids = [pool.apply(os.getpid) for _ in range(12)]
        assert max(pids.count(pid) for pid in pids) <= 2
        closed(pool)


def test_whoever_cannot_be_initialized_ends_in_an_error_and_not_in_waiting(capfd):
    with Pool(2, initializer=os._exit, initargs=(9,)) as pool:
        with pytest.raises(TaskCrashed, match="cannot start a worker"):
            pool.apply(add, (1,))
        with pytest.raises(TaskCrashed, match="exit code 9"):
            list(pool.imap(square, range(5)))
        closed(pool)


def test_terminate_ends_those_who_wait_and_those_who_do_not_obey():
    pool = Pool(2, initializer=signal.signal, initargs=(signal.SIGUSR1, signal.SIG_IGN))
    result, more = pool.map_async(pause, [60.0] * 4, 1), pool.imap(pause, [60.0])
    workers = list(pool._pool)
    fds = [open_pidfd(worker.pid) for worker in workers]
    pool.terminate()
    pool.join()
    assert all(wait(fd, 0) for fd in fds)
    with pytest.raises(multiprocessing.ProcessError, match="terminated"):
        result.get(LIMIT)
    with pytest.raises(multiprocessing.ProcessError, match="terminated"):
        more.next(LIMIT)
    for fd in fds:
        os.close(fd)


def test_close_and_join_return_while_workers_are_killed():
    pool = Pool(3, max_retries=100)
    result = pool.map_async(pause, [0.01] * 60, 1)
    pool.close()
    while not result.ready():
        for worker in list(pool._pool)[:1]:
            kill(worker)
        result.wait(0.03)
    pool.join()
    assert result.get(0) == [0.01] * 60


def test_f25_workers_die_with_the_pools_process():
    script = (
        "import os, signal, sys\n"
        "from supervisor.ipc import Pool\n"
        "pool = Pool(2)\n"
        "pool.map_async(signal.sigwait, [[signal.SIGUSR1]] * 2, 1)\n"
        "print(*(worker.pid for worker in pool._pool), flush=True)\n"
        "signal.pause()\n"
    )
    master = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    fds = [open_pidfd(int(pid)) for pid in master.stdout.readline().split()]
    assert len(fds) == 2
    assert not wait(fds[0], 0)
    master.kill()
    master.communicate()
    assert all(wait(fd, LIMIT) for fd in fds)
    for fd in fds:
        os.close(fd)


def test_f41_workers_outlive_the_thread_that_made_the_pool():
    made = []
    thread = threading.Thread(target=lambda: made.append(Pool(2)))
    thread.start()
    thread.join()
    with made[0] as pool:
        pids = {worker.pid for worker in pool._pool}
        assert pool.map(square, range(4)) == [0, 1, 4, 9]
        assert {worker.pid for worker in pool._pool} == pids
        closed(pool)


def test_f34_a_worker_reaped_by_somebody_else_is_replaced_and_its_task_fails(pool):
    result = pool.apply_async(signal.sigwait, ([signal.SIGUSR1],))
    busy = who_works(pool)
    fd = open_pidfd(busy)
    os.kill(busy, signal.SIGKILL)
    with contextlib.suppress(ChildProcessError):  # the pool was faster
        os.waitpid(busy, 0)
    with pytest.raises(TaskCrashed):
        result.get(LIMIT)
    assert pool.map(square, range(4)) == [0, 1, 4, 9]
    os.close(fd)


def test_f33_idle_workers_that_are_killed_cost_nothing(pool):
    for _ in range(5):
        kill_idle(pool)
        assert pool.map(square, range(20), 1) == [n * n for n in range(20)]

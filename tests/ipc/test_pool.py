"""Pool: as multiprocessing's, and what it has beyond that."""

import functools
import gc
import itertools
import multiprocessing
import multiprocessing.pool
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from supervisor.ipc import Pool, TaskCrashed
from tests.ipc.deaths import ended, forked
from tests.ipc.pools import (
    LIMIT,
    Explosive,
    Unpicklable,
    add,
    closed,
    fails_at,
    identity,
    kill,
    pause,
    square,
    unloaded,
)


@pytest.fixture
def pool():
    with Pool(2) as pool:
        yield pool


def test_it_is_a_pool_as_multiprocessing_knows_it(pool):
    assert isinstance(pool, multiprocessing.pool.Pool)
    assert pool.apply(add, (1,), {"other": 2}) == 3
    assert pool.map(square, range(50)) == [n * n for n in range(50)]
    assert pool.map(square, [], 3) == []
    assert pool.starmap(add, [(1, 2), (3, 4)]) == [3, 7]
    assert pool.starmap_async(add, zip([1], [2], strict=True)).get(LIMIT) == [3]
    assert list(pool.imap(square, iter(range(50)), 7)) == [n * n for n in range(50)]
    assert sorted(pool.imap_unordered(square, {1, 2, 3})) == [1, 4, 9]
    result = pool.map_async(square, [])
    assert isinstance(result, multiprocessing.pool.AsyncResult)
    assert result.get(0) == []
    closed(pool)
    with pytest.raises(ValueError, match="not running"):
        pool.map(square, [1])


def test_an_iterator_of_results_can_be_asked_with_a_limit(pool):
    found = pool.imap(pause, [0.3])
    with pytest.raises(multiprocessing.TimeoutError):
        found.next(timeout=0.01)
    assert found.next(timeout=LIMIT) == 0.3
    with pytest.raises(StopIteration):
        found.next()


def test_an_endless_iterable_does_not_stop_the_caller(pool):
    found = pool.imap(square, itertools.count())
    assert list(itertools.islice(found, 100)) == [n * n for n in range(100)]
    pool.terminate()
    pool.join()


def test_callbacks_are_called_and_what_they_raise_hurts_nobody(pool, capfd):
    called, failed = [], []
    pool.apply_async(add, (1, 2), callback=called.append, error_callback=failed.append).wait(LIMIT)
    pool.apply_async(int, ("x",), callback=called.append, error_callback=failed.append).wait(LIMIT)
    pool.apply_async(add, (1, 2), callback=lambda _: called.undefined).wait(LIMIT)
    assert called == [3]
    assert isinstance(failed[0], ValueError)
    assert pool.map_async(square, [3], callback=called.append).get(LIMIT) == [9]
    assert called == [3, [9]]
    assert "AttributeError" in capfd.readouterr().err


def test_the_items_before_one_that_raises_are_there(pool):
    found = pool.imap(functools.partial(fails_at, 5), range(12), 4)
    assert list(itertools.islice(found, 5)) == [0, 1, 2, 3, 4]
    with pytest.raises(ValueError, match="5"):
        next(found)
    assert list(found) == [8, 9, 10, 11]


@pytest.mark.parametrize("chunksize", [1, 3])
def test_f4_what_cannot_be_pickled_is_an_error_and_nobody_waits(pool, chunksize):
    with pytest.raises(RuntimeError, match="cannot be pickled"):
        pool.map(square, [1, Unpicklable(), 3], chunksize)
    with pytest.raises(Exception, match="pickle"):
        pool.apply(lambda: 1)
    with pytest.raises(multiprocessing.pool.MaybeEncodingError):
        pool.apply(threading.Lock)
    with pytest.raises(LookupError, match="cannot be unpickled"):
        pool.apply(add, (Explosive(unloaded),))
    with pytest.raises(LookupError, match="cannot be unpickled"):
        pool.apply(Explosive, (unloaded,))
    assert pool.map(square, [2]) == [4]


class Bar:
    """What tqdm is to a pool."""

    def __init__(self, iterable=None, total=None):
        self.total, self.done, self.is_closed = total, 0, False

    def update(self, count):
        self.done += count

    def close(self):
        self.is_closed = True


def test_progress_is_told_to_a_bar_to_its_maker_and_to_a_wrapper(pool):
    bar, made, passed = Bar(), [], []

    def maker(iterable, total):
        made.append(Bar(iterable, total))
        return made[-1]

    def wrapper(iterable, total):
        for each in iterable:
            yield each
            passed.append(total)

    pool.map(square, range(30), progress=bar)
    assert (bar.done, bar.is_closed) == (30, False)
    pool.map(square, range(20), progress=maker)
    assert list(pool.imap(square, iter(range(10)), progress=maker))
    assert [(each.total, each.done, each.is_closed) for each in made] == [
        (20, 20, True),
        (None, 10, True),
    ]
    pool.map(square, range(15), progress=wrapper)
    assert passed == [15] * 15
    with Pool(1, progress=bar) as other:
        other.map(square, range(5))
    assert bar.done == 35


def test_f10_a_worker_does_not_write_what_the_pools_process_has_not_flushed(tmp_path):
    script = (
        "import os, sys\n"
        "from supervisor.ipc import Pool\n"
        "print('once', end=' ')\n"
        "with Pool(2) as pool:\n"
        "    pool.map(abs, range(10))\n"
        "    pool.close()\n"
        "    pool.join()\n"
    )
    with open(tmp_path / "out", "w+", encoding="ascii") as out:
        subprocess.run([sys.executable, "-c", script], stdout=out, check=True, timeout=LIMIT)
        out.seek(0)
        assert out.read() == "once "


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_f11_workers_are_started_as_their_context_says(method):
    with Pool(2, context=multiprocessing.get_context(method)) as pool:
        assert pool.map(square, range(4)) == [0, 1, 4, 9]
        with pytest.raises(TaskCrashed):
            pool.apply(os._exit, (1,))
        assert pool.map(square, range(4)) == [0, 1, 4, 9]
        closed(pool)


SCRIPT = """
import os
from {module} import Pool

def work(n):
    return n * n

def init(n):
    global start
    start = n

def more(a, b=1):
    return start + a + b

if __name__ == "__main__":
    seen = []
    with Pool(processes=3, initializer=init, initargs=(10,), maxtasksperchild=20) as pool:
        print(pool.map(work, range(10)), pool.starmap(more, [(1, 2), (3, 4)]))
        result = pool.apply_async(more, (5,), {{"b": 6}}, callback=seen.append)
        print(result.get(timeout=30), result.ready(), result.successful(), seen)
        print(list(pool.imap(work, (n for n in range(5)), chunksize=2)))
        print(sorted(pool.imap_unordered(work, range(5))))
        try:
            pool.apply(int, ("x",))
        except ValueError as error:
            print(type(error.__cause__).__name__, error)
        pool.close()
        pool.join()
    try:
        pool.map(work, [1])
    except ValueError as error:
        print(error)
"""


def test_a_script_that_works_with_multiprocessings_pool_runs_unchanged(tmp_path):
    said = []
    for module in ("multiprocessing", "supervisor.ipc"):
        path = tmp_path / "script.py"
        path.write_text(SCRIPT.format(module=module), encoding="utf-8")
        root = str(Path(__file__).parents[2])
        done = subprocess.run(
            [sys.executable, str(path)],
            env={**os.environ, "PYTHONPATH": root},
            capture_output=True,
            text=True,
            timeout=LIMIT,
            check=True,
        )
        assert done.stderr == ""
        said.append(done.stdout)
    assert said[0] == said[1]
    assert "[0, 1, 4, 9, 16]" in said[0]


def test_where_the_queues_are_full_everything_waits_and_what_never_fits_is_an_error(monkeypatch):
    monkeypatch.setattr("supervisor.ipc.flight._NBYTES", 1 << 16)
    with Pool(2, max_retries=9) as pool:
        blobs = [bytes([n]) * 9000 for n in range(60)]
        assert pool.map(identity, blobs, 1) == blobs
        results = [pool.apply_async(identity, (blob,)) for blob in blobs]
        kill(pool._pool[0])
        assert list(pool.imap(identity, iter(blobs))) == blobs
        assert [result.get(LIMIT) for result in results] == blobs
        with pytest.raises(ValueError, match="cannot put"):
            pool.apply(len, (bytes(70_000),))
        with pytest.raises(multiprocessing.pool.MaybeEncodingError, match="cannot put"):
            pool.apply(bytes, (70_000,))
        closed(pool)


def test_an_iterable_that_exits_ends_its_job_and_not_the_pool(pool):
    def numbers():
        yield 1
        sys.exit(3)

    found = pool.imap(square, numbers())
    assert next(found) == 1
    with pytest.raises(SystemExit):
        next(found)
    assert list(pool.imap(square, iter([2]))) == [4]
    closed(pool)


def test_f66_no_descriptor_and_no_thread_is_lost():
    def lives():
        with Pool(2, max_retries=1) as pool:
            pool.map(square, range(9))
            list(pool.imap(square, iter(range(9))))
            kill(pool._pool[0])
            pool.map(square, range(9))
            closed(pool)
        del pool
        gc.collect()  # what other tests have left behind
        return os.listdir("/proc/self/fd")

    def alone():
        before = lives()
        assert [lives() for _ in range(3)] == [before] * 3
        assert threading.enumerate() == [threading.current_thread()]

    assert ended(forked(alone)) == 0  # where no thread of another test opens or closes anything


def test_what_cannot_be_is_refused():
    for wrong in ({"processes": 0}, {"processes": 5000}, {"max_retries": -1}, {"task_timeout": 0}):
        with pytest.raises(ValueError, match=r"processes|retry"):
            Pool(**wrong)
    with pytest.raises(ValueError, match="maxtasksperchild"):
        Pool(1, maxtasksperchild=0)
    with pytest.raises(TypeError, match="callable"):
        Pool(1, initializer=3)

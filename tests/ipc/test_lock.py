"""Lock and RLock as people use them: threads, forks, spawns, limits, signals and mistakes."""

import contextlib
import errno
import gc
import multiprocessing
import os
import pickle
import select
import signal
import threading
import time

import pytest

from supervisor.ipc import Lock, RLock
from supervisor.ipc.flock import FlockMutex
from supervisor.ipc.memory import PAGE, Memory
from supervisor.ipc.mutex import RobustMutex, robust
from tests.ipc.deaths import LIMIT, ended, forked, killed

METHODS = ["fork", "spawn", "forkserver"]


class FlockLock(Lock):
    @staticmethod
    def _made(recursive):
        return FlockMutex(recursive=recursive)


class FlockRLock(RLock):
    _made = staticmethod(FlockLock._made)


KINDS = [Lock, RLock, FlockLock, FlockRLock]


class Holder:
    """A process that has the lock until it is told to go on, or is killed."""

    def __init__(self, lock):
        told, tell = os.pipe()
        self.goes, self.go = os.pipe()

        def hold():
            lock.acquire()
            os.write(tell, b".")
            os.read(self.goes, 1)
            lock.release()

        self.pid = forked(hold)
        os.read(told, 1)
        for fd in (told, tell):
            os.close(fd)

    def lets_go(self):
        os.write(self.go, b".")
        assert ended(self.pid) == 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        os.close(self.go)
        os.close(self.goes)


def test_this_machine_has_robust_mutexes_and_so_it_is_those_that_are_tried():
    assert robust()
    assert isinstance(Lock()._mutex, RobustMutex)


@pytest.mark.parametrize("made", KINDS)
def test_one_has_it_at_a_time(made):
    lock = made()
    with Holder(lock) as holder:
        assert lock.locked()
        assert not lock.acquire(block=False)
        assert not lock.acquire(timeout=0)
        assert not lock.acquire(timeout=-1)
        holder.lets_go()
        assert not lock.locked()
        assert lock.acquire(block=False)
        assert lock.locked()
        lock.release()
        assert lock.recovered == 0


@pytest.mark.parametrize("made", KINDS)
def test_f2_a_killed_holders_lock_is_free_and_this_can_be_told(made):
    lock = made()
    for number in range(1, 4):
        with Holder(lock) as holder:
            killed(holder.pid)
            assert not lock.locked()
            assert lock.acquire(timeout=LIMIT)
            assert lock.recovered == number
            lock.release()


@pytest.mark.parametrize("made", KINDS)
def test_f2_one_who_waits_for_ever_gets_a_killed_holders_lock(made):
    lock = made()
    with Holder(lock) as holder:
        waiter = forked(lock.acquire)
        os.kill(holder.pid, signal.SIGKILL)
        assert ended(waiter) == 0
        assert ended(holder.pid) == -signal.SIGKILL
    with lock:
        assert lock.recovered >= 1


def test_f33_a_later_process_with_a_dead_holders_number_is_not_taken_for_it():
    lock = Lock()
    pid = forked(lock.acquire)
    assert ended(pid) == 0
    tries = []

    def later():
        assert lock.acquire(timeout=LIMIT)
        assert lock.recovered == 1
        lock.release()

    while len(tries) < 50 and pid not in tries:
        try:
            with open("/proc/sys/kernel/ns_last_pid", "w", encoding="ascii") as last:
                last.write(str(pid - 1))
        except OSError:  # only root may choose numbers; any later process is as good then
            tries.append(pid)
        tries.append(forked(later))
        assert ended(tries[-1]) == 0


@pytest.mark.parametrize("made", KINDS)
def test_a_limit_is_kept(made):
    lock = made()
    with Holder(lock) as holder:
        began = time.monotonic()
        assert not lock.acquire(timeout=0.12)
        assert time.monotonic() - began >= 0.12
        killed(holder.pid)


@pytest.mark.parametrize("made", [Lock, FlockLock])
def test_who_would_wait_for_himself_is_told_so(made):
    lock = made()
    lock.acquire()
    assert not lock.acquire(block=False)
    assert not lock.acquire(timeout=0.01)
    with pytest.raises(RuntimeError, match="this thread has it"):
        lock.acquire()
    assert lock.locked()
    lock.release()
    with pytest.raises(ValueError, match="cannot release"):
        lock.release()


@pytest.mark.parametrize("made", [RLock, FlockRLock])
def test_an_rlock_is_released_as_often_as_it_was_acquired(made):
    lock = made()
    with lock, lock:
        lock.acquire()
        lock.release()
        assert ended(forked(lambda: lock.acquire(block=False) and os._exit(2))) == 0
    assert not lock.locked()
    with pytest.raises(AssertionError, match="cannot release"):
        lock.release()


@pytest.mark.parametrize("made", KINDS)
def test_its_owner_is_a_thread(made):
    lock, outcomes = made(), []

    def other():
        outcomes.append(lock.acquire(block=False))
        try:
            lock.release()
        except (ValueError, AssertionError):
            outcomes.append("refused")

    with lock:
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    assert outcomes == [False, "refused"]
    thread = threading.Thread(target=lock.acquire)
    thread.start()
    thread.join()
    if made in (Lock, RLock):  # the fallback sees the death of processes only
        assert lock.acquire(timeout=LIMIT), "the thread has ended, and its lock with it"
        lock.release()


def test_threads_exclude_each_other():
    lock, counted = Lock(), [0]

    def count():
        for _ in range(2000):
            with lock:
                before = counted[0]
                counted[0] = before + 1

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counted == [8000]


@pytest.mark.parametrize("made", KINDS)
def test_f7_a_child_forked_while_a_thread_has_it_waits_for_it_like_anybody(made):
    lock, taken, goes = made(), threading.Event(), threading.Event()

    def hold():
        with lock:
            taken.set()
            goes.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    taken.wait()
    child = forked(lambda: lock.acquire(timeout=LIMIT) or os._exit(2))
    goes.set()
    thread.join()
    assert ended(child) == 0
    assert lock.acquire(timeout=LIMIT)


def doubly(lock, answers):
    with lock:
        answers.send(lock.locked())
    answers.send(lock.acquire(timeout=0.01))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("made", KINDS)
def test_f11_it_goes_to_processes_of_every_start_method(method, made):
    context = multiprocessing.get_context(method)
    lock = made(ctx=context)
    here, there = context.Pipe()
    process = context.Process(target=doubly, args=(lock, there))
    process.start()
    assert here.poll(LIMIT)
    assert here.recv() is True
    assert here.poll(LIMIT)
    here.recv()
    process.join(LIMIT)
    assert process.exitcode == 0
    assert lock.acquire(timeout=LIMIT)


def test_s4_it_is_not_pickled_but_for_a_child():
    with pytest.raises(RuntimeError, match="inheritance"):
        pickle.dumps(Lock())


class Interruption(Exception):  # noqa: N818
    pass


@pytest.fixture
def interrupted():
    """Let SIGALRM raise an Interruption."""

    def interrupt(*_):
        raise Interruption

    before = signal.signal(signal.SIGALRM, interrupt)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("made", KINDS)
def test_a_signal_handler_that_raises_ends_the_wait(made, interrupted):
    lock = made()
    with Holder(lock) as holder:
        signal.setitimer(signal.ITIMER_REAL, 0.05, 0.05)
        with pytest.raises(Interruption):
            lock.acquire()
        signal.setitimer(signal.ITIMER_REAL, 0)
        holder.lets_go()
    assert lock.acquire(timeout=LIMIT)
    lock.release()


@pytest.mark.parametrize("made", [Lock, RLock])
def test_a_signal_handler_that_raises_anywhere_leaves_no_lock_behind(made, interrupted):
    lock = made()
    for number in range(300):
        with contextlib.suppress(Interruption):
            signal.setitimer(signal.ITIMER_REAL, 1e-6 * (number % 60 + 1))
            while True:
                lock.acquire()
                lock.release()
        if lock._mutex.mine():  # between the two
            lock.release()
        assert not lock.locked()


def test_a_lock_forgotten_while_it_is_held_does_not_break_what_comes_after():
    """The C library would write to where it was; the next one would crash."""

    def work():
        for _ in range(50):
            lock = Lock()
            lock.acquire()
            del lock
        gc.collect()
        for _ in range(50):
            with Lock():
                pass

    assert ended(forked(work)) == 0


def test_descriptors_and_memory_go_with_it():
    gc.collect()
    before = len(os.listdir("/proc/self/fd"))
    locks = [Lock() for _ in range(20)]
    assert len(os.listdir("/proc/self/fd")) > before
    del locks
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) == before
    lock = Lock()
    assert not os.get_inheritable(lock._mutex._memory.fd), "an exec does not take it along"


def test_a_mutex_that_is_no_mutex_is_an_error_and_no_wait():
    memory = Memory("broken", PAGE)
    mutex = RobustMutex(memory, 0, recursive=False)
    pid = forked(mutex.trylock)
    assert ended(pid) == 0
    assert mutex.trylock() == errno.EOWNERDEAD
    mutex.unlock()  # without having made it consistent
    with pytest.raises(OSError, match="cannot take a mutex"):
        mutex.lock(mutex.trylock(), None)


def test_no_time_is_spent_asleep_on_a_free_lock_while_waiters_are_killed():
    """A killed waiter takes the wake-up along that it was given: the others look by themselves."""
    lock = Lock()
    for _ in range(20):
        with Holder(lock) as holder:
            waiters = [forked(lambda: lock.acquire() and lock.release()) for _ in range(3)]
            select.select((), (), (), 0.002)
            os.write(holder.go, b".")
            os.kill(waiters[0], signal.SIGKILL)
            ended(waiters[0])
            assert all(ended(pid) == 0 for pid in (*waiters[1:], holder.pid))

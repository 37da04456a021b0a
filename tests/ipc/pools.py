"""What the tests of the pool have their workers do, and how they kill them."""

import contextlib
import os
import select
import signal
import time
from pathlib import Path

from supervisor.ipc.pidfd import open_pidfd, send_signal, wait

LIMIT = 40.0


def square(number):
    return number * number


def identity(given):
    return given


def add(one, other=0):
    return one + other


def pause(seconds):
    select.select((), (), (), seconds)
    return seconds


def fails_at(bad, number):
    if number == bad:
        raise ValueError(number)
    return number


def dies_at(bad, number, signum=signal.SIGKILL):
    if number == bad:
        os.kill(os.getpid(), signum)
    return number


def noted(folder, number, bad=None):
    """Leave a line for each run of each number."""
    with open(os.path.join(folder, str(number)), "a", encoding="ascii") as file:
        file.write("x")
    return dies_at(bad, number)


def runs(folder):
    return {int(path.name): path.stat().st_size for path in Path(folder).iterdir()}


def dies_once(folder, number):
    """Be killed at number 5, but only the first time."""
    mark = os.path.join(folder, "mark")
    if number == 5 and not os.path.exists(mark):
        os.close(os.open(mark, os.O_CREAT))
        os.kill(os.getpid(), signal.SIGKILL)
    return number


class Unpicklable:
    def __reduce__(self):
        raise RuntimeError("cannot be pickled")


class Explosive:
    """Is pickled well; whoever unpickles it raises, or dies."""

    def __init__(self, how):
        self.how = how

    def __reduce__(self):
        return self.how, ("%",)


def unloaded(_):
    raise LookupError("cannot be unpickled")


def killed_by_it(_):
    os.kill(os.getpid(), signal.SIGKILL)


def closed(pool):
    pool.close()
    pool.join()
    assert not pool._pool


def kill(worker):
    with contextlib.suppress(TypeError, ValueError, ProcessLookupError):  # gone meanwhile
        os.kill(worker.pid, signal.SIGKILL)


def kill_idle(pool):
    """Kill all workers, and wait until they are dead: until then one may still take a task."""
    for worker in list(pool._pool):
        with contextlib.suppress(TypeError, ValueError, ProcessLookupError):  # gone meanwhile
            fd = open_pidfd(worker.pid)
            send_signal(fd, signal.SIGKILL)
            assert wait(fd, LIMIT)
            os.close(fd)


def who_works(pool):
    """Return the pid of the worker that has begun an item."""
    manager = pool._manager
    end = time.monotonic() + LIMIT
    while time.monotonic() < end:
        for seat in manager.crew.seats():
            if manager.flight.claim(seat).word:
                return manager.crew._seats[seat].pid
        pause(0.005)
    raise AssertionError("nobody works")

"""Lets workers of a pool die at every bytecode of their loop; a program of its own.

    python sweep.py places|steps

Every place in the code is met once, or every step of some rounds of the loop. It is a small program
because it forks for each. Pools die side by side; each tells in a line of JSON how many deaths were
planned for it, and which did not come.
"""

import json
import os
import signal
import sys
from functools import partial

from supervisor.ipc import Pool, TaskCrashed
from supervisor.ipc.pidfd import open_pidfd, wait
from tests.ipc.deaths import Tracer, after, ended, forked
from tests.ipc.pools import LIMIT, closed, kill, pause, square

ROUNDS = 12  # of work in which a worker will have met its place, if it meets it at all
PARTS = 2
LONGEST = 3000.0  # seconds


def doom(fuse):
    """Let the worker that runs this die at a place, or at the step of that number."""
    fatal = tuple(fuse).__eq__ if isinstance(fuse, list) else after(fuse)
    Tracer(fatal).watch(sys._getframe(1))
    return os.getpid()


def note():
    """Let the worker that runs this note where it comes."""
    Tracer([].append).watch(sys._getframe(1))


def noted():
    return list(sys.gettrace().fatal.__self__)


def used(pool, number):
    pause(0.002 * (number % 3 == 2))  # so that its workers meet tasks at rest, and in full run
    assert pool.map_async(square, range(8), 2).get(LIMIT) == [n * n for n in range(8)]
    assert pool.apply_async(square, (number,)).get(LIMIT) == number * number


def made(workers):
    """Return a pool whose next workers look for a task a few times only before they sleep."""
    pool = Pool(workers, max_retries=1)
    pool._manager.flight.tasks._looks = 20
    used(pool, 0)
    renew(pool)
    return pool


def renew(pool):
    for worker in list(pool._pool):
        kill(worker)


def way():
    """Return the places that a young worker comes by, in their order."""
    with made(1) as pool:
        pool.apply(note)
        for number in range(3):
            used(pool, number)
        found = pool.apply(noted)
        closed(pool)
    return found


def dies(pool, fuse):
    """Use a pool until a worker of it has died; tell whether it has."""
    try:
        pid = pool.apply(doom, (fuse,))
        fd = open_pidfd(pid)
    except (TaskCrashed, ProcessLookupError):  # on its way back, or just after
        return True
    try:
        for number in range(ROUNDS):
            used(pool, number)
            if wait(fd, 0):
                return True
        signal.pidfd_send_signal(fd, signal.SIGKILL)
        return False
    finally:
        os.close(fd)


def dies_sooner_or_later(pool, fuse):
    if dies(pool, fuse):
        return True
    renew(pool)  # there are places that only a young worker comes by
    return dies(pool, fuse)


def sweep(fuses):
    with made(2) as pool:
        missed = [fuse for fuse in fuses if not dies_sooner_or_later(pool, fuse)]
        closed(pool)
    print(json.dumps({"planned": len(fuses), "missed": missed}), flush=True)


def main(what):
    steps = way()
    fuses = list(range(1, len(steps) + 1)) if what == "steps" else sorted(map(list, set(steps)))
    pids = [forked(partial(sweep, fuses[part::PARTS])) for part in range(PARTS)]
    sys.exit(any([ended(pid, LONGEST) for pid in pids]))  # noqa: C419 - all of them are waited for


if __name__ == "__main__":
    main(*sys.argv[1:])

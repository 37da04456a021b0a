"""Takes jobs from the database. Lesson: at least once, whatever is killed, by a lease.

A worker takes a job *until* a time, does it, and then marks it done. One that is killed in between
leaves the job taken; when its lease has run out the next worker takes it again. So no job is lost,
and a job may be done twice: make jobs that bear it. This service is a Python function that keepd
calls in a forked process (`python: services.worker:main`), which takes about 3 ms; a second
worker is one line in the YAML, `replicas: 2`.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import threading
import time

LEASE = 10.0  # seconds; longer than a job ever takes
TAKE = """
update jobs set state = 'taken', until = :until, tries = tries + 1
where number = (select number from jobs
                where state = 'waiting' or (state = 'taken' and until < :now)
                order by number limit 1)
returning number, text, tries
"""


def take(database: sqlite3.Connection) -> tuple[int, str, int] | None:
    """Return a job that is ours for LEASE seconds, if there is one."""
    now = time.time()
    with database:  # one transaction: no two workers take the same
        return database.execute(TAKE, {"now": now, "until": now + LEASE}).fetchone()


def work(text: str) -> str:
    """Do what a job asks: turn its text round, slowly."""
    time.sleep(0.1)
    return text[::-1]


def main(path: str = "jobs.sqlite3", pause: float = 0.5) -> None:
    """Do jobs until TERM; the one that has been begun is finished first."""
    name = os.environ.get("KEEPD_REPLICA", "worker")
    stopping = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    print(f"worker {name} looks for jobs in {path}", flush=True)
    with contextlib.closing(sqlite3.connect(path, timeout=5)) as database:
        while not stopping.is_set():
            job = take(database)
            if job is None:
                stopping.wait(pause)
                continue
            number, text, tries = job
            result = work(text)
            with database:
                database.execute("update jobs set state = 'done' where number = ?", (number,))
            again = f", at try {tries}" if tries > 1 else ""
            print(f"job {number} done{again}: {result}", flush=True)


if __name__ == "__main__":
    main()

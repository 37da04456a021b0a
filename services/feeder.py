"""Puts jobs into the database. Lesson: say READY=1 yourself when the work can begin.

`ready: notify` is sd_notify(3): one datagram to the socket that NOTIFY_SOCKET names. It takes six
lines and no library, and does nothing where nobody listens. The jobs come a few at a time, and not
faster than they are done.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sqlite3
import sys
import time

DATABASE = os.environ.get("JOBS_DB", "jobs.sqlite3")
PAUSE = float(os.environ.get("PAUSE", "1"))  # seconds between two jobs
MANY = 20  # waiting jobs are enough
KEPT = 1000  # done jobs are kept


def sd_notify(text: str) -> None:
    """Tell the supervisor, if there is one."""
    path = os.environ.get("NOTIFY_SOCKET")
    if path:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.connect("\0" + path[1:] if path[0] == "@" else path)
            sock.send(text.encode())


def feed(database: sqlite3.Connection) -> None:
    """Put one job, unless enough are waiting."""
    with database:  # one transaction
        waiting = database.execute("select count(*) from jobs where state != 'done'").fetchone()[0]
        if waiting < MANY:
            put = database.execute("insert into jobs (text) values (hex(randomblob(8)))")
            print(f"put job {put.lastrowid}", flush=True)
            database.execute("delete from jobs where number <= ?", (put.lastrowid - KEPT,))


def main() -> None:
    """Feed until TERM."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    with contextlib.closing(sqlite3.connect(DATABASE, timeout=5)) as database:
        database.execute(
            "select count(*) from jobs"
        )  # fails here, before READY, if it is not there
        sd_notify("READY=1\nSTATUS=feeding")
        while True:
            feed(database)
            time.sleep(PAUSE)


if __name__ == "__main__":
    main()

"""A oneshot that makes the database. Lesson: `restart: never`, and others wait for `completed`.

It may be run again at any time: what is there already is left as it is.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3

DATABASE = os.environ.get("JOBS_DB", "jobs.sqlite3")
SCHEMA = """
create table if not exists jobs (
    number  integer primary key,
    text    text    not null,
    state   text    not null default 'waiting',  -- waiting, taken, done
    until   real    not null default 0,          -- a taken job may be taken again after this
    tries   integer not null default 0
);
create index if not exists jobs_by_state on jobs (state, until);
"""


def main() -> None:
    """Make the database."""
    os.makedirs(os.path.dirname(DATABASE) or ".", exist_ok=True)
    with contextlib.closing(sqlite3.connect(DATABASE, timeout=5)) as database:
        database.execute("pragma journal_mode = wal")  # readers and one writer at a time
        database.executescript(SCHEMA)
        (count,) = database.execute("select count(*) from jobs").fetchone()
    print(f"{DATABASE} is ready, with {count} jobs from earlier", flush=True)


if __name__ == "__main__":
    main()

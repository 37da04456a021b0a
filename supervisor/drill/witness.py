"""A service that can tell whether it was treated well: what it says is numbered, and checked.

It holds a lock that no second instance, and no child that an earlier one has left, can share with
it; it notes how many lines it has got rid of; each line says by a checksum whether it is whole. It
stands alone: any interpreter runs it, as a command or as a function.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import random
import select
import signal
import struct
import zlib

COUNT = struct.Struct("=q")  # of the lines of a run, at its place in the file of counts
TICK = 10  # milliseconds
LINES = 3  # a tick
LAST = 200  # at once, when it is told to end


def line(name: str, run: int, number: int, width: int) -> bytes:
    """Return one line as bytes."""
    text = b"%s %d %d %s" % (name.encode(), run, number, b"x" * width)
    return b"%08x %s\n" % (zlib.crc32(text), text)


def main() -> None:
    """Print until killed or told to end, in the folder where the service starts."""
    name = f"{os.environ['KEEPD_SERVICE']}.{os.environ['KEEPD_REPLICA']}"
    run = int(os.environ["KEEPD_RUN"].rpartition(":")[2])
    lock = os.open(f"lock.{name}", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:  # somebody of another instance lives
        with open("doubles", "a", encoding="ascii") as file:
            file.write(f"{name} {run}\n")
        raise SystemExit(99) from None
    counts = os.open(f"counts.{name}", os.O_RDWR | os.O_CREAT, 0o600)
    dice, number, poll = random.Random(run), 0, select.poll()  # noqa: S311 - widths of lines
    child = _child()
    told: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: told.append(number))
    while True:
        last = bool(told)
        for _ in range(LAST if last else LINES):
            number += 1
            os.write(1, line(name, run, number, dice.randrange(150)))  # whole, or not at all
            os.pwrite(counts, COUNT.pack(number), run * COUNT.size)
        if last:
            return
        poll.poll(TICK)
        with contextlib.suppress(ChildProcessError):
            if os.waitpid(child, os.WNOHANG)[0]:
                child = _child()


def _child() -> int:
    """Return the pid of a child in a session of its own, which holds the lock as well."""
    pid = os.fork()
    if pid == 0:
        os.setsid()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        while True:
            signal.pause()
    return pid


if __name__ == "__main__":
    main()

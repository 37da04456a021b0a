"""Services that print numbered lines while the log writer is SIGKILLed."""

import os
import random
import select
import signal
import time
from dataclasses import dataclass

from supervisor.core.spec import Log
from supervisor.unix import process
from tests.logs.house import numbered


@dataclass
class Load:
    services: int
    lines: int  # of each
    log: Log
    bursts: int = 5  # of 500 lines are allowed between two kills
    width: int = 20  # of the longest
    limit: float = 50.0  # seconds for all of it

    @property
    def names(self):
        return [f"load/{number}" for number in range(self.services)]


def printer(fd, gate, load, seed):
    """Return a main that prints numbered lines, cut anywhere into writes of any length.

    500 of them for each byte that it gets from the gate.
    """

    def main():
        dice = random.Random(seed)
        for first in range(0, load.lines, 500):
            os.read(gate, 1)
            text = numbered(first, min(first + 500, load.lines), load.width)
            while text:
                text = text[os.write(fd, text[: dice.choice((7, 100, 3000, 30000))]) :]
        return 0

    return main


def under_fire(house, load, after, wrap=lambda main: main):
    """Let all print and be written; return how often the writer was killed meanwhile.

    Each time `after(dice)` seconds after it is back; `wrap` is for those that come after the first.
    """
    dice = random.Random(1)
    fds = {name: house.relay.open(name, 1, load.log) for name in load.names}
    house.start_writer()
    gate, opener = os.pipe()
    pids = {
        process.fork("printer", printer(fd, gate, load, name), (fd, gate)): name
        for name, fd in fds.items()
    }
    kills, end = 0, time.monotonic() + load.limit
    try:
        while any(house.is_open(name, 1) for name in load.names):
            assert time.monotonic() < end, f"not written in time, after {kills} kills"
            house.until(lambda: house.relay.writer_pid == house.pid)
            os.write(opener, b"." * load.bursts)
            house.hear(after(dice))
            bury(house, pids)
            house.kill_writer()
            house.start_writer(wrap)
            kills += 1
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        os.close(gate)
        os.close(opener)
    return kills


def bury(house, pids):
    """End the run of each service that has printed all."""
    for pid in list(pids):
        gone, status = os.waitpid(pid, os.WNOHANG)
        if gone:
            assert status == 0
            house.relay.end(pids.pop(pid), 1)


def end_of(pid):
    """Wait for a child's end, with a limit; return its exit code."""
    pidfd = os.pidfd_open(pid)
    ended, _, _ = select.select((pidfd,), (), (), 30.0)
    os.close(pidfd)
    if not ended:
        os.kill(pid, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert ended, "did not end by itself"
    return code

"""Ways to die for processes of the tests, at places that the test chooses."""

import gc
import itertools
import os
import select
import signal
import sys
import time
import traceback
from functools import partial
from pathlib import Path

import supervisor.ipc

LIMIT = 30.0  # seconds after which something hangs
HOUSE = str(Path(supervisor.ipc.__file__).parent)


def forked(work):
    """Fork a process that does the work and exits: 0, or 1 with a traceback."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    gc.freeze()  # or to collect its own would copy all that the parent has
    try:
        work()
        code = 0
    except BaseException:  # noqa: BLE001 - whatever it is, the parent must not be run twice
        traceback.print_exc()
    os._exit(code)


def ended(pid, limit=LIMIT):
    """Return the exit code of a child, negative for a signal; it is killed if it hangs."""
    fd = os.pidfd_open(pid)
    try:
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        hangs = not poll.poll(limit * 1000)
        if hangs:
            os.kill(pid, signal.SIGKILL)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        assert not hangs, f"process {pid} hangs"
        return code
    finally:
        os.close(fd)


def killed(pid):
    """Kill a child, which must be alive and well until then."""
    os.kill(pid, signal.SIGKILL)
    code = ended(pid)
    assert code == -signal.SIGKILL, f"process {pid} had ended by itself: {code}"


def paused(seconds):
    """Let time pass, for those whom chance shall meet at any point of their work."""
    select.select((), (), (), seconds)


def until(holds, limit=LIMIT):
    """Wait for something that another process brings about."""
    end = time.monotonic() + limit
    while not holds():
        assert time.monotonic() < end, "it never came about"
        paused(0.001)


class Tracer:
    """Kills its own process before a bytecode of a library for which `fatal` holds.

    `fatal` is asked with the place of each: the code's name and line, and the offset in it.
    """

    def __init__(self, fatal, house=HOUSE):
        self.fatal, self.house = fatal, house

    def __call__(self, frame, event, arg):
        code = frame.f_code
        if not code.co_filename.startswith(self.house):
            return None
        frame.f_trace_opcodes = True
        if event == "opcode" and self.fatal((code.co_qualname, code.co_firstlineno, frame.f_lasti)):
            os.kill(os.getpid(), signal.SIGKILL)
        return self

    def run(self, work):
        sys.settrace(self)
        try:
            work()
        finally:
            sys.settrace(None)

    def watch(self, frame):
        """Watch the library from now on, also where it is in the middle of calling this."""
        while frame is not None and frame.f_code.co_filename.startswith(self.house):
            frame.f_trace, frame.f_trace_opcodes = self, True
            frame = frame.f_back
        sys.settrace(self)


def after(count):
    """Return what holds for bytecode number `count` and those behind it."""
    numbers = itertools.count(1)
    return lambda _: next(numbers) >= count


def each_bytecode(work, step=1):
    """Yield 1, 2, 3 … after a child was killed at that bytecode of the work, till one gets through.

    The caller sets up before, and looks at what is left after, each of them. The last one yielded
    is the number of the first that was not killed, negated.
    """
    last = 1
    while True:
        code = ended(forked(partial(Tracer(after(last)).run, work)))
        if code == 0:
            yield -last
            return
        assert code == -signal.SIGKILL
        yield last
        last += step

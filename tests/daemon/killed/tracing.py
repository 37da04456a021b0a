"""ptrace for tests: a process is killed at its Nth system call, or held in its birth.

All of it is done by the one thread of the test, which waits for nothing but those that it traces.
"""

import contextlib
import ctypes
import json
import os
import signal
import time

from supervisor.control.client import Client
from supervisor.control.messages import request
from tests.daemon.harness import LIMIT, kill

CONT, DETACH, SYSCALL, SETOPTIONS = 7, 17, 24, 0x4200
GETEVENTMSG, SEIZE, INTERRUPT, LISTEN, GET_SYSCALL_INFO = 0x4201, 0x4206, 0x4207, 0x4208, 0x420E
SYSGOOD, BIRTHS = 1, 0b11110  # fork, vfork, clone, exec
BORN, EXECUTED, STOPPED = {1, 2, 3}, 4, 128  # events
WALL = 0x40000000
ENTRY = 1
FOLLOW = 150  # calls of a newborn, which may never execute anything: it may be a function
QUIET = 0.15  # seconds without a call, after which a step is over

_ptrace = ctypes.CDLL(None, use_errno=True).ptrace
_ptrace.argtypes = (ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p)
_ptrace.restype = ctypes.c_long


def ptrace(request, pid, first=0, second=0):
    if _ptrace(request, pid, first, second) < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def enters(pid):
    """Tell whether a process that has stopped at a system call is about to begin it."""
    room = ctypes.create_string_buffer(88)
    ptrace(GET_SYSCALL_INFO, pid, len(room), ctypes.addressof(room))
    return room.raw[0] == ENTRY


def ask(one, word, key):
    """Ask keepd for something, and do not wait for the answer: who is to give it stands still."""
    client = Client.connect(str(one.run_dir / "control.sock"))
    asked = request(1, word, {"names": [key]})
    client._sock.sendall(json.dumps(asked).encode() + b"\n")
    return client


class Tracer:
    """Counts the system calls of some, and kills one of them, or another, at the Nth."""

    def __init__(self):
        self.calls = 0
        self.traced = {}  # pid: how many calls of it count still; None: it is not its calls
        self.stopped = {}  # those of them that stand still: the signal that they are to get
        self.born = []
        self.last = 0  # the call at which the victim is killed
        self.victim = None
        self.holds = False  # newborns are held before their first call

    def __enter__(self):
        self._before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD])
        return self

    def __exit__(self, *_):
        self.let_go()
        signal.pthread_sigmask(signal.SIG_SETMASK, self._before)

    def seize(self, pid, *, counts=True, births=False):
        """Trace a process; with `births` those that it bears as well, until their exec."""
        ptrace(SEIZE, pid, 0, SYSGOOD | (BIRTHS if births else 0))
        self.traced[pid] = 1 << 60 if counts else None
        ptrace(INTERRUPT, pid)
        while pid not in self.stopped:  # from here on nothing of it is missed
            self._look(pid, 0, goes_on=False)
        self._go_on(pid)

    def kills(self, victim, number, done=lambda: True):
        """Kill the victim at call `number`; False if all is quiet and done before.

        Without a victim it is the first that is born.
        """
        self.victim, self.last = victim, self.calls + number
        end = time.monotonic() + LIMIT
        while self.victim is None or self.victim in self.traced:
            moved = [pid for pid in list(self.traced) if self._look(pid, os.WNOHANG)]
            if not moved and signal.sigtimedwait([signal.SIGCHLD], QUIET) is None and done():
                return False
            assert time.monotonic() < end, f"no end of it after {self.calls} calls"
        return True

    def holds_newborn(self):
        """Let them go on until one has been born, which stands still from then on."""
        self.holds = True
        end = time.monotonic() + LIMIT
        while not (self.born and self.born[0] in self.stopped):
            if not [pid for pid in list(self.traced) if self._look(pid, os.WNOHANG)]:
                signal.sigtimedwait([signal.SIGCHLD], QUIET)
            assert time.monotonic() < end
        self.holds = False
        return self.born[0]

    def buries(self, pid, limit=LIMIT):
        """Wait until a traced process has ended, which nobody else hears before."""
        end = time.monotonic() + limit
        while pid in self.traced:
            if not self._look(pid, os.WNOHANG):
                signal.sigtimedwait([signal.SIGCHLD], QUIET)
            assert time.monotonic() < end, f"{pid} still lives after {limit} s"

    def let_go(self):
        """Trace nobody any more."""
        self.last = 0
        while self.traced:
            pid = next(reversed(self.traced))
            if pid not in self.stopped:
                with contextlib.suppress(ProcessLookupError):
                    ptrace(INTERRUPT, pid)
                self._look(pid, 0, goes_on=False)
            if pid in self.stopped and pid == next(reversed(self.traced)):
                self._detach(pid)

    def _detach(self, pid):
        number = self.stopped.pop(pid)
        del self.traced[pid]
        with contextlib.suppress(ProcessLookupError):  # killed as it stood there
            ptrace(DETACH, pid, 0, number)

    def _go_on(self, pid):
        request = CONT if self.traced[pid] is None else SYSCALL
        with contextlib.suppress(ProcessLookupError):
            ptrace(request, pid, 0, self.stopped.pop(pid))

    def _look(self, pid, options, *, goes_on=True):
        """Take the news of one; tell whether there were any."""
        found, status = os.waitpid(pid, options | WALL)
        if not found:
            return False
        if not os.WIFSTOPPED(status):
            del self.traced[pid]
            self.stopped.pop(pid, None)
            return True
        number, event = os.WSTOPSIG(status), status >> 16
        self.stopped[pid] = 0 if event or number & 0x80 else number
        if event in BORN:
            self._takes(pid)
        elif event == EXECUTED:
            self._detach(pid)
            return True
        elif number == signal.SIGTRAP | 0x80 and self._counts(pid):
            return True
        if goes_on and not (self.holds and pid in self.born):
            self._go_on(pid)
        return True

    def _takes(self, parent):
        room = ctypes.c_ulong()
        ptrace(GETEVENTMSG, parent, 0, ctypes.addressof(room))
        child = room.value
        self.born.append(child)
        self.traced[child] = FOLLOW
        if self.victim is None and self.last:  # and whom it bears is nobody's business
            self.victim, self.traced[child] = child, 1 << 60
            self._look(child, 0, goes_on=False)
            ptrace(SETOPTIONS, child, 0, SYSGOOD)
            self._go_on(child)

    def _counts(self, pid):
        """Count a call; tell whether there is nothing more to be done with who has called."""
        left = self.traced[pid]
        with contextlib.suppress(ProcessLookupError):
            if left is None or not self.last or not enters(pid):
                return False
        self.calls += 1
        self.traced[pid] = left - 1
        if self.calls == self.last and self.victim is not None:
            kill(self.victim)
        if left <= 1:
            self._detach(pid)
            return True
        return False

"""One supervisor with its services, from its launch until nothing of it is left.

All that is left of it becomes our child, since we are a subreaper, and is ended by its pid.
"""

import contextlib
import os
import select
import shutil
import signal
import struct
import subprocess
import tempfile
import time
from dataclasses import dataclass

from . import figures, peers

RECORD = struct.Struct("<IIQ")
_ENDING = 30.0  # seconds for a supervisor to end by itself
_ROUNDS = 50


@dataclass(frozen=True, slots=True)
class Born:
    """What a service told of itself; `at` on CLOCK_MONOTONIC, in seconds."""

    id: int
    pid: int
    at: float


class Run:
    """with Run(peer, tools, count) as run: ..."""

    def __init__(self, peer, tools, count):
        self.peer = peer
        self.count = count
        self.folder = tempfile.mkdtemp(prefix="bench.")
        self._memory = tempfile.mkdtemp(prefix="bench.", dir="/dev/shm")  # as /run is
        fifo = f"{self.folder}/told"
        os.mkfifo(fifo)
        self._told = os.open(fifo, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        self.born = []
        hidden = peers.group_mount() if peer.hides_groups else ""
        argv = peer.argv(peers.Site(self.folder, self._memory, tools, fifo, count))
        self._out = open(f"{self.folder}/out", "wb")  # noqa: SIM115 - closed with the run
        # Not the shell's PYTHON…: keepd is what is measured, by the interpreter we are run by.
        env = {key: text for key, text in os.environ.items() if not key.startswith("PYTHON")}
        self.child = subprocess.Popen(
            [tools.launch, fifo, hidden, *argv],
            stdin=subprocess.DEVNULL,
            stdout=self._out,
            stderr=self._out,
            start_new_session=True,
            env=env,
        )
        self._pidfd = os.pidfd_open(self.child.pid)
        self.launched = 0.0

    def __enter__(self):
        try:
            self.launched = self.next_born(10.0).at
        except TimeoutError:
            self.__exit__()
            raise
        return self

    def next_born(self, limit):
        """Wait for one service to be born; TimeoutError."""
        poll = select.poll()
        poll.register(self._told, select.POLLIN)
        if not poll.poll(limit * 1000):
            raise TimeoutError(f"{self.peer.name}: no service came; {self.last_words()}")
        return self._take(1)[0]

    def wait_all(self, limit=120.0):
        """Wait until all services have been born; seldom looking, so as not to disturb."""
        end = time.monotonic() + limit
        while len(self.born) < self.count:
            ended = self.rest(0.01)
            with contextlib.suppress(BlockingIOError):
                self.born += self._take(1000)
            if ended or time.monotonic() > end:
                lacking = f"{len(self.born)} of {self.count} services"
                raise TimeoutError(f"{self.peer.name}: {lacking}; {self.last_words()}")

    def rest(self, seconds):
        """Wait so long; return True at once when the supervisor ends."""
        poll = select.poll()
        poll.register(self._pidfd, select.POLLIN)
        return bool(poll.poll(seconds * 1000))

    def services(self):
        """Return the pids of all that have ever been born."""
        return {each.pid for each in self.born}

    def tree(self):
        """Return all processes of it."""
        return [self.child.pid, *figures.tree(self.child.pid)]

    def own(self):
        """Return the processes of the supervisor itself."""
        services = self.services()
        return [pid for pid in self.tree() if pid not in services]

    def last_words(self):
        with open(f"{self.folder}/out", encoding="utf-8", errors="replace") as file:
            return file.read()[-500:]

    def _take(self, count):
        data = os.read(self._told, RECORD.size * count)
        return [Born(id_, pid, at / 1e9) for id_, pid, at in RECORD.iter_unpack(data)]

    def __exit__(self, *exc):
        self.child.terminate()
        self.rest(_ENDING)
        for _ in range(_ROUNDS):
            left = figures.tree(os.getpid())
            if not left:
                break
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self._reap()
        for fd in (self._told, self._pidfd):
            os.close(fd)
        self._out.close()
        shutil.rmtree(self.folder)
        shutil.rmtree(self._memory)

    def _reap(self):
        """Reap what is ours and dead; it has been killed, so that it does not last."""
        with contextlib.suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, 0)
                if pid == self.child.pid:
                    self.child.returncode = os.waitstatus_to_exitcode(status)

"""A master in small, for tests: real processes, and a list of what was reported of them."""

import os
import shutil
import signal
import socket
import sys
import tempfile
import time
from pathlib import Path

from supervisor.core.events import Exited, Gone, Kill, Spawn, Spawned, SpawnFailed, Terminate
from supervisor.core.spec import ServiceSpec
from supervisor.inherited import Inherited, Parent
from supervisor.kept import Keeping
from supervisor.processes import Processes
from supervisor.records import replace
from supervisor.runfiles import RunFile
from supervisor.runs import Place
from supervisor.ties import Ties
from supervisor.unix import kin, process, signals
from supervisor.unix.poller import Poller

LIMIT = 40.0  # seconds for what takes a moment on a quiet machine
KINDS = ("spawn", "set-up", "function")
PROGRAMS = str(Path(__file__).parent / "programs")
ENV = {"PATH": os.environ["PATH"], "PYTHONPATH": PROGRAMS}


class Fifos:
    """Streams that keep what was said."""

    def __init__(self, folder):
        self.folder = folder
        self.fds = {}
        self.said = {}
        os.makedirs(folder)

    def open(self, id, run, log):  # noqa: A002
        path = f"{self.folder}/{id}.{run}"
        os.makedirs(os.path.dirname(path), exist_ok=True)
        os.mkfifo(path)
        self.fds[id, run] = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
        return self.fds[id, run]

    def records(self, id, run, uid):  # noqa: A002
        return ""

    def read(self, id, run):  # noqa: A002
        key = (id, run)
        while key in self.fds:
            try:
                self.said[key] = self.said.get(key, b"") + os.read(self.fds[key], 65536)
            except BlockingIOError:
                break
        return self.said.get(key, b"").decode()

    def end(self, id, run):  # noqa: A002
        self.read(id, run)
        os.close(self.fds.pop((id, run)))


class World:
    def __init__(self, *, groups):
        self.dir = tempfile.mkdtemp(prefix="kt", dir="/tmp")
        self.events = []
        self.poller = Poller()
        self.streams = Fifos(f"{self.dir}/fifo")
        self.wake = signals.SignalPipe([signal.SIGCHLD])
        self.poller.watch(self.wake.fileno(), self._signalled)
        process.subreaper()
        place = Place(self.dir, "test", os.getcwd(), 512, groups=groups)
        self.anchor, self.its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        file = self.file = RunFile(self.dir)
        parent = Parent(list, lambda _pid: None, {})
        ties = Ties(file, Keeping(self.poller, self.its), Inherited(file, parent), {})
        self.processes = Processes(self.poller, self._report, self.streams, place, ties)

    def _signalled(self, _mask):
        self.wake.take()
        self.processes.deaths.child_died()

    def _report(self, id, report):  # noqa: A002
        self.events.append((id, report))

    def of(self, id, *types):  # noqa: A002
        return [r for i, r in self.events if i == id and (not types or isinstance(r, types))]

    def count(self, *types):
        return sum(isinstance(r, types) for _, r in self.events)

    def until(self, true, limit=LIMIT):
        """Turn the loop until something is true."""
        end = time.monotonic() + limit
        while not true():
            assert time.monotonic() < end, f"in vain; heard {self.events[-5:]}"
            self.poller.wait(0.02)

    def turn(self, seconds):
        """Turn the loop for so long: for what must not happen."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.poller.wait(0.02)

    def spec(self, kind="spawn", script="exec sleep 1000", **more):
        """Return a service that runs a shell script, born in one of the ways."""
        spec = ServiceSpec(name="web", command=("sh", "-c", script), env=ENV, cwd=os.getcwd())
        if kind == "set-up":
            spec = replace(spec, umask="022")
        if kind == "function":
            spec = replace(spec, command=(), python="callee:shell", args=(script,))
        return replace(spec, **more)

    def start(self, spec, id="web/0", run=1):  # noqa: A002
        self.processes.perform(id, spec, Spawn(run))
        self.until(lambda: self.of(id, Spawned, SpawnFailed)[-1:] and self.last_birth(id) == run)
        return self.of(id, Spawned, SpawnFailed)[-1]

    def last_birth(self, id):  # noqa: A002
        return self.of(id, Spawned, SpawnFailed)[-1].run

    def started(self, spec, id="web/0", run=1):  # noqa: A002
        """Start it, and return its pid."""
        assert self.start(spec, id, run) == Spawned(run)
        return self.processes.pid(id)

    def said(self, text, id="web/0", run=1):  # noqa: A002
        """Wait until the service has printed this; return all that it printed."""
        self.until(lambda: text in self.streams.read(id, run))
        return self.streams.read(id, run)

    def terminate(self, id="web/0", run=1, spec=None):  # noqa: A002
        self.processes.perform(id, spec or self.spec(), Terminate(run))

    def kill(self, id="web/0", run=1):  # noqa: A002
        self.processes.perform(id, self.spec(), Kill(run))

    def gone(self, id="web/0", run=1):  # noqa: A002
        """Wait for the last word of a run, and return it."""

        def last():
            return [r for r in self.of(id, Gone, SpawnFailed) if r.run == run]

        self.until(last)
        assert len(last()) == 1
        return last()[0]

    def last(self, id, run):  # noqa: A002
        """Return how the birth of this run ended, or None."""
        found = [r for r in self.of(id, Spawned, SpawnFailed) if r.run == run]
        return found[0] if found else None

    def over(self, id, run):  # noqa: A002
        return any(r.run == run for r in self.of(id, Gone, SpawnFailed))

    def exited(self, id="web/0", run=1):  # noqa: A002
        """Wait until the leader has ended and others are left."""
        self.until(lambda: any(r.run == run for r in self.of(id, Exited)))
        return next(r for r in self.of(id, Exited) if r.run == run)

    def left(self):
        """Return all living processes that belong to runs of this world."""
        found = []
        for name in os.listdir("/proc"):
            if not name.isdecimal() or int(name) == os.getpid():
                continue
            seen = kin.stat(int(name))
            if seen is None or seen.state in "ZX":
                continue
            ours = (kin.tag(int(name)) or "").startswith(self.dir + ":")
            if ours or self._has_fifo(name):
                found.append(int(name))
        return found

    def _has_fifo(self, pid):
        for fd in (1, 2):
            try:
                if os.readlink(f"/proc/{pid}/fd/{fd}").startswith(f"{self.dir}/fifo/"):
                    return True
            except OSError:
                continue
        return False

    def close(self):
        for key, run in list(self.processes._book.by_id.items()):
            self.processes.perform(key, run.spec, Kill(run.number))
        self.until(lambda: not self.streams.fds)
        assert self.left() == []
        self.processes.kill_strangers()
        self.processes.close()
        self.anchor.close()
        self.its.close()
        self.file.close()
        self.until(lambda: process.children() == [] or self.processes.deaths.child_died())
        self.poller.close()
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.close(self.wake._read)
        os.close(self.wake._write)
        shutil.rmtree(self.dir)


def status(pid, field):
    """Return a field of /proc/PID/status."""
    for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
        if line.startswith(field + ":"):
            return line.split(":", 1)[1].strip()
    return None


PYTHON = sys.executable

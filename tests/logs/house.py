"""A log path of its own for a test: the master's side here, real writers forked and killed."""

from __future__ import annotations

import contextlib
import gzip
import itertools
import os
import re
import resource
import signal
import socket
import time
from dataclasses import dataclass, field
from pathlib import Path

from supervisor.core.spec import Log
from supervisor.logs import writer
from supervisor.logs.relay import LogRelay
from supervisor.unix import process, rights
from supervisor.unix.poller import Poller

LIMIT = 30.0  # seconds; nothing here takes so long unless it hangs
STAMP = re.compile(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z ")


class Unkept:
    """Nobody keeps descriptors for us."""

    def keep(self, _name, _fd):
        """Leave it."""

    def drop(self, _name):
        """Leave it."""


@dataclass
class House:
    """run_dir and log_dir below `root`; close() leaves no process behind."""

    root: Path
    troubles: list[str] = field(default_factory=list)
    pid: int = 0

    def __post_init__(self):
        self.run_dir, self.log_dir = self.root / "run", self.root / "log"
        self.run_dir.mkdir(exist_ok=True)
        self.log_dir.mkdir(exist_ok=True)
        self.poller = Poller()
        places = (str(self.run_dir), str(self.log_dir))
        self.relay = LogRelay(self.poller, places, self.troubles.append, Unkept())

    def start_writer(self, wrap=lambda main: main):
        """Fork a log writer and attach it; `wrap` may make something else of its main."""
        ours, its = socket.socketpair()
        anchor, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        run_dir, log_dir = str(self.run_dir), str(self.log_dir)

        def main():
            return writer.main(theirs.fileno(), run_dir, log_dir)

        self.pid = process.fork("log writer", wrap(main), (theirs.fileno(),))
        theirs.close()
        rights.send(anchor, "master", its.fileno())
        its.close()
        anchor.close()  # the master is all that it has
        self._pidfd = os.pidfd_open(self.pid)
        self.poller.watch(self._pidfd, lambda _: self.poller.forget(self._pidfd))
        self.relay.attach(ours)

    def alive(self):
        """Tell whether the writer has not ended yet."""
        options = os.WEXITED | os.WNOHANG | os.WNOWAIT
        return os.waitid(os.P_PID, self.pid, options) is None

    def kill_writer(self):
        """SIGKILL it, wherever it is."""
        os.kill(self.pid, signal.SIGKILL)
        self.reap()

    @contextlib.contextmanager
    def frozen_writer(self):
        """Let the writer do nothing meanwhile."""
        os.kill(self.pid, signal.SIGSTOP)
        os.waitid(os.P_PID, self.pid, os.WSTOPPED)
        yield
        os.kill(self.pid, signal.SIGCONT)

    def reap(self):
        """Wait until the writer has ended; return its exit code."""
        self.until(lambda: not self.alive())
        self.poller.forget(self._pidfd)
        os.close(self._pidfd)
        _, status = os.waitpid(self.pid, 0)
        self.pid = 0
        return os.waitstatus_to_exitcode(status)

    def until(self, true, limit=LIMIT):
        """Hear the writer until true() holds."""
        end = time.monotonic() + limit
        while not true():
            assert time.monotonic() < end, f"waited in vain; troubles: {self.troubles}"
            self.poller.wait(0.005)

    def hear(self, seconds):
        """Hear the writer for so long."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self.poller.wait(left)

    def is_open(self, name, run):
        return (name, run) in self.relay._runs

    def print(self, name, data, run=1, log=None):
        """Let a run print and end, and wait for it to be in the files."""
        self.write(self.relay.open(name, run, log or Log()), data)
        self.end(name, run)

    def write(self, fd, data):
        """Write all of it, hearing the writer while the FIFO is full."""
        view = memoryview(data)
        os.set_blocking(fd, False)
        while view:
            try:
                view = view[os.write(fd, view) :]
            except BlockingIOError:
                self.poller.wait(0.005)

    def end(self, name, run=1):
        self.relay.end(name, run)
        self.until(lambda: not self.is_open(name, run))

    def finish(self):
        """End keepd's own stream too, and let the writer go; return its exit code."""
        done = []
        self.relay.finish(lambda: done.append(1))
        self.until(lambda: done)
        return self.reap()

    def paths(self, name):
        """Return a stream's files, the oldest first; of a rotated one the plain, while it is."""
        folder, _, stem = str(self.log_dir / name).rpartition("/")
        plain = {path.name: path for path in Path(folder).glob(f"{stem}.??????.log")}
        packed = {path.stem: path for path in Path(folder).glob(f"{stem}.??????.log.gz")}
        found = packed | plain
        rotated = [path for _, path in sorted(found.items())]
        return [*rotated, *(path for path in [Path(folder, f"{stem}.log")] if path.exists())]

    def text(self, name):
        """Return what is in a stream's files, the oldest first."""
        return b"".join(map(content, self.paths(name)))

    def lines(self, name):
        """Return the lines of a stream without their time stamps; each must have one."""
        lines = self.text(name).split(b"\n")
        assert lines.pop() == b"", "the log does not end with a whole line"
        stamps = [STAMP.match(line) for line in lines]
        assert all(stamps), [line for line, match in zip(lines, stamps, strict=True) if not match]
        return [line[match.end() :] for line, match in zip(lines, stamps, strict=True)]

    def close(self):
        if self.pid:
            self.kill_writer()
        self.relay.close()
        self.poller.close()


def content(path):
    """Return what is in a file, be it compressed just now; b"" if it was rotated just now."""
    for form in (path, path.with_name(path.name + ".gz")):
        with contextlib.suppress(FileNotFoundError):
            data = form.read_bytes()
            return gzip.decompress(data) if data.startswith(b"\x1f\x8b") else data
    return b""


@contextlib.contextmanager
def short_of_descriptors(house, left):
    """Let the writer, which must have nothing to do, open so many descriptors more."""
    house.hear(0.05)
    used = set(map(int, os.listdir(f"/proc/{house.pid}/fd")))
    most, limit = resource.prlimit(house.pid, resource.RLIMIT_NOFILE)
    free = sorted(set(range(most)) - used)[left]
    resource.prlimit(house.pid, resource.RLIMIT_NOFILE, (free, limit))
    yield
    resource.prlimit(house.pid, resource.RLIMIT_NOFILE, (most, limit))


def pieces(words, cuts):
    """Return the words in the pieces that cuts at these places make, none of them empty."""
    cuts = [0, *sorted(min(cut, len(words)) for cut in cuts), len(words)]
    return [words[a:b] for a, b in itertools.pairwise(cuts) if a < b]


def numbered(first, last, width=20):
    """Return lines that tell their number, of uneven lengths."""
    return b"".join(b"line %d %s\n" % (i, b"x" * (i % width)) for i in range(first, last))


def memory(pid):
    """Return the most memory that a process has ever had, in bytes."""
    (line,) = [
        x for x in process.whole(f"/proc/{pid}/status").split(b"\n") if x.startswith(b"VmHWM")
    ]
    return int(line.split()[1]) << 10


def print_some(house, fd, first, last):
    for at in range(first, last, 100):
        house.write(fd, numbered(at, at + 100))
        house.hear(0.001)

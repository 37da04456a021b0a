"""A real keepd, started as a user starts it, on a list of services given as text.

Everything lives in the test's own folder; what is started is ended, by pidfd, whatever the test
does. Waiting is on descriptors, or on a condition looked at again whenever keepd may have moved.
"""

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

from supervisor.control.client import Client

LIMIT = 20.0  # seconds: more than anything here takes on a busy machine


def until(condition, limit=LIMIT, every=0.01):
    """Return what `condition` returns once it is true; fail when it is not within the limit."""
    end = time.monotonic() + limit
    while True:
        found = condition()
        if found:
            return found
        assert time.monotonic() < end, f"not true within {limit} s: {condition}"
        select.poll().poll(every * 1000)


def alive(pid):
    """Tell whether the process exists and is no zombie."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[0] not in {b"Z", b"X"}
    except (FileNotFoundError, ProcessLookupError):
        return False


def tagged(run_dir):
    """Return the pids of all living processes that carry the tag of this runtime directory."""
    mark, found = f"KEEPD_RUN={run_dir}:".encode(), []
    for name in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError), open(f"/proc/{name}/environ", "rb") as file:
            if mark in file.read() and alive(int(name)):
                found.append(int(name))
    return found


class Keepd:
    """One keepd in the foreground of the test."""

    def __init__(self, folder, config, **options):
        self.folder = Path(folder)
        self.run_dir, self.log_dir = self.folder / "run", self.folder / "log"
        self.config = self.folder / "keepd.yaml"
        self.write(config)
        self.options = options
        self.process = None

    def write(self, config):
        head = f"version: 1\nname: test\nruntime_dir: {self.run_dir}\nlog_dir: {self.log_dir}\n"
        self.config.write_text(head + textwrap.dedent(config))

    def command(self, *words):
        return [sys.executable, "-m", "supervisor", "-c", str(self.config), *map(str, words)]

    def run(self, *words, limit=LIMIT):
        """Run one word to its end."""
        return subprocess.run(
            self.command(*words),
            capture_output=True,
            text=True,
            timeout=limit,
            check=False,
            cwd=Path(__file__).parents[2],
            stdin=subprocess.DEVNULL,
        )

    def up(self, *words, ready=True):
        """Start it in the foreground; with `ready`, return when all that is wanted is ready."""
        with open(self.folder / "stderr", "ab") as stderr, open(self.folder / "out", "ab") as out:
            self.process = subprocess.Popen(
                self.command("up", *words),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=stderr,
                cwd=Path(__file__).parents[2],
                start_new_session=True,
                **self.options,
            )
        until(self.answers)
        if ready:
            self.call("wait", {"for": "ready", "names": list(words), "timeout": LIMIT})
        return self

    def answers(self):
        assert self.process.poll() is None, f"keepd has ended: {self.said()}"
        try:
            return self.call("version")
        except Exception:  # it is not there yet
            return None

    def call(self, method, params=None, limit=LIMIT):
        client = Client.connect(str(self.run_dir / "control.sock"), limit)
        try:
            return client.call(method, params or {}, limit)
        finally:
            client.close()

    def status(self, *names):
        return self.call("status", {"names": list(names)})

    def replica(self, key):
        for one in self.status(key)["services"].values():
            return one["replicas"][0]
        raise AssertionError(key)

    def replicas(self):
        return [r for one in self.status()["services"].values() for r in one["replicas"]]

    def pid(self, key):
        return self.replica(key)["pid"]

    def kill(self, key, number=signal.SIGKILL):
        """Send a signal to the leader, by pidfd; return its pid."""
        pid = self.pid(key)
        with contextlib.suppress(ProcessLookupError):
            fd = os.pidfd_open(pid)
            try:
                signal.pidfd_send_signal(fd, number)
            finally:
                os.close(fd)
        return pid

    def becomes(self, key, state, limit=LIMIT, **more):
        """Wait until the replica is in a state (and its other fields are as given)."""

        def look():
            replica = self.replica(key)
            same = replica["state"] == state and all(replica[k] == v for k, v in more.items())
            return replica if same else None

        return until(look, limit)

    def log(self, key):
        path = self.log_dir / f"{key}.log"
        return path.read_text(errors="backslashreplace") if path.exists() else ""

    def lines(self, key):
        """Return the lines of a log in the text format, without their time."""
        return [line.split(" ", 1)[-1] for line in self.log(key).splitlines()]

    def said(self):
        """Return what keepd itself printed."""
        return (self.folder / "stderr").read_text() + (self.folder / "out").read_text()

    def helpers(self):
        """Return the pids of all processes of keepd itself."""
        daemon = self.status()["daemon"]
        return [daemon["pid"], daemon["master_pid"], daemon["log_writer_pid"]]

    def stop(self, number=signal.SIGTERM, limit=LIMIT):
        """Send a signal to the main pid, and return its exit code."""
        self.process.send_signal(number)
        return self.process.wait(limit)

    def end(self):
        """Leave nothing behind, whatever has happened."""
        if self.process is None:
            return
        if self.process.poll() is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.stop(limit=5)
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        for pid in tagged(self.run_dir):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def json(self, *words):
        return json.loads(self.run(*words, "--json").stdout)

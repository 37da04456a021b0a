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
import zlib
from pathlib import Path

from supervisor.control.client import Client, NoDaemon, Refused

LIMIT = 20.0  # seconds: more than anything here takes on a busy machine
PROGRAMS = Path(__file__).parent / "programs"
MOUNTS = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
GROUPS = next((Path(words[1]) for words in MOUNTS if words[2] == "cgroup2"), None)
# Before a command: it runs where the cgroups can be seen, and not be written.
WITHOUT_GROUPS = (
    *("unshare", "--mount", "sh", "-c"),
    'mount -o remount,bind,ro "$0" && exec "$@"',
    str(GROUPS),
)


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


def program(name, *words):
    """Return a command of one of our programs, as it stands in a config."""
    return json.dumps([sys.executable, "-IS", str(PROGRAMS / f"{name}.py"), *words])


def ends(pid, limit=LIMIT):
    """Wait until the process has ended; fail when it does not within the limit."""
    with contextlib.suppress(ProcessLookupError):
        fd = os.pidfd_open(pid)
        try:
            assert select.select([fd], [], [], limit)[0], f"{pid} still lives after {limit} s"
        finally:
            os.close(fd)


def kill(*pids, number=signal.SIGKILL):
    """Send a signal to processes of the test, by pidfd; those that are gone are skipped."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            fd = os.pidfd_open(pid)
            try:
                signal.pidfd_send_signal(fd, number)
            finally:
                os.close(fd)


def kill_at_once(*pids):
    """KILL processes in one instant: none of them can do anything about the death of another."""
    kill(*pids, number=signal.SIGSTOP)
    for pid in pids:
        until(lambda pid=pid: read(pid, "stat").rpartition(")")[2].split()[:1] in STILL)
    kill(*pids)


# Gone, dead, stopped; or in the kernel, as who waits for the exec of a newborn that is stopped
# itself: the signal meets it before anything else does.
STILL = ([], ["Z"], ["X"], ["T"], ["D"])


def read(pid, name):
    """Return /proc/PID/NAME as text; "" once the process is gone, or if it is not ours."""
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes().decode(errors="replace")
    except OSError:
        return ""


def opened(pid):
    """Return what a process has open, as paths; what it closes meanwhile is left out."""
    found = []
    with contextlib.suppress(OSError):
        for fd in os.listdir(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):
                found.append(os.readlink(f"/proc/{pid}/fd/{fd}"))
    return found


def children(pid):
    """Return the pids of the children of a process, zombies among them."""
    return [int(word) for word in read(pid, f"task/{pid}/children").split()]


def tagged(run_dir):
    """Return the pids of all living services of this runtime directory, and of what they started.

    They carry its tag, or print into one of its FIFOs.
    """
    mark, found = f"KEEPD_RUN={run_dir}:", []
    for name in filter(str.isdigit, os.listdir("/proc")):
        output = ""
        with contextlib.suppress(OSError):
            output = os.readlink(f"/proc/{name}/fd/1")
        ours = output.startswith(f"{run_dir}/fifo/") or mark in read(name, "environ")
        if ours and alive(int(name)):
            found.append(int(name))
    return found


class Keepd:
    """One keepd in the foreground of the test."""

    root = Path(__file__).parents[2]

    def __init__(self, folder, config, **options):
        self.folder = Path(folder)
        self.run_dir, self.log_dir = self.folder / "run", self.folder / "log"
        self.config = self.folder / "keepd.yaml"
        self.write(config)
        self.under = tuple(options.pop("under", ()))  # words before `keepd up`
        self.options = options
        self.process = None

    def write(self, config):
        head = f"version: 1\nname: test\nruntime_dir: {self.run_dir}\nlog_dir: {self.log_dir}\n"
        self.config.write_text(head + textwrap.dedent(config))

    def command(self, *words):
        return [sys.executable, "-m", "supervisor", "-c", str(self.config), *map(str, words)]

    def run(self, *words, limit=LIMIT):
        """Run one word to its end."""
        return self.run_with(None, *words, limit=limit)

    def run_with(self, environ, *words, limit=LIMIT):
        """Run one word to its end, in this environment."""
        return subprocess.run(
            self.command(*words),
            capture_output=True,
            text=True,
            timeout=limit,
            check=False,
            cwd=self.root,
            env=environ,
            stdin=subprocess.DEVNULL,
        )

    def up(self, *words, ready=True):
        """Start it in the foreground; with `ready`, return when all that is wanted is ready."""
        with open(self.folder / "stderr", "ab") as stderr, open(self.folder / "out", "ab") as out:
            options = {"stdin": subprocess.DEVNULL, "stdout": out, "stderr": stderr}
            options |= {"cwd": self.root, "start_new_session": True, **self.options}
            self.process = subprocess.Popen([*self.under, *self.command("up", *words)], **options)
        until(self.answers)
        if ready:
            self.call("wait", {"for": "ready", "names": list(words), "timeout": LIMIT})
        return self

    def up_detached(self):
        """Start it as a daemon; return when all is ready."""
        done = self.run("up", "-d")
        assert done.returncode == 0, done.stderr
        return self

    def answers(self):
        assert self.process.poll() is None, f"keepd has ended: {self.said()}"
        try:
            return self.call("version")
        except (NoDaemon, Refused):  # it is not there yet
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
        kill(pid, number=number)
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
        paths = (self.folder / "stderr", self.folder / "out", self.run_dir / "stderr")
        return "".join(path.read_text() for path in paths if path.exists())

    def helpers(self):
        """Return the pids of all processes of keepd itself."""
        return list(self.titles().values())

    def tells(self, text, limit=LIMIT):
        """Wait until the log of keepd's own events has this in it."""
        until(lambda: text in self.log("keepd"), limit)

    def titles(self):
        """Return the pid of each process of keepd itself by its title, as ps shows it."""
        daemon = self.status()["daemon"]
        pids = {daemon["pid"], *children(daemon["pid"]), *children(daemon["master_pid"])}
        named = {read(pid, "cmdline").partition("\0")[0]: pid for pid in pids}
        prefix = "keepd: "
        return {t.removeprefix(prefix): pid for t, pid in named.items() if t.startswith(prefix)}

    def group(self):
        """Return the folder of its cgroups, whether it exists or not."""
        return GROUPS / f"keepd.test.{zlib.crc32(os.fsencode(self.run_dir)):08x}"

    def stop(self, number=signal.SIGTERM, limit=LIMIT):
        """Send a signal to the main pid, and return its exit code."""
        self.process.send_signal(number)
        return self.process.wait(limit)

    def end(self):
        """Leave nothing behind, whatever has happened."""
        if self.process is not None and self.process.poll() is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.stop(limit=5)
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        kill_at_once(*self.orphans(), *tagged(self.run_dir))  # else one takes over from another
        if GROUPS and self.group().exists():
            until(lambda: "populated 0" in (self.group() / "cgroup.events").read_text(), limit=5)
            for folder, _, _ in os.walk(self.group(), topdown=False):
                os.rmdir(folder)

    def orphans(self):
        """Return the pids of keepd's own processes that hold something of its folder open."""
        found = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            ours = any(path.startswith(f"{self.folder}/") for path in opened(pid))
            if ours and read(pid, "cmdline").startswith("keepd: "):
                found.append(int(pid))
        return found

    def json(self, *words):
        return json.loads(self.run(*words, "--json").stdout)

"""A throw-away keepd for a drill, with witnesses for services: nobody's own are at risk.

It lives in a folder of its own. A guard ends it and removes the folder when we are gone, should we
be killed.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import sys
import tempfile
import time

from supervisor.control.client import Client, NoDaemon, Refused
from supervisor.ipc.pidfd import open_pidfd, wait
from supervisor.unix import kin, leftovers, process

from . import witness

TYPE_CHECKING = False  # see control/client.py
if TYPE_CHECKING:
    from collections.abc import Callable

_LIMIT = 30.0  # seconds
_PAUSE = 10  # milliseconds that who was killed has to be gone
_OURS = ("KEEPD_CONFIG", "KEEPD_RUNTIME_DIR", "NOTIFY_SOCKET", "FDSTORE", "WATCHDOG_USEC")
_APPEND = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
_LIST = """\
version: 1
name: drill
runtime_dir: {folder}/run
log_dir: {folder}/log
defaults:
  log: {{format: raw, max_size: 256KiB, max_files: 9999}}
  backoff: {{first: 50ms, factor: 1, limit: 50ms, jitter: 0}}
  stop: {{timeout: 5s}}
services:
  command: {{command: {command}, replicas: 2}}
  zygote: {{command: {command}, nice: 1}}
  function: {{python: "witness:main", cwd: {folder}}}
  checked: {{command: {command}, health: {{exec: ["true"], every: 500ms, failures: 1000}}}}
"""


class Scratch:
    """The folder, and the keepd in it; `up` is the launching word of the command line."""

    def __init__(self, up: Callable[[list[str]], int]) -> None:
        self._up = up
        self.folder = tempfile.mkdtemp(prefix="keepd-drill-")
        self.run_dir, self.log_dir = f"{self.folder}/run", f"{self.folder}/log"
        self.config = f"{self.folder}/keepd.yaml"
        with open(witness.__file__, encoding="utf-8") as file:
            source = file.read()
        command = [sys.executable, "-IS", f"{self.folder}/witness.py"]
        written = {"folder": json.dumps(self.folder)[1:-1], "command": json.dumps(command)}
        for name, text in (("witness.py", source), ("keepd.yaml", _LIST.format(**written))):
            with open(f"{self.folder}/{name}", "w", encoding="utf-8") as file:
                file.write(text)
        told, self._tell = os.pipe()
        self._guard = process.fork("drill", lambda: self._look_after(told), (told,))
        os.close(told)

    def up(self) -> bool:
        """Start keepd there, in the background; return whether all of it is ready."""
        pid = os.fork()
        if pid == 0:
            self._launch()
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0

    def _launch(self) -> None:
        code = 1
        try:
            os.close(self._tell)  # the guard waits for our end, not for that of who stays
            process.become("launcher")  # before it is at home in the folder: the guard ends it too
            for name in _OURS:
                os.environ.pop(name, None)
            os.dup2(os.open(f"{self.folder}/said", _APPEND, 0o600), 1)
            os.dup2(1, 2)
            code = self._up(["-c", self.config, "up", "-d"])
        finally:
            os._exit(code)

    def down(self) -> bool:
        """Stop all in order; return whether it has ended."""
        try:
            with Client.connect(f"{self.run_dir}/control.sock") as client:
                pidfd = open_pidfd(client.call("down", {})["pid"])
        except (NoDaemon, Refused, ProcessLookupError):
            return False
        try:
            return wait(pidfd, _LIMIT)
        finally:
            os.close(pidfd)

    def said(self) -> list[str]:
        """Return the last words of who could not start it."""
        with open(f"{self.folder}/said", encoding="utf-8", errors="backslashreplace") as file:
            return file.read().splitlines()[-5:]

    def doubles(self) -> list[str]:
        """Return what the witnesses have seen of each other."""
        with contextlib.suppress(FileNotFoundError), open(f"{self.folder}/doubles") as file:
            return [f"a witness was not alone: {line.strip()}" for line in file]
        return []

    def remove(self) -> None:
        """Leave nothing behind."""
        os.close(self._tell)
        os.waitpid(self._guard, 0)

    def _keepd(self) -> kin.Members:
        """Return who of keepd, or of those that are to become it, is at home in the folder."""
        found: kin.Members = {}
        for pid in kin.everyone():
            seen = kin.stat(pid) if kin.title(pid) and self._is_home_of(pid) else None
            if seen is not None and seen.state not in "ZX":
                found[pid] = seen.start
        return found

    def _is_home_of(self, pid: int) -> bool:
        with contextlib.suppress(OSError):
            fds = [f"/proc/{pid}/fd/{fd}" for fd in os.listdir(f"/proc/{pid}/fd")]
            for path in (f"/proc/{pid}/cwd", *fds):
                with contextlib.suppress(OSError):  # closed meanwhile
                    if f"{os.readlink(path)}/".startswith(f"{self.folder}/"):
                        return True
        return False

    def _look_after(self, told: int) -> int:
        poll = select.poll()
        poll.register(told, select.POLLIN)
        poll.poll()
        self.down()
        end = time.monotonic() + _LIMIT
        while self._keepd() and time.monotonic() < end:  # who was stopped heard nothing
            kin.kill_all(self._keepd)
            select.poll().poll(_PAUSE)
        with contextlib.suppress(OSError):
            leftovers.sweep_leftovers(self.run_dir, None, tuple)
        shutil.rmtree(self.folder, ignore_errors=True)
        return 0

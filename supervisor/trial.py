"""The code that is installed now, tried before it takes over: run as a process of its own.

It must import, read what the keepd that runs has written, and supervise a throw-away service in a
scratch directory from its start to its end. It says its version on stdout, as JSON; what is wrong
with it on stderr, and its exit code is not 0. Nothing of the keepd that runs is touched.
"""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time

from supervisor import __version__, anchor, runfiles
from supervisor.config import plan
from supervisor.control.client import Client, NoDaemon, Refused
from supervisor.unix import cgroup, process

LIMIT = 10.0  # seconds for all of it
_GLANCE = 20  # milliseconds between two looks whether it is up
_LIST = """\
version: 1
name: trial
runtime_dir: {folder}/run
log_dir: {folder}/log
services:
  witness: {{command: [sleep, "1000"], restart: never}}
"""
_KEEPD = (
    "import sys; sys.path[:0] = [sys.argv.pop(1)]; from supervisor.unix import process;"
    "process.end_with(int(sys.argv.pop(1))); from supervisor.cli.main import main; sys.exit(main())"
)


class Failed(Exception):  # noqa: N818 (it names what is the case)
    """The code cannot take over, for the reason given."""


def main(root: str, run_dir: str) -> int:
    """Try the code below `root` on the state in `run_dir`; return the exit code."""
    folder = f"{run_dir}/trial"
    shutil.rmtree(folder, ignore_errors=True)  # of one that was killed
    try:
        os.mkdir(folder, 0o700)
        _reads(run_dir)
        _supervises(root, folder)
    except (Failed, OSError, ValueError) as error:
        print(str(error), file=sys.stderr)  # noqa: T201 - that is what it is run for
        return 1
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    assert callable(anchor.resume)  # with it everything that a keepd imports is there
    print(json.dumps({"version": __version__}))  # noqa: T201
    return 0


def _reads(run_dir: str) -> None:
    """Read the plan in force and the notes of all replicas; ValueError, OSError."""
    with open(f"{run_dir}/applied.json", "rb") as file:
        plan.decode(file.read())
    runfiles.check(run_dir)


def _supervises(root: str, folder: str) -> None:
    config = f"{folder}/keepd.yaml"
    with open(config, "w", encoding="utf-8") as file:
        file.write(_LIST.format(folder=folder))
    env = {k: v for k, v in os.environ.items() if not k.startswith(("KEEPD_", "NOTIFY_SOCKET"))}
    env[cgroup.GUEST] = "1"  # the unit's groups are those of the keepd that runs
    command = [sys.executable, "-c", _KEEPD, root, str(os.getpid()), "-c", config, "up"]
    with open(f"{folder}/said", "wb") as said:
        keepd = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=said, stderr=said, env=env
        )
    try:
        _comes_up(keepd, f"{folder}/run/control.sock")
        keepd.send_signal(signal.SIGTERM)
        code = keepd.wait(LIMIT)
        if code != 0:
            raise Failed(f"a throw-away keepd ended with {code}{_words(folder)}")
    except subprocess.TimeoutExpired:
        raise Failed(f"a throw-away keepd does not end{_words(folder)}") from None
    finally:
        keepd.kill()
        keepd.wait()


def _comes_up(keepd: subprocess.Popen[bytes], path: str) -> None:
    """Return when the throw-away service runs and is seen to; raises Failed."""
    end, why = time.monotonic() + LIMIT, "it does not answer"
    while time.monotonic() < end:
        if keepd.poll() is not None:
            folder = os.path.dirname(os.path.dirname(path))
            raise Failed(f"a throw-away keepd ended with {keepd.returncode}{_words(folder)}")
        try:
            with Client.connect(path) as client:
                status = client.call("status", {"names": ["witness"]}, 1.0)
        except (NoDaemon, Refused, OSError) as error:
            why = str(error)
        else:
            replica = status["services"]["witness"]["replicas"][0]
            if replica["state"] == "RUNNING" and process.start_time(replica["pid"]):
                return
            why = f"its service is {replica['state']}"
        select.poll().poll(_GLANCE)
    raise Failed(f"a throw-away keepd does not come up: {why}")


def _words(folder: str) -> str:
    with open(f"{folder}/said", encoding="utf-8", errors="replace") as file:
        said = file.read().strip()
    return f": {said[-1000:]}" if said else ""

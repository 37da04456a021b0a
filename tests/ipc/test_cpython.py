"""CPython's own tests of multiprocessing, pointed at our classes.

They come with the interpreter (Debian: libpython3-testsuite). Each class of them runs in a process
group of its own, with a time limit, and all that it leaves behind is killed with it.
"""

import contextlib
import importlib.util
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

RUNNER = Path(__file__).with_name("cpython.py")
ROOT = Path(__file__).parents[2]
LIMIT = 150.0  # seconds for a class
FEEDER = "put() raises what the pickling raises, where theirs prints it from a thread"
PIPE = "it looks into the pipe of theirs, of which there is none"
OTHERS = "CPython itself skips it under fork"
REFILL = "it calls _repopulate_pool(): ours replaces a worker when it ends, and not when asked"

LONGEST = ("fork", "_TestProcess")  # it begins first and is asked for last
CLASSES = [("spawn", "_TestQueue"), ("fork", "_TestQueue"), ("fork", "_TestPool")]
CLASSES += [("spawn", "_TestLock"), ("fork", "_TestLock"), ("fork", "_TestPoolWorkerLifetime")]
CLASSES += [("spawn", "TestSimpleQueue"), ("fork", "TestSimpleQueue")]
CLASSES += [("fork", "_TestPoolWorkerErrors"), ("fork", "_TestSubclassingProcess"), LONGEST]

PRIVATE = {  # what tests private machinery, or what is different on purpose
    "_TestQueue": {
        "test_queue_feeder_donot_stop_onexc": FEEDER,
    },
    "TestSimpleQueue": {"test_closed": PIPE},
    "_TestProcess": {
        "test_child_fd_inflation": OTHERS,
        "test_forkserver_sigint": OTHERS,
        "test_forkserver_sigkill": OTHERS,
    },
    "_TestPoolWorkerLifetime": {"test_pool_worker_lifetime": REFILL},
}


class Runs:
    """Runs of classes, which begin while earlier ones are still waited for: most of them wait."""

    def __init__(self, folder):
        self.folder = folder
        self.begun = {}

    def begin(self, method, name):
        """Begin a run, unless it has begun."""
        if (method, name) in self.begun:
            return
        with open(self.folder / f"{method}-{name}", "w", encoding="utf-8") as said:
            self.begun[method, name] = subprocess.Popen(
                [sys.executable, str(RUNNER), method, name, *PRIVATE.get(name, ())],
                cwd=ROOT,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
                stdout=said,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def outcome(self, method, name):
        """Return what one class came to, as cpython.py tells it, and all that was said."""
        self.begun[method, name].wait(LIMIT)
        said = (self.folder / f"{method}-{name}").read_text(encoding="utf-8")
        return json.loads(said.strip().splitlines()[-1]), said

    def end(self):
        for process in self.begun.values():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    runs = Runs(tmp_path_factory.mktemp("runs"))
    yield runs
    runs.end()


def test_cpythons_tests_are_there():
    assert importlib.util.find_spec("test._test_multiprocessing"), "install libpython3-testsuite"


@pytest.mark.timeout(LIMIT + 30)
@pytest.mark.parametrize(("method", "name"), CLASSES)
def test_cpythons_own_tests_pass(runs, method, name):
    at = CLASSES.index((method, name))
    for each in (LONGEST, *CLASSES[at : at + 3]):
        runs.begin(*each)
    outcome, said = runs.outcome(method, name)
    assert outcome["ran"], said
    assert not outcome["failed"], said
    assert not outcome["skipped"], said

"""The world of these tests, with cgroups and without."""

import signal

import pytest

from supervisor.unix import cgroup
from tests.unix.world import World


@pytest.fixture(params=["groups", "no groups"])
def world(request):
    """Return a world that is empty again in the end, or the test has failed."""
    found = World(groups=request.param == "groups")
    if request.param == "groups":
        assert found.processes.place.tree, found.processes.no_groups
    yield found
    found.close()


@pytest.fixture
def plain():
    """Return a world without cgroups."""
    found = World(groups=False)
    yield found
    found.close()


@pytest.fixture
def signals_kept():
    """Put every disposition back that a test changes, and the mask."""
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    before = {n: signal.getsignal(n) for n in signal.valid_signals()}
    yield
    for number, handler in before.items():
        if handler is not None and number not in {signal.SIGKILL, signal.SIGSTOP}:
            signal.signal(number, handler)
    signal.set_wakeup_fd(-1)
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def pytest_report_header():
    tree, why = cgroup._find("test", "/nowhere")
    return f"cgroups: {tree.base if tree else why}"

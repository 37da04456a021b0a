"""Signals wake the loop at once, and never run anything of ours in between."""

import os
import signal
import time

import pytest

from supervisor.ipc.pidfd import Child
from supervisor.unix import process, signals
from supervisor.unix.poller import Poller
from tests.unix.world import LIMIT

pytestmark = pytest.mark.usefixtures("signals_kept")


@pytest.fixture
def pipe():
    found = signals.SignalPipe([signal.SIGUSR1, signal.SIGUSR2])
    yield found
    signal.set_wakeup_fd(-1)
    os.close(found._read)
    os.close(found._write)


def test_f13_a_signal_that_comes_just_before_the_wait_ends_it_at_once(pipe):
    poller = Poller()
    heard = []
    poller.watch(pipe.fileno(), lambda _: heard.extend(pipe.take()))
    begin = time.monotonic()
    for _ in range(100):
        signal.raise_signal(signal.SIGUSR1)
        poller.wait(LIMIT)
    assert heard == [signal.SIGUSR1] * 100
    assert time.monotonic() - begin < LIMIT
    poller.close()


def test_f15_a_storm_of_signals_breaks_nothing_and_each_kind_is_told(pipe, tmp_path):
    with open(tmp_path / "out", "w", encoding="ascii") as out:
        for _ in range(20_000):
            signal.raise_signal(signal.SIGUSR1)
            out.write("x")
    signal.raise_signal(signal.SIGUSR2)
    assert set(pipe.take()) >= {signal.SIGUSR1}
    assert os.path.getsize(tmp_path / "out") == 20_000
    assert pipe.take() == []
    signal.raise_signal(signal.SIGUSR2)
    assert pipe.take() == [signal.SIGUSR2]


def test_f6_f16_f17_reset_undoes_what_a_careless_parent_left():
    careless = (signal.SIGCHLD, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM)
    for number in careless:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, signals.ALL)
    signals.reset()
    assert all(signal.getsignal(number) is signal.SIG_DFL for number in careless)
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == set()
    assert signal.getsignal(signal.SIGPIPE) is signal.SIG_IGN  # an error for us, not our death
    child = Child(process.fork("test", lambda: 3))
    assert child.join(LIMIT)
    assert child.exitcode == 3


def test_f24_a_newborn_helper_runs_no_handler_of_its_parent(tmp_path):
    mark = tmp_path / "mark"
    parent = os.getpid()

    def handler(*_):
        if os.getpid() != parent:
            mark.touch()

    signal.signal(signal.SIGUSR1, handler)
    for _ in range(100):
        pid = process.fork("test", lambda: signal.pause() or 0)
        os.kill(pid, signal.SIGUSR1)
        assert os.waitpid(pid, 0)[1] == signal.SIGUSR1
    assert not mark.exists()


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("TERM", 15),
        ("SIGTERM", 15),
        ("term", 15),
        ("9", 9),
        ("RTMIN+3", signal.SIGRTMIN + 3),
        ("HUP", 1),
    ],
)
def test_a_signal_has_a_name_or_a_number(name, number):
    assert signals.number(name) == number


@pytest.mark.parametrize("name", ["", "NONE", "0", "99", "TERM+x", "RTMIN+99", "-9", "TERM+"])
def test_what_is_no_signal_is_refused_in_words(name):
    with pytest.raises(ValueError, match="no such signal"):
        signals.number(name)

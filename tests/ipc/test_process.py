"""Process: multiprocessing's, with a sentinel that tells the truth."""

import gc
import multiprocessing
import os
import select
import signal
import sys
import threading
import warnings

import pytest

from supervisor.ipc.pidfd import Child, Exit, open_pidfd, peek, wait
from supervisor.ipc.process import Process

LIMIT = 40.0


def sleeps():
    signal.pause()


@pytest.fixture
def sleeper():
    process = Process(target=sleeps)
    process.start()
    yield process
    try:
        process.kill()
        process.join(LIMIT)
    except ValueError:  # closed by the test
        return


def readable(fd, limit=LIMIT):
    return bool(select.select([fd], [], [], limit)[0])


def test_it_is_a_process_as_multiprocessing_knows_it(sleeper):
    assert isinstance(sleeper, multiprocessing.Process)
    assert sleeper.is_alive()
    assert sleeper.exitcode is None
    assert sleeper in multiprocessing.active_children()
    assert "started" in repr(sleeper)
    sleeper.terminate()
    sleeper.join(LIMIT)
    assert not sleeper.is_alive()
    assert sleeper.exitcode == -15
    assert sleeper not in multiprocessing.active_children()
    assert "SIGTERM" in repr(sleeper)
    sleeper.close()
    with pytest.raises(ValueError, match="closed"):
        sleeper.is_alive()


@pytest.mark.parametrize(
    ("target", "args", "code"),
    [(len, ([],), 0), (sys.exit, (3,), 3), (sys.exit, (), 0), (os._exit, (9,), 9)],
)
def test_it_ends_with_the_code_of_its_function(target, args, code):
    process = Process(target=target, args=args)
    process.start()
    process.join(LIMIT)
    assert process.exitcode == code


def test_an_exception_is_a_traceback_and_1(capfd):
    process = Process(target=int, args=("x",))
    process.start()
    process.join(LIMIT)
    assert process.exitcode == 1


def test_f5_a_grandchild_does_not_hold_the_sentinel_back():
    ready, tell = os.pipe()

    def with_grandchild():
        pid = os.fork()
        if pid == 0:
            signal.pause()
            os._exit(0)
        os.write(tell, b"%d" % pid)

    process = Process(target=with_grandchild)
    process.start()
    pid = int(os.read(ready, 100))
    grandchild = open_pidfd(pid)
    assert readable(process.sentinel)
    process.join(LIMIT)
    assert process.exitcode == 0
    assert not wait(grandchild, 0)
    signal.pidfd_send_signal(grandchild, signal.SIGKILL)
    assert wait(grandchild, LIMIT)
    for fd in (ready, tell, grandchild):
        os.close(fd)


def test_f6_one_that_was_reaped_by_somebody_else_is_dead_with_a_code_that_nobody_knows(sleeper):
    sleeper.kill()
    os.waitpid(sleeper.pid, 0)
    assert not sleeper.is_alive()
    assert sleeper.exitcode is None
    sleeper.join()
    sleeper.close()


def test_f6_with_sigchld_ignored_it_is_dead_all_the_same(sleeper):
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        sleeper.kill()
        sleeper.join(LIMIT)
        assert not sleeper.is_alive()
        assert sleeper.exitcode is None
    finally:
        signal.signal(signal.SIGCHLD, before)


def test_join_has_a_limit(sleeper):
    sleeper.join(0)
    sleeper.join(0.01)
    assert sleeper.is_alive()


def test_f33_f35_a_signal_to_one_that_is_gone_reaches_nobody(sleeper):
    sleeper.kill()
    sleeper.join(LIMIT)
    sleeper.kill()
    sleeper.terminate()
    assert sleeper.exitcode == -9


def test_f10_what_is_not_flushed_is_written_once(tmp_path):
    def parent():
        sys.stdout = open(tmp_path / "out", "w", encoding="ascii")  # noqa: SIM115
        print("once", end="")
        process = Process(target=print, args=("child",), kwargs={"end": ""})
        process.start()
        process.join(LIMIT)
        sys.stdout.flush()

    outer = Process(target=parent)
    outer.start()
    outer.join(LIMIT)
    assert outer.exitcode == 0
    assert sorted(
        (tmp_path / "out").read_text(encoding="ascii").replace("once", "once ").split()
    ) == [
        "child",
        "once",
    ]


def test_f7_a_fork_with_threads_alive_is_warned_of():
    release = threading.Event()
    thread = threading.Thread(target=release.wait)
    thread.start()
    process = Process(target=len, args=([],))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        process.start()
    release.set()
    thread.join()
    process.join(LIMIT)
    assert any("threads are alive" in str(each.message) for each in caught)


@pytest.mark.parametrize(("daemon", "dies"), [(True, True), (False, False)])
def test_f25_a_daemon_dies_with_its_parent_and_only_a_daemon(daemon, dies):
    ready, tell = os.pipe()

    def middle():
        process = Process(target=sleeps, daemon=daemon)
        process.start()
        os.write(tell, b"%d" % process.pid)
        signal.pause()

    outer = Process(target=middle)
    outer.start()
    inner = open_pidfd(pid := int(os.read(ready, 100)))
    outer.kill()
    outer.join(LIMIT)
    assert wait(inner, LIMIT if dies else 0.2) == dies
    if not dies:
        signal.pidfd_send_signal(inner, signal.SIGKILL)
    assert wait(inner, LIMIT)
    for fd in (inner, ready, tell):
        os.close(fd)
    try:
        os.waitpid(pid, 0)  # where we have become its parent
    except ChildProcessError:
        return


def test_a_child_knows_whether_its_parent_lives():
    ready, tell = os.pipe()

    def child():
        os.write(tell, b"%d" % multiprocessing.parent_process().is_alive())

    process = Process(target=child)
    process.start()
    assert os.read(ready, 1) == b"1"
    process.join(LIMIT)
    os.close(ready)
    os.close(tell)


def test_f66_no_descriptor_is_lost():
    def lives():
        for _ in range(20):
            process = Process(target=len, args=([],))
            process.start()
            process.join(LIMIT)
            process.close()
        gc.collect()  # what other tests have left behind
        return len(os.listdir("/proc/self/fd"))

    assert lives() == lives()


def test_one_that_lives_cannot_be_closed_and_none_is_started_twice(sleeper):
    with pytest.raises(ValueError, match="still running"):
        sleeper.close()
    with pytest.raises(AssertionError, match="twice"):
        sleeper.start()
    assert not Process(target=sleeps).is_alive()
    assert Process(target=sleeps).exitcode is None


def test_a_child_is_read_from_its_pidfd_alone():
    pid = os.fork()
    if pid == 0:
        signal.pause()
        os._exit(0)
    child = Child(pid)
    assert child.is_alive()
    assert child.exitcode is None
    assert not child.join(0)
    assert peek(child.sentinel) is None
    child.kill()
    assert child.join(LIMIT)
    assert not child.is_alive()
    assert child.exitcode == -9
    child.kill()
    child.terminate()
    child.close()
    child.close()
    assert child.exitcode == -9


def test_a_peek_leaves_the_dead_unburied():
    pid = os.fork()
    if pid == 0:
        os._exit(6)
    fd = open_pidfd(pid)
    assert wait(fd, LIMIT)
    assert peek(fd) == peek(fd) == Exit(6)
    assert os.path.exists(f"/proc/{pid}")
    assert os.waitpid(pid, 0)[0] == pid
    assert peek(fd) == Exit(None)
    os.close(fd)

"""FileLock between real processes: the kernel gives it on, however its holder ends."""

import os
import signal
import time

import pytest

from supervisor.ipc.filelock import FileLock


def holder(path):
    """Return a process that has the lock until it is killed."""
    ready, tell = os.pipe()
    pid = os.fork()
    if pid == 0:
        lock = FileLock(path)
        lock.acquire()
        os.write(tell, b".")
        signal.pause()
        os._exit(0)
    os.read(ready, 1)
    os.close(ready)
    os.close(tell)
    return pid


def test_one_process_has_it_and_the_next_gets_it_when_it_is_killed(tmp_path):
    pid = holder(tmp_path / "lock")
    lock = FileLock(tmp_path / "lock")
    assert not lock.acquire(timeout=0)
    assert not lock.acquire(timeout=0.02)
    os.kill(pid, signal.SIGKILL)
    assert lock.acquire(timeout=20)
    assert lock.held
    os.waitpid(pid, 0)


def test_it_waits_for_ever_if_told_so(tmp_path):
    pid = holder(tmp_path / "lock")
    killer = os.fork()
    if killer == 0:
        os.kill(pid, signal.SIGKILL)
        os._exit(0)
    lock = FileLock(tmp_path / "lock")
    assert lock.acquire()
    os.waitpid(pid, 0)
    os.waitpid(killer, 0)


def test_a_release_lets_the_next_one_in(tmp_path):
    first, second = FileLock(tmp_path / "lock"), FileLock(tmp_path / "lock")
    with first:
        assert not second.acquire(timeout=0)
    assert second.acquire(timeout=0)
    assert not first.held


def test_a_directory_can_be_locked_and_nothing_is_left_in_it(tmp_path):
    with FileLock(tmp_path):
        assert not FileLock(tmp_path).acquire(timeout=0)
    assert os.listdir(tmp_path) == []


def test_a_forked_child_has_no_part_in_its_parents_lock(tmp_path):
    lock = FileLock(tmp_path / "lock")
    lock.acquire()
    ready, tell = os.pipe()
    child = os.fork()
    if child == 0:
        os._exit(0 if not lock.held and not lock.acquire(timeout=0.01) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert not FileLock(tmp_path / "lock").acquire(timeout=0)
    sleeper = os.fork()
    if sleeper == 0:
        os.write(tell, b".")
        signal.pause()
        os._exit(0)
    os.read(ready, 1)
    lock.release()
    assert FileLock(tmp_path / "lock").acquire(timeout=0), "a child keeps the lock"
    os.kill(sleeper, signal.SIGKILL)
    os.waitpid(sleeper, 0)
    os.close(ready)
    os.close(tell)


def test_f67_an_exec_does_not_inherit_it(tmp_path):
    with FileLock(tmp_path / "lock"):
        held = [
            fd
            for fd in map(int, os.listdir("/proc/self/fd"))
            if os.path.exists(f"/proc/self/fd/{fd}")
            and os.path.samefile(f"/proc/self/fd/{fd}", tmp_path / "lock")
        ]
        assert held
        assert not any(os.get_inheritable(fd) for fd in held)


def test_misuse_is_told(tmp_path):
    lock = FileLock(tmp_path / "lock")
    with pytest.raises(RuntimeError, match="cannot release"):
        lock.release()
    with lock, pytest.raises(RuntimeError, match="twice"):
        lock.acquire()
    with pytest.raises(FileNotFoundError):
        FileLock(tmp_path / "no" / "lock").acquire(timeout=0)


def test_a_limit_is_kept(tmp_path):
    with FileLock(tmp_path / "lock"):
        began = time.monotonic()
        assert not FileLock(tmp_path / "lock").acquire(timeout=0.1)
        assert time.monotonic() - began >= 0.1

"""Helpers of our own: forked with a clean slate, and named by more than a number."""

import os
import signal
import sys

import pytest

from supervisor.ipc.pidfd import Child
from supervisor.unix import kin, limits, process, signals
from tests.unix.world import LIMIT, status


def test_f67_a_helper_has_only_the_descriptors_it_was_given():
    given, secret = os.pipe()
    answer, tell = os.pipe()

    def main():
        names = [name for name in os.listdir("/proc/self/fd") if is_open(int(name))]
        os.write(tell, " ".join(sorted(names, key=int)).encode())
        return 0

    child = Child(process.fork("test", main, keep=(tell, given)))
    assert os.read(answer, 1000).decode() == " ".join(map(str, sorted({0, 1, 2, given, tell})))
    assert child.join(LIMIT)
    for fd in (given, secret, answer, tell):
        os.close(fd)


def is_open(fd):
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def test_a_helper_has_a_name_a_session_and_no_terminal():
    answer, tell = os.pipe()

    def main():
        os.write(tell, f"{os.getsid(0) == os.getpid()} {os.readlink('/proc/self/fd/0')}".encode())
        signal.pause()
        return 0

    pid = process.fork("test helper", main, keep=(tell,))
    assert os.read(answer, 1000) == b"True /dev/null"
    with open(f"/proc/{pid}/cmdline", encoding="ascii") as file:
        assert file.read().rstrip("\0 ") == "keepd: test helper"
    assert status(pid, "SigBlk") == "0" * 16
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    os.close(answer)
    os.close(tell)


def test_f10_what_the_parent_has_not_flushed_is_written_once(tmp_path):
    def child():
        sys.stdout = open(tmp_path / "out", "w", encoding="ascii")  # noqa: SIM115
        print("once", end="")
        os.waitpid(process.fork("test", lambda: 0), 0)
        return 0

    os.waitpid(process.fork("test", child), 0)
    assert (tmp_path / "out").read_text(encoding="ascii") == "once"


@pytest.mark.parametrize(
    ("main", "code"),
    [
        (lambda: 7, 7),
        (lambda: sys.exit(8), 8),
        (lambda: sys.exit("words"), 1),
        (sys.exit, 0),
        (lambda: 1 / 0, 70),
    ],
)
def test_a_helper_ends_with_its_code_whatever_happens(main, code, capfd):
    child = Child(process.fork("test", main))
    assert child.join(LIMIT)
    assert child.exitcode == code
    assert ("ZeroDivisionError" in capfd.readouterr().err) == (code == 70)


def test_f33_a_number_alone_is_nobody():
    child = Child(process.fork("test", lambda: signal.pause() or 0))
    start = process.start_time(child.pid)
    assert start
    assert kin.hold(child.pid, start - 1) is None
    fd = kin.hold(child.pid, start)
    assert fd is not None
    assert process.send_signal(fd, signal.SIGKILL)
    assert child.join(LIMIT)
    assert child.exitcode == -9
    assert process.send_signal(fd, signal.SIGKILL) is False
    assert child.send_signal(signal.SIGKILL) is False
    assert kin.hold(child.pid, start) is None
    assert process.start_time(child.pid) is None
    kin.signal_all({child.pid: start}, signal.SIGKILL)
    os.close(fd)
    child.close()


def test_children_are_listed_until_they_are_reaped():
    before = process.children()
    pid = process.fork("test", lambda: 0)
    assert set(process.children()) - set(before) == {pid}
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert pid in process.children()
    os.waitpid(pid, 0)
    assert process.children() == before
    assert process.children(pid) == []


def test_the_boot_has_an_id():
    assert len(process.boot_id()) == 36
    assert process.boot_id() == process.boot_id()


def test_f65_our_own_limit_is_raised_and_the_old_one_returned():
    def main():
        old = limits.raise_nofile()
        soft, hard = limits.resource.getrlimit(limits.resource.RLIMIT_NOFILE)
        if soft != hard:
            return 1
        with limits.lowered_nofile(64):
            if limits.resource.getrlimit(limits.resource.RLIMIT_NOFILE)[0] != 64:
                return 2
        raised = limits.resource.getrlimit(limits.resource.RLIMIT_NOFILE) == (hard, hard)
        return 0 if raised and old <= hard else 3

    child = Child(process.fork("test", main))
    assert child.join(LIMIT)
    assert child.exitcode == 0


def test_f67_what_we_were_started_with_is_made_private():
    read, write = os.pipe()
    os.set_inheritable(read, True)
    process.keep_private()
    assert not os.get_inheritable(read)
    assert signals.OURS_IGNORED
    os.close(read)
    os.close(write)

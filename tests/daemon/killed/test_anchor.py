"""What the anchor does when its helpers die, or cannot even begin."""

import os
import resource
import signal
import time

import pytest

from supervisor.control.client import NoDaemon, Refused
from tests.daemon.harness import LIMIT, alive, ends, kill, program, tagged, until
from tests.daemon.killed.fire import Fire
from tests.daemon.screens import Screen


def test_a_master_that_cannot_begin_ends_keepd_with_the_reason(keepd):
    daemon = keepd("services: {web: {command: [sleep, '1000']}}")
    os.makedirs(daemon.run_dir / "control.sock", 0o700)
    os.chmod(daemon.run_dir, 0o700)
    done = daemon.run("up")
    assert done.returncode == 1
    assert "cannot start keepd" in done.stderr
    assert "control.sock" in done.stderr


def test_a_killed_log_writer_is_back_and_no_service_notices(keepd):
    daemon = keepd("services: {web: {command: [sleep, '1000']}}").up()
    before = daemon.status()["daemon"]["log_writer_pid"]
    pid = daemon.pid("web/0")
    os.kill(before, signal.SIGKILL)
    after = until(
        lambda: (found := daemon.status()["daemon"]["log_writer_pid"]) != before and found
    )
    assert alive(after)
    assert daemon.replica("web/0")["pid"] == pid
    assert daemon.replica("web/0")["restarts"] == 0


def test_a_master_that_crashes_again_and_again_is_started_after_longer_and_longer_pauses(keepd):
    one = keepd("services: {web: {command: [sleep, '1000']}}").up()
    web, anchor, pauses = one.pid("web"), one.status()["daemon"]["pid"], []
    for _ in range(3):
        master = until(lambda: Fire(one, 1).master(anchor))
        until(lambda gone=master: Fire(one, 1).daemon()["master_pid"] == gone)
        resource.prlimit(master, resource.RLIMIT_CORE, (0, 0))
        kill(master, number=signal.SIGSEGV)
        ends(master)
        since = time.monotonic()
        until(lambda: Fire(one, 1).master(anchor))
        pauses.append(time.monotonic() - since)
    for pause, least in zip(pauses, (0.2, 0.6, 1.4), strict=True):
        assert least - 0.1 < pause
    until(Fire(one, 1).answers)
    one.becomes("web", "RUNNING", pid=web, run=1)


def test_logs_that_cannot_be_written_are_told_before_anything_starts(keepd):
    daemon = keepd("services: {web: {command: [sleep, '1000']}}")
    daemon.config.write_text(
        daemon.config.read_text().replace(str(daemon.log_dir), "/proc/nowhere/logs")
    )
    done = daemon.run("up")
    assert done.returncode == 1
    assert "cannot write logs into /proc/nowhere/logs" in done.stderr


SHELL = ("sh", "-c", '"$@"; exec sleep 1000', "sh")


@pytest.mark.parametrize("limit", [LIMIT, pytest.param(2, marks=pytest.mark.soak)])
def test_f25_on_a_terminal_nothing_outlives_the_anchor_for_long(either, limit):
    """Whatever it is deaf to: the shell that the terminal is of goes on."""
    with Screen() as screen:
        one = either(
            f"""
            defaults: {{ready: {{notify: true}}, stop: {{timeout: 1m}}}}
            services:
              web: {{command: {program("alone")}, replicas: 5}}
              deaf: {{command: {program("alone", "deaf", "child")}, replicas: 5}}
              prepared: {{command: {program("alone", "deaf")}, umask: "022"}}
            """,
            start_new_session=False,
            preexec_fn=lambda: os.login_tty(os.dup(screen.slave)),
        )
        one.under = (*one.under, *SHELL)
        one.up()
        ours, theirs = one.helpers(), tagged(one.run_dir)
        assert "terminal" in one.titles()
        assert len(theirs) == 16
        since = time.monotonic()
        kill(one.status()["daemon"]["pid"])
        for pid in (*theirs, *ours):
            ends(pid, limit=max(0, since + limit - time.monotonic()))
        print(f"all gone after {time.monotonic() - since:.2f} s")
        assert one.process.poll() is None
        one.tells("the anchor is gone: stopping everything")


def next_master(daemon, master):
    """Wait for another master than this; return its pid."""

    def look():
        try:
            pid = daemon.status()["daemon"]["master_pid"]
        except (NoDaemon, Refused):
            return None
        return pid if pid != master else None

    return until(look)


def test_what_a_killed_master_left_is_known_without_any_mark(keepd):
    """A function carries no tag in its environment, and this one's output leads elsewhere."""
    daemon = keepd(
        """
        services:
          quiet: {python: "tests.daemon.programs.functions:wait", log: {to: none}, cwd: CWD}
        """.replace("CWD", os.getcwd())
    ).up()
    before, master = daemon.pid("quiet/0"), daemon.status()["daemon"]["master_pid"]
    os.kill(master, signal.SIGKILL)
    next_master(daemon, master)
    replica = daemon.replica("quiet/0")
    assert (replica["pid"], replica["state"], replica["run"]) == (before, "RUNNING", 1)
    daemon.call("stop")
    daemon.becomes("quiet/0", "STOPPED")
    assert not alive(before)


def test_a_master_killed_while_all_is_stopping_brings_nothing_back(keepd):
    """Nor does it begin anew to wait: who was told to end has its time, and no more of it."""
    daemon = keepd("""
        services:
          deaf: {command: "trap '' TERM; while :; do sleep 1; done", shell: true,
                 stop: {timeout: 3s}}
        """).up()
    master = daemon.status()["daemon"]["master_pid"]
    daemon.call("down")
    os.kill(master, signal.SIGKILL)
    assert daemon.process.wait(20) == 0
    assert "deaf/0 started" not in daemon.log("keepd").partition("stopping")[2]
    assert "did not end in time" in daemon.log("keepd")


def test_f27_a_service_goes_on_printing_while_master_after_master_is_killed(keepd):
    daemon = keepd("""
        services:
          counts: {command: "i=0; while :; do i=$((i+1)); echo line $i; done", shell: true,
                   log: {format: raw}}
        """).up()
    for _ in range(3):
        master = daemon.status()["daemon"]["master_pid"]
        size = len(daemon.log("counts/0"))
        until(lambda size=size: len(daemon.log("counts/0")) > size)
        os.kill(master, signal.SIGKILL)
        next_master(daemon, master)
    assert daemon.replica("counts/0")["run"] == 1
    assert daemon.stop() == 0
    numbers = [int(line.split()[1]) for line in daemon.log("counts/0").splitlines()]
    assert numbers == list(range(1, len(numbers) + 1))

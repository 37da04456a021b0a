"""What the anchor does when its helpers die, or cannot even begin."""

import os
import signal

from tests.daemon.harness import alive, until


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

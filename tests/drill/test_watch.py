"""What a drill makes of the answers of `status`: whose restarts count, and who is missing."""

import os
import signal
import subprocess
import sys

from supervisor.drill import faults
from supervisor.drill.faults import Victim
from supervisor.drill.watch import Watch
from tests.cli.daemon import replica, whole
from tests.daemon.harness import until


def watching(*replicas):
    watch = Watch("/nowhere")
    watch.begin(whole(*replicas))
    return watch


def test_a_restart_that_no_hit_explains_is_told():
    watch = watching(replica("web/0"), replica("web/1"))
    watch.hit("web/0", 1)
    died = {"text": "killed by SIGKILL after 3 s"}
    watch.hear(whole(replica("web/0", run=2), replica("web/1", run=2, last_exit=died)))
    watch.hear(whole(replica("web/0", run=2), replica("web/1", run=2, last_exit=died)))
    assert watch.why == ["web/1 was restarted, which nobody asked for: killed by SIGKILL after 3 s"]
    assert (watch.lives["web/0"].asked, watch.lives["web/1"].asked) == (1, 0)


def test_two_restarts_for_one_hit_are_one_too_many():
    watch = watching(replica("web/0"))
    watch.hit("web/0", 1)
    watch.hear(whole(replica("web/0", run=2)))
    assert watch.why == []
    watch.hear(whole(replica("web/0", run=3)))
    assert len(watch.why) == 1


def test_a_birth_that_was_cut_short_is_no_restart():
    watch = watching(replica("web/0"))
    watch.hit("web/0", 1)
    watch.hear(whole(replica("web/0", "STARTING", run=2)))
    watch.hear(whole(replica("web/0", "BACKOFF", run=3)))
    watch.hear(whole(replica("web/0", run=4)))
    assert (watch.why, watch.lives["web/0"].asked) == ([], 1)


def test_a_job_that_is_run_again_is_told():
    watch = watching(replica("job/0", "EXITED"))
    watch.hear(whole(replica("job/0", run=2)))
    assert len(watch.why) == 1


def test_the_death_of_a_child_excuses_a_restart_but_not_that_of_a_witness():
    for strict in (False, True):
        watch = watching(replica("web/0"))
        watch.strict = strict
        watch.hit("web/0", 0)
        watch.hear(whole(replica("web/0", run=2)))
        assert len(watch.why) == strict
        watch.hear(whole(replica("web/0", run=3)))
        assert len(watch.why) == 1 + strict


def test_who_was_restless_before_is_not_held_against_keepd():
    watch = watching(replica("new/0", "BACKOFF"), replica("weak/0", restarts=7, uptime=3.0))
    watch.hear(whole(replica("new/0", run=2), replica("weak/0", run=9), replica("added/0")))
    watch.hear(whole(replica("added/0", run=2)))
    assert watch.why == []


def test_missing_is_who_was_fine_and_is_not_and_who_of_keepd_does_not_live():
    ours = {"pid": os.getpid(), "master_pid": os.getpid(), "log_writer_pid": os.getpid()}
    watch = watching(replica("web/0"), replica("web/1"), replica("old/0", "STOPPED"))
    status = whole(replica("web/0", "BACKOFF"), replica("web/1", "FATAL"), replica("old/0"))
    status["daemon"] |= ours
    assert watch.missing(status, ["web/1"]) == ["web/0 (BACKOFF)"]
    status["daemon"]["log_writer_pid"] = None
    assert watch.missing(status, ["web/0", "web/1"]) == ["log_writer"]


def test_two_runs_that_live_at_the_same_time_are_seen(tmp_path):
    (tmp_path / "fifo" / "web").mkdir(parents=True)
    watch, living = Watch(str(tmp_path)), []
    try:
        for run in (1, 2, 2):
            path = tmp_path / "fifo" / "web" / f"0.{run}"
            path.exists() or os.mkfifo(path)
            out = os.open(path, os.O_RDWR)
            command = [sys.executable, "-c", "import signal; signal.pause()"]
            living.append(subprocess.Popen(command, stdout=out, start_new_session=True))
            os.close(out)
            watch.look()
            if run == 1:
                assert not watch.doubles
        assert watch.doubles == {"web/0: runs 1 and 2 lived at the same time"}
    finally:
        for one in living:
            one.kill()
            one.wait()
    watch.doubles.clear()
    watch.look()
    assert not watch.doubles


def test_only_who_looks_like_it_is_hit():
    assert faults.hold(Victim("master", os.getpid(), "master")) is None


def test_who_is_stopped_goes_on_when_its_time_is_up():
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as one:
        pidfd = os.pidfd_open(one.pid)
        stop = faults.Stop(pidfd, 0.2)
        until(lambda: state(one.pid) == "T")
        until(stop.over)
        until(lambda: state(one.pid) != "T")
        assert faults.kill(pidfd)
        os.close(pidfd)
        assert one.wait() == -signal.SIGKILL


def state(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii") as file:
        return file.read().rpartition(")")[2].split()[0]

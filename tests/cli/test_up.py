"""Before anything starts: who may be this daemon, and what is left alone when we may not."""

import contextlib
import fcntl
import json
import os
import select
import stat
import time

import pytest

from supervisor import launch
from supervisor.cli import up
from supervisor.cli.outcome import Failure
from tests.cli.daemon import LIMIT, canned, keepd, served


@pytest.fixture
def config(tmp_path, run_dir):
    path = tmp_path / "keepd.yaml"
    path.write_text(
        f"version: 1\nname: test\nruntime_dir: {run_dir}\nlog_dir: {tmp_path}/log\n"
        "services:\n  web: {command: [sleep, '60'], replicas: 2}\n  job: {command: [sleep, '60']}\n"
    )
    return path


def everything(folder):
    """Return what is in a folder: names, contents, times."""
    return {
        entry.name: (entry.stat(follow_symlinks=False).st_mtime_ns, entry.inode())
        for entry in os.scandir(folder)
    }


def held(run_dir, text):
    """Hold the daemon's lock as a keepd of that pid would."""
    fd = os.open(run_dir / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.pwrite(fd, text, 0)
    return fd


@pytest.mark.parametrize("words", [("up",), ("up", "-d"), ("up", "web")])
def test_f72_a_second_daemon_is_refused_before_it_touches_anything(config, run_dir, socket, words):
    with served(socket, canned({"version": {"version": "first"}})):
        lock = held(run_dir, b"4242\n")
        (run_dir / "applied.json").write_text("the first one's")
        before = everything(run_dir)
        done = keepd("-c", config, *words)
        assert done.returncode == 1
        assert done.stderr == (
            "cannot start keepd: it is already running here (pid 4242); "
            "`keepd start NAME` is what you want\n"
        )
        assert everything(run_dir) == before
        assert "daemon first" in keepd("-c", config, "version").stdout
        os.close(lock)
    assert not (config.parent / "log").exists()


def test_f72_of_many_that_start_at_once_exactly_one_wins(tmp_path):
    run_dir = str(tmp_path / "fresh")
    told, tell = os.pipe()
    hold, release = os.pipe()
    pids = [_contender(run_dir, tell, hold, release) for _ in range(8)]
    os.close(tell)
    os.close(hold)
    verdicts = b""
    while len(verdicts) < len(pids) and select.select([told], [], [], LIMIT)[0]:
        verdicts += os.read(told, 64)
    os.close(release)
    for pid in pids:
        os.waitpid(pid, 0)
    os.close(told)
    assert sorted(verdicts) == sorted(b"W" + b"r" * 7)


def _contender(run_dir, tell, hold, release):
    """Fork one that tells W or r, and keeps what it has until all have told."""
    pid = os.fork()
    if pid == 0:
        try:
            os.close(release)
            try:
                launch.claim(run_dir)
                os.write(tell, b"W")
            except launch.Taken:
                os.write(tell, b"r")
            os.read(hold, 1)
        finally:
            os._exit(0)
    return pid


def test_f70_a_pid_left_in_the_lock_file_refuses_nobody_and_kills_nobody(run_dir):
    stranger = os.posix_spawn("/bin/sleep", ["sleep", "60"], os.environ)
    try:
        (run_dir / "lock").write_text(f"{stranger}\n")
        lock = launch.claim(str(run_dir))
        launch.sign(lock)
        assert (run_dir / "lock").read_text() == f"{os.getpid()}\n"
        assert os.waitpid(stranger, os.WNOHANG) == (0, 0)
        os.close(lock)
    finally:
        os.kill(stranger, 9)
        os.waitpid(stranger, 0)


def test_f70_the_lock_goes_with_its_holder_however_that_dies(run_dir):
    ready, tell = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            launch.sign(launch.claim(str(run_dir)))
            os.write(tell, b"!")
            select.select([], [], [], LIMIT)
        finally:
            os._exit(0)
    assert os.read(ready, 1) == b"!"
    with pytest.raises(launch.Taken) as taken:
        launch.claim(str(run_dir))
    assert taken.value.pid == pid
    os.kill(pid, 9)
    os.waitpid(pid, 0)
    os.close(launch.claim(str(run_dir)))
    os.close(ready)
    os.close(tell)


def test_the_lock_is_not_inherited_by_what_is_started(run_dir):
    lock = launch.claim(str(run_dir))
    pid = os.posix_spawn("/bin/sleep", ["sleep", "60"], os.environ)
    try:
        os.close(lock)
        assert any(_claims(run_dir) for _ in range(100_000))  # an exec may not be over yet
    finally:
        os.kill(pid, 9)
        os.waitpid(pid, 0)


def _claims(run_dir):
    try:
        os.close(launch.claim(str(run_dir)))
    except launch.Taken:
        return False
    return True


def test_the_plan_in_force_is_private_and_replaced_as_a_whole(run_dir):
    before = os.umask(0)
    try:
        launch.apply(str(run_dir), '{"first": 1}')
        with open(run_dir / "applied.json", encoding="ascii") as old:
            launch.apply(str(run_dir), "{}")
            assert old.read() == '{"first": 1}'
    finally:
        os.umask(before)
    assert (run_dir / "applied.json").read_text() == "{}"
    assert stat.S_IMODE(os.stat(run_dir / "applied.json").st_mode) == 0o600
    assert (run_dir / "applied.before.json").read_text() == '{"first": 1}'
    assert sorted(os.listdir(run_dir)) == ["applied.before.json", "applied.json"]


@pytest.mark.parametrize("mode", [0o755, 0o770, 0o711])
def test_s07_a_runtime_directory_that_others_can_enter_is_refused(config, run_dir, mode):
    run_dir.chmod(mode)
    done = keepd("-c", config, "up")
    assert done.returncode == 1
    assert done.stderr.startswith(f"cannot use {run_dir} as runtime directory: its mode {mode:04o}")
    assert "chmod 700" in done.stderr
    assert os.listdir(run_dir) == []


def test_s07_a_runtime_directory_that_is_a_symlink_is_refused(config, run_dir, tmp_path):
    target = tmp_path / "target"
    target.mkdir(mode=0o700)
    run_dir.rmdir()
    run_dir.symlink_to(target)
    done = keepd("-c", config, "up")
    assert done.returncode == 1
    assert done.stderr.endswith("as runtime directory: it is a symbolic link\n")
    assert os.listdir(target) == []


def test_s07_a_runtime_directory_of_another_user_is_refused(config, run_dir):
    theirs = "/proc"
    if os.geteuid() == 0:
        os.chown(run_dir, 65534, 65534)
        theirs = run_dir
    done = keepd("-c", config, "--runtime-dir", theirs, "up")
    assert done.returncode == 1
    assert "as runtime directory: it belongs to uid" in done.stderr


def test_the_runtime_directory_is_made_private_whatever_the_umask(tmp_path):
    before = os.umask(0)
    try:
        lock = launch.claim(str(tmp_path / "some" / "where"))
    finally:
        os.umask(before)
    os.close(lock)
    assert stat.S_IMODE(os.stat(tmp_path / "some" / "where").st_mode) == 0o700
    assert stat.S_IMODE(os.stat(tmp_path / "some").st_mode) == 0o755
    assert stat.S_IMODE(os.stat(tmp_path / "some" / "where" / "lock").st_mode) == 0o600


def test_a_bad_config_changes_nothing(config, run_dir):
    run_dir.rmdir()
    config.write_text(config.read_text().replace("command", "comand"))
    done = keepd("-c", config, "up", "-d")
    assert done.returncode == 2
    assert "did you mean 'command'?" in done.stderr
    assert not run_dir.exists()


def test_a_name_that_is_not_in_the_config_changes_nothing(config, run_dir):
    run_dir.rmdir()
    done = keepd("-c", config, "up", "wbe")
    assert done.returncode == 4
    assert done.stderr == f"cannot do that: no service in {config} is called 'wbe'\n"
    assert not run_dir.exists()


def test_in_the_background_it_returns_when_all_is_ready_and_leaves_at_down(config, run_dir):
    done = keepd("-c", config, "up", "-d")
    try:
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith(
            "ready: web/0 web/1 job/0; keepd runs in the background (pid "
        )
        daemon = json.loads(keepd("-c", config, "status", "--json").stdout)["daemon"]
        assert f"(pid {daemon['pid']})" in done.stdout
        assert (run_dir / "lock").read_text() == f"{daemon['pid']}\n"
        assert os.getsid(daemon["pid"]) == daemon["pid"]
        again = keepd("-c", config, "up", "-d")
        assert again.returncode == 1
        assert f"(pid {daemon['pid']})" in again.stderr
    finally:
        down = keepd("-c", config, "down")
    assert (down.returncode, down.stderr) == (0, "")
    assert keepd("-c", config, "status").returncode == 3


def test_in_the_background_what_does_not_become_ready_is_told_line_by_line(config):
    text = config.read_text().replace("job: {command: [sleep, '60']}", "job: {command: [nowhere]}")
    config.write_text(text)
    done = keepd("-c", config, "up", "-d", "--timeout", "3s")
    try:
        assert done.returncode == 5
        first, *rest = done.stderr.splitlines()
        assert first.startswith("cannot ")
        assert [line for line in rest if line.startswith("job/0 BACKOFF: ") and "nowhere" in line]
    finally:
        assert keepd("-c", config, "down").returncode == 0


def test_in_the_background_what_ends_at_once_is_told_with_its_last_words(run_dir):
    (run_dir / "stderr").write_text("cannot go on: no memory\n")
    pid = os.posix_spawn("/bin/sh", ["sh", "-c", "exit 70"], os.environ)
    with contextlib.closing(up._Child(pid, str(run_dir))) as child:
        with pytest.raises(Failure, match=r"cannot start keepd .*: it ended with 70") as failure:
            child.connected(time.monotonic() + LIMIT)
        assert failure.value.lines == ["cannot go on: no memory"]


def test_in_the_background_a_place_that_cannot_be_written_is_told(config, run_dir):
    (run_dir / "stderr").mkdir()
    done = keepd("-c", config, "up", "-d")
    assert done.returncode == 1
    assert done.stderr == f"cannot use {run_dir} as runtime directory: stderr: Is a directory\n"

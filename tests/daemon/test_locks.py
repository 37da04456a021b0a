"""Who is keepd here: the kernel's lock says it, never a number or a name left in a file."""

import hashlib
import os
import select
import stat
import subprocess
from pathlib import Path

import pytest

from tests.daemon.harness import LIMIT, alive, ends, kill_at_once, program, tagged, until

WEB = "services: {web: {command: [sleep, '1000']}}"
ALONE = f"services: {{web: {{command: {program('alone')}, ready: {{log: holds}}}}}}"
REFUSED = "cannot start keepd: it is already running here"
CROWD = 10


@pytest.fixture
def stranger():
    """A process of somebody else's whose name looks like an anchor's."""
    with subprocess.Popen(["keepd: anchor", "1000"], executable="/bin/sleep") as found:
        yield found
        found.kill()


def left_behind(one):
    """Kill all processes of keepd itself at once, so that nobody clears anything away."""
    titles = one.titles()
    kill_at_once(*[titles[title] for title in sorted(titles)])  # the anchor first
    if one.process is not None:
        one.process.wait(LIMIT)
    for pid in titles.values():
        until(lambda pid=pid: not alive(pid))


def everything(folder):
    """Return what is in a folder: of each file its inode, mode and content, but no open log's."""
    found = {}
    for path in Path(folder).rglob("*"):
        what = path.lstat()
        content = b""
        if stat.S_ISREG(what.st_mode) and "inflight" not in path.parts:
            content = hashlib.sha256(path.read_bytes()).digest()
        found[str(path)] = (what.st_ino, what.st_mode, content)
    return found


def refused(done, pid):
    assert done.returncode == 1
    assert done.stderr == f"{REFUSED} (pid {pid}); `keepd start NAME` is what you want\n"
    assert done.stdout == ""


@pytest.mark.parametrize("words", [(), ("-d",)])
def test_f70_a_pid_in_the_lock_file_that_is_a_strangers_hinders_and_harms_nobody(
    keepd, stranger, words
):
    one = keepd(WEB)
    one.run_dir.mkdir(mode=0o700)
    (one.run_dir / "lock").write_text(f"{stranger.pid}\n")
    if words:
        one.up_detached()
    else:
        one.up()
    daemon = one.status()["daemon"]
    assert daemon["pid"] != stranger.pid
    assert (one.run_dir / "lock").read_text() == f"{daemon['pid']}\n"
    assert one.run("down").returncode == 0
    assert stranger.poll() is None


def test_f70_a_keepd_that_was_killed_leaves_its_number_and_a_stranger_may_get_it(keepd, stranger):
    one = keepd(WEB).up()
    left_behind(one)
    with open(one.run_dir / "lock", "r+", encoding="ascii") as lock:
        assert lock.read() == f"{one.process.pid}\n"
        lock.seek(0)
        lock.write(f"{stranger.pid}\n")
    assert one.run("status").returncode == 3  # nobody is asked
    assert one.run("down").returncode == 0  # and nobody signalled but what was left
    one.up()
    assert stranger.poll() is None
    assert one.replica("web/0")["state"] == "RUNNING"


def test_down_stops_in_order_what_a_killed_keepd_has_left(keepd):
    one = keepd("""
        services:
          base: {command: "trap 'echo base ends; exit' TERM; sleep 1000 & wait", shell: true}
          top:
            command: "trap 'echo top ends; exit' TERM; setsid sleep 1000 & wait"
            shell: true
            depends_on: [base]
    """).up_detached()
    left_behind(one)
    assert len(tagged(one.run_dir)) == 4
    done = one.run("down")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "what a killed keepd has left is stopped\n"
    assert tagged(one.run_dir) == []
    assert (one.lines("base/0"), one.lines("top/0")) == (["base ends"], ["top ends"])
    told = [line for line in one.lines("keepd") if " stopped " in line]
    assert [line.split()[0] for line in told] == ["top/0", "base/0"]
    assert one.run("down").returncode == 3


def test_f71_a_socket_file_that_was_left_behind_is_replaced(keepd):
    one = keepd(WEB).up()
    before = (one.run_dir / "control.sock").stat().st_ino
    left_behind(one)
    assert (one.run_dir / "control.sock").stat().st_ino == before
    done = one.run("status")
    assert done.returncode == 3
    assert done.stderr.startswith("cannot ")
    one.up()
    assert (one.run_dir / "control.sock").stat().st_ino != before
    assert one.run("status").returncode == 0


def test_f71_a_link_that_has_the_sockets_name_is_replaced_and_not_followed(keepd, tmp_path):
    one = keepd(WEB)
    one.run_dir.mkdir(mode=0o700)
    precious = tmp_path / "precious"
    precious.write_text("mine\n")
    place = one.run_dir / "control.sock"
    place.symlink_to(precious)
    one.up()
    assert stat.S_ISSOCK(place.lstat().st_mode)
    assert precious.read_text() == "mine\n"


def test_f71_f72_a_second_up_is_refused_and_touches_nothing(keepd):
    one = keepd(ALONE).up()
    one.tells("web/0 is ready")
    before, status = everything(one.run_dir) | everything(one.log_dir), one.status()
    for words in (("up",), ("up", "-d"), ("up", "web")):
        refused(one.run(*words), one.process.pid)
        assert everything(one.run_dir) | everything(one.log_dir) == before
    after = one.status()
    assert after["daemon"]["master_pid"] == status["daemon"]["master_pid"]
    assert after["services"]["web"]["replicas"][0]["pid"] == one.pid("web/0")
    assert one.replica("web/0")["run"] == 1
    assert not (one.folder / "two").exists()


def test_f72_another_config_with_the_same_runtime_directory_is_refused_as_well(keepd, tmp_path):
    one = keepd(WEB).up()
    plan = (one.run_dir / "applied.json").read_bytes()
    other = tmp_path / "other"
    other.mkdir()
    second = keepd("services: {other: {command: [sleep, '1000']}}")
    second.config = other / "keepd.yaml"
    second.config.write_text(one.config.read_text().replace("web", "other"))
    refused(second.run("up", "-d"), one.process.pid)
    assert (one.run_dir / "applied.json").read_bytes() == plan
    assert list(one.status()["services"]) == ["web"]


def test_f72_of_ten_that_are_started_at_once_exactly_one_wins(keepd):
    one = keepd(ALONE)
    crowd = [crowded(one, number) for number in range(CROWD)]
    try:
        losers = first_to_end(crowd, CROWD - 1)
        (one.process,) = (each for each in crowd if each not in losers)
        until(one.answers)
        one.call("wait", {"for": "ready", "timeout": LIMIT})
        for number, each in enumerate(crowd):
            if each in losers:
                said = (one.folder / f"said.{number}").read_text()
                assert (each.returncode, said.startswith(REFUSED)) == (1, True), said
        assert one.status()["daemon"]["pid"] == one.process.pid
        assert (one.run_dir / "lock").read_text() == f"{one.process.pid}\n"
        assert one.replica("web/0")["run"] == 1
        assert not (one.folder / "two").exists()
        assert one.stop() == 0
    finally:
        for each in crowd:
            each.kill()
            each.wait()


def crowded(one, number):
    with open(one.folder / f"said.{number}", "wb") as said:
        return subprocess.Popen(
            one.command("up"),
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            cwd=one.root,
            start_new_session=True,
        )


def first_to_end(processes, count):
    """Return the first `count` to end; fail when they do not within the limit."""
    ended = []
    poll = select.poll()
    pidfds = {os.pidfd_open(each.pid): each for each in processes}
    try:
        for pidfd in pidfds:
            poll.register(pidfd, select.POLLIN)
        while len(ended) < count:
            news = poll.poll(2 * LIMIT * 1000)
            assert news, f"only {len(ended)} of {count} have ended"
            for pidfd, _ in news:
                poll.unregister(pidfd)
                pidfds[pidfd].wait()
                ended.append(pidfds[pidfd])
    finally:
        for pidfd in pidfds:
            os.close(pidfd)
    return ended


def test_the_place_is_free_again_at_once_when_down_has_returned(keepd):
    one = keepd(WEB)
    for _ in range(2):
        one.up_detached()
        pid = one.status()["daemon"]["pid"]
        assert one.run("down").returncode == 0
        ends(pid)
        assert not (one.run_dir / "control.sock").exists()

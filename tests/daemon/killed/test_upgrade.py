"""Another version of keepd while services run: tried first, then taken over to, or refused."""

import contextlib
import errno
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from supervisor.control.client import NoDaemon, Refused
from supervisor.core.spec import ServiceSpec
from supervisor.core.states import Service
from supervisor.runfiles import RunFile, check
from supervisor.unix.poller import Poller
from supervisor.upgrades import Upgrades
from tests.daemon.harness import Keepd, ends, kill, program, tagged, until
from tests.daemon.killed.losses import new_master, stopped, up

HOUSE = Keepd.root / "supervisor"
LINES = 'i=0; while :; do i=$$((i+1)); echo "line $$i."; sleep 0.01; done'


@pytest.fixture
def installed(tmp_path):
    """A keepd in the background, run from a copy of the code that can be changed, and a service."""
    shutil.copytree(HOUSE, tmp_path / "site/supervisor", ignore=shutil.ignore_patterns("*.pyc"))
    port = free_port()
    one = Keepd(
        tmp_path,
        f"""
        services:
          web: {{command: {program("serves", str(port))}, ready: {{tcp: "127.0.0.1:{port}"}}}}
          lines: {{command: '{LINES}', shell: true, replicas: 2}}
          prepared: {{command: [sleep, "1000"], umask: "022"}}
          once: {{command: ["true"], restart: never}}
          stopped: {{command: [sleep, "1000"]}}
        """,
    )
    one.root, one.port = tmp_path / "site", port
    one.up_detached()
    one.call("stop", {"names": ["stopped"]})
    one.becomes("stopped", "STOPPED")
    yield one
    one.run_with({**os.environ, "PYTHONPATH": str(HOUSE.parent)}, "down")
    one.end()


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return sock.getsockname()[1]


def lives(one):
    """Return what must be the same after whatever happens to keepd itself."""
    return {r["id"]: (r["pid"], r["run"], r["restarts"], r["state"]) for r in one.replicas()}


@contextlib.contextmanager
def visitors(port):
    """Ask the service all the time, and fail if it once did not answer."""
    over, failed, served = threading.Event(), [], []

    def ask():
        while not over.is_set():
            try:
                with socket.create_connection(("127.0.0.1", port), timeout=10) as sock:
                    sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
                    served.append(sock.recv(100).startswith(b"HTTP/1.1 200"))
            except OSError as error:
                failed.append(error)

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        yield
    finally:
        over.set()
        asking.join()
    assert not failed
    assert len(served) > 10
    assert all(served)


def mend(one, path, old, new):
    file = one.root / "supervisor" / path
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


def whole(one, key):
    """Assert that every line of a replica is in its log once, in order, and none is torn."""
    numbers = [line.removeprefix("line ") for line in one.lines(key)]
    assert numbers == [f"{number}." for number in range(1, len(numbers) + 1)]


def test_f85_an_upgrade_under_load_is_seen_by_no_service_and_no_visitor(installed):
    one, before = installed, lives(installed)
    pid, version = one.status()["daemon"]["pid"], one.status()["daemon"]["version"]
    mend(one, "__init__.py", f'"{version}"', '"99.1"')
    with visitors(one.port):
        done = one.run("upgrade", limit=60)
        assert done.returncode == 0, done.stderr
        assert f"upgraded from {version} to 99.1 (pid {pid}): 4 of 4 replicas" in done.stdout
        daemon = one.status()["daemon"]
        assert (daemon["pid"], daemon["version"]) == (pid, "99.1")
        assert lives(one) == before
        for _ in range(2):  # a master and a log writer of the new code are as safe as the old ones
            kill(daemon["master_pid"], daemon["log_writer_pid"])
            before_that = daemon["master_pid"]
            daemon = until(lambda than=before_that: another(one, than))
    assert lives(one) == before
    assert one.run("stop", "lines").returncode == 0
    for key in ("lines/0", "lines/1"):
        whole(one, key)


def another(one, master):
    """Return what a master says of itself that is not this one."""
    with contextlib.suppress(NoDaemon, Refused):
        daemon = one.status()["daemon"]
        return daemon if daemon["master_pid"] != master and daemon["log_writer_pid"] else None


BROKEN = {
    "it cannot be imported": ("logs/writer.py", "class Writer", "half an upl", "SyntaxError"),
    "it does not come up": ("beginning.py", "def begin(", "def begins(", "begin"),
    "it does not know the state": ("runfiles.py", "VERSION = 3", "VERSION = 2", "is of format 3"),
    "it does not read the plan": ("config/plan.py", "FORMAT = 1", "FORMAT = 0", "format"),
}


@pytest.mark.parametrize("how", BROKEN)
def test_an_upgrade_to_what_does_not_work_is_refused_and_has_changed_nothing(installed, how):
    one, before, daemon = installed, lives(installed), installed.status()["daemon"]
    path, old, new, told = BROKEN[how]
    mend(one, path, old, new)
    with pytest.raises(Refused) as refused:
        one.call("upgrade", limit=60)
    assert "cannot upgrade: " in str(refused.value)
    assert told in "\n".join([str(refused.value), *refused.value.data["said"]])
    after = one.status()["daemon"]
    assert (after["pid"], after["master_pid"]) == (daemon["pid"], daemon["master_pid"])
    assert lives(one) == before
    one.tells("cannot upgrade: ")
    mend(one, path, new, old)


def test_a_signal_asks_for_an_upgrade_as_well(installed):
    one, before, daemon = installed, lives(installed), installed.status()["daemon"]
    kill(daemon["pid"], number=signal.SIGUSR2)
    until(lambda: another(one, daemon["master_pid"]), limit=60)
    assert lives(one) == before
    assert one.status()["daemon"]["pid"] == daemon["pid"]
    one.tells("tried, and taken over to")


def test_a_trial_leaves_nothing_behind_when_keepd_is_stopped_meanwhile(installed):
    one = installed
    kill(one.status()["daemon"]["pid"], number=signal.SIGUSR2)
    one.tells("is tried")
    assert one.run("down").returncode == 0
    until(lambda: not trials(one))


def test_all_that_is_to_end_ends_though_an_upgrade_is_tried_meanwhile(detached):
    one = detached(
        f"""
        services:
          deaf: {{command: {program("alone", "deaf")}, ready: {{notify: true}}}}
          web: {{command: [sleep, "1000"]}}
        defaults: {{stop: {{timeout: 6s}}}}
        """
    )
    anchor = one.status()["daemon"]["pid"]
    kill(anchor, number=signal.SIGUSR2)
    one.tells("is tried")
    one.call("down")
    ends(anchor, limit=40)
    assert tagged(one.run_dir) == []
    assert "web/0 started" not in one.log("keepd").partition("web/0 stopping")[2]


def test_what_a_master_says_behind_its_wish_for_an_upgrade_is_heard(detached):
    """A run is born while the anchor has not read that yet: its FIFO is kept all the same."""
    one = detached("""
        services:
          web: {command: [sleep, "1000"]}
          words: {command: "for i in 1 2 3; do echo word $$i; done", shell: true, restart: never}
        """)
    until(lambda: one.log("words/0").count("word") == 3)
    daemon = one.status()["daemon"]
    stopped(daemon["pid"])
    one.call("upgrade", limit=60)
    stopped(daemon["log_writer_pid"])
    one.call("start", {"names": ["words"]})
    one.becomes("words", "EXITED", run=2)
    kill(daemon["pid"], number=signal.SIGCONT)
    new_master(one, daemon["master_pid"])
    until(lambda: one.log("words/0").count("word") == 6)


def test_an_upgrade_whose_exec_fails_is_none_and_says_so(keepd, tmp_path, monkeypatch):
    """The interpreter has been moved away since the trial."""
    home, site = tmp_path / "venv", tmp_path / "site"
    (home / "bin").mkdir(parents=True)
    (home / "bin/python").symlink_to(sys.executable)
    for name in ("lib", "pyvenv.cfg"):
        (home / name).symlink_to(Path(sys.prefix) / name)
    shutil.copytree(HOUSE, site / "supervisor", ignore=shutil.ignore_patterns("*.pyc"))
    monkeypatch.setattr(sys, "executable", str(home / "bin/python"))
    one = keepd("services: {web: {command: [sleep, '1000']}}")
    one.root = site
    up(one)
    command = one.command("upgrade")
    command[0] = str(Path(sys.prefix) / "bin/python")
    daemon, web = one.status()["daemon"], one.pid("web")
    mend(one, "__init__.py", f'"{daemon["version"]}"', '"99.1"')
    stopped(daemon["pid"])
    with subprocess.Popen(command, cwd=site, stderr=subprocess.PIPE, text=True) as asked:
        one.tells("taken over to", limit=60)
        (home / "bin").rename(home / "away")
        kill(daemon["pid"], number=signal.SIGCONT)
        said = asked.communicate(timeout=60)[1]
    assert asked.returncode == 1
    assert f"cannot take over to 99.1: keepd goes on as {daemon['version']}" in said
    after = one.status()["daemon"]
    assert (after["pid"], after["version"], one.pid("web")) == (
        daemon["pid"],
        daemon["version"],
        web,
    )


def test_f36_an_upgrade_that_cannot_be_tried_leaks_no_descriptor(monkeypatch, tmp_path):
    def full(path, *more, **named):
        if path == os.devnull:
            raise OSError(errno.EMFILE, "Too many open files")
        return opened(path, *more, **named)

    opened, told = os.open, []
    upgrades = Upgrades(
        Poller(), SimpleNamespace(now=time.monotonic, say=told.append), str(tmp_path)
    )
    before = os.listdir("/proc/self/fd")
    monkeypatch.setattr(os, "open", full)
    upgrades.ask(None)
    monkeypatch.undo()
    assert len(os.listdir("/proc/self/fd")) == len(before)
    assert "Too many open files" in "".join(told)


def trials(one):
    """Return the pids of processes that try the code of this keepd."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            found += [pid] if str(one.root).encode() in words else []
    return found


def test_the_state_is_read_before_it_is_taken_over_and_not_touched(tmp_path):
    check(str(tmp_path))  # nobody has been there
    file = RunFile(str(tmp_path))
    file.begun(True)
    file.note(Service("web/0", ServiceSpec(name="web"), run=3))
    file.close()
    path = tmp_path / "runs"
    good = path.read_bytes()
    check(str(tmp_path))
    assert path.read_bytes() == good
    for bad in (good.replace(b'"version":3', b'"version":4'), good.replace(b'"run":3', b'"ran":3')):
        path.write_bytes(bad)
        with pytest.raises(ValueError, match="the state of the keepd that runs"):
            check(str(tmp_path))

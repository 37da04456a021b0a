"""Nobody else commands it: what strangers, names, values and tags cannot do to a real keepd."""

import contextlib
import json
import os
import re
import socket
import stat
from pathlib import Path

import pytest

from supervisor.control.client import Client, Refused
from tests.daemon.harness import LIMIT, PROGRAMS, program, until

NOBODY = 65534
SLEEPER = "services: {web: {command: [sleep, '1000']}}"
EACH_HELPER = f"""
    services:
      spawned: {{command: [sleep, "1000"]}}
      prepared: {{command: [sleep, "1000"], umask: "022"}}
      function: {{python: "functions:wait", cwd: {PROGRAMS}}}
      notifies: {{command: {program("alone")}, ready: {{notify: true}}}}
      asked: {{command: [sleep, "1000"], ready: {{tcp: "127.0.0.1:%d"}}}}
"""
HELPERS = {"anchor", "master", "log writer", "terminal", "prober", "zygote"}
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


def sockets(pid):
    """Return the inodes of the sockets that a process has open."""
    found = set()
    for fd in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            found.update(map(int, re.findall(r"^socket:\[(\d+)\]$", os.readlink(fd))))
    return found


def network(pid):
    """Return the inodes of all sockets of the network, whatever their protocol."""
    found = set()
    for table in ("tcp", "tcp6", "udp", "udp6", "udplite", "udplite6", "raw", "raw6"):
        with contextlib.suppress(FileNotFoundError):
            lines = Path(f"/proc/{pid}/net/{table}").read_text(encoding="ascii").splitlines()
            found.update(int(line.split()[9]) for line in lines[1:])
    return found


def named(pid):
    """Return the names of the Unix sockets that have one, by inode."""
    lines = Path(f"/proc/{pid}/net/unix").read_text(encoding="utf-8").splitlines()[1:]
    fields = [line.split(maxsplit=7) for line in lines]
    return {int(entry[6]): entry[7] for entry in fields if len(entry) > 7}


def test_s01_s05_keepd_has_no_socket_on_the_network_and_none_without_a_file(keepd):
    with socket.create_server(("127.0.0.1", 0)) as server:
        one = keepd(EACH_HELPER % server.getsockname()[1]).up()
        titles = one.titles()
        assert titles.keys() >= HELPERS
        ours = set().union(*map(sockets, titles.values()))
        until(lambda: not ours & network(one.process.pid), limit=5)  # what asked may be closing
        paths = {path for inode, path in named(one.process.pid).items() if inode in ours}
    assert paths
    # Bound by way of a descriptor, so that no folder is too deep; never abstract, which is @.
    assert all(path.startswith(("/proc/self/fd/", f"{one.run_dir}/")) for path in paths), paths
    assert {path.rpartition("/")[2].removesuffix(".new") for path in paths} >= {"control.sock"}


@as_root
def test_s02_another_user_does_not_even_reach_the_socket(keepd):
    one = keepd(SLEEPER).up()
    reachable(one.folder)
    assert ask_as(NOBODY, one.run_dir) == "PermissionError"
    assert "refused" not in one.log("keepd")


@as_root
def test_s02_another_user_who_was_let_in_by_mistake_is_denied(keepd):
    one = keepd(SLEEPER).up()
    reachable(one.folder)
    one.run_dir.chmod(0o711)
    (one.run_dir / "control.sock").chmod(0o666)
    for method in ("version", "status", "down"):
        answer = json.loads(ask_as(NOBODY, one.run_dir, method))
        assert answer["error"]["data"]["kind"] == "denied"
        assert answer["error"]["message"].startswith(f"cannot serve uid {NOBODY}: ")
    one.tells(f"refused a control connection of uid {NOBODY} ")
    assert one.replica("web")["run"] == 1
    assert one.process.poll() is None


def reachable(folder):
    """Let others pass to the folder of a test, as to any folder that is not as private."""
    for above in (folder, *folder.parents):
        if above.owner() == "root" and not above.stat().st_mode & 0o001:
            above.chmod(stat.S_IMODE(above.stat().st_mode) | 0o011)


def ask_as(uid, run_dir, method="version"):
    """Return what a user gets for a request: the first line, or the name of the error."""
    told, tell = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.setgroups([])
            os.setresgid(uid, uid, uid)
            os.setresuid(uid, uid, uid)
            os.write(tell, asked(run_dir, method))
        finally:
            os._exit(0)
    os.close(tell)
    with open(told, encoding="utf-8") as answer:
        text = answer.read()
    os.waitpid(pid, 0)
    return text


def asked(run_dir, method):
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(LIMIT)
        try:
            sock.connect(f"{run_dir}/control.sock")
        except OSError as error:
            return type(error).__name__.encode()
        with contextlib.suppress(OSError):  # it may have hung up on us before
            sock.sendall(json.dumps({"jsonrpc": "2.0", "id": 1, "method": method}).encode() + b"\n")
        with sock.makefile("rb") as lines:
            return lines.readline()


METHODS = (
    *("", "Status", "__class__", "status.__globals__", "status.__self__.desk", "table", "look"),
    *("_ids", "handle", "poller.close", "os.system", "exec", "close", "../status", "status\0"),
)
PARAMS = (
    ("status", {"names": "web"}, "bad-params"),
    ("status", {"names": [1]}, "bad-params"),
    ("status", {"names": ["__class__"]}, "no-such-service"),
    ("status", {"names": ["../web"]}, "no-such-service"),
    ("logs", {"names": ["../../etc/passwd"]}, "no-such-service"),
    ("signal", {"names": ["web"], "signal": "__doc__"}, "bad-params"),
    ("signal", {"names": ["web"], "signal": {"SIG": 9}}, "bad-params"),
    ("signal", {"names": ["web"], "signal": 0}, "bad-params"),
    ("signal", {"names": ["web"], "signal": 4096}, "bad-params"),
    ("wait", {"for": "__init__"}, "bad-params"),
    ("wait", {"for": ["ready"]}, "bad-params"),
    ("wait", {"for": "ready", "timeout": "1"}, "bad-params"),
)


def test_s03_only_the_words_of_the_table_are_ever_called(keepd):
    one = keepd(SLEEPER).up()
    with Client.connect(str(one.run_dir / "control.sock"), LIMIT) as client:

        def kind(method, params):
            with pytest.raises(Refused) as refused:
                client.call(method, params, LIMIT)
            return refused.value.kind

        for method in METHODS:
            assert kind(method, {}) == "no-such-method", method
        for method, params, expected in PARAMS:
            assert kind(method, params) == expected, (method, params)
        assert client.call("status", {"names": ["web"], "__class__": "x"}, LIMIT)["version"] == 1
    assert one.replica("web")["run"] == 1
    assert "cannot answer" not in one.log("keepd")


def test_s06_nothing_in_the_runtime_directory_is_ever_open_to_others(keepd):
    """Whatever the umask that keepd was started with, and while everything in it is used."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        config = EACH_HELPER % server.getsockname()[1]
        one = keepd(config, preexec_fn=lambda: os.umask(0)).up()
    found = {path: path.lstat() for path in (one.run_dir, *one.run_dir.rglob("*"))}
    assert {"control.sock", "applied.json", "lock"} <= {path.name for path in found}
    for path, what in found.items():
        assert (what.st_uid, what.st_mode & 0o077) == (os.geteuid(), 0), path
    assert stat.S_IMODE(found[one.run_dir / "control.sock"].st_mode) == 0o600
    assert stat.S_IMODE(one.run_dir.stat().st_mode) == 0o700
    for path in one.log_dir.rglob("*"):
        assert not path.stat().st_mode & 0o022, path


def others_may_write(run_dir):
    run_dir.mkdir()
    run_dir.chmod(0o777)


def others_may_look(run_dir):
    run_dir.mkdir()
    run_dir.chmod(0o750)


def somewhere_else(run_dir):
    (run_dir.parent / "theirs").mkdir(mode=0o700)
    run_dir.symlink_to("theirs")


def a_strangers(run_dir):
    run_dir.mkdir(mode=0o700)
    os.chown(run_dir, NOBODY, NOBODY)


def a_file(run_dir):
    run_dir.touch(0o600)


def with_a_linked_lock(run_dir):
    run_dir.mkdir(mode=0o700)
    (run_dir / "lock").symlink_to(run_dir.parent / "precious")


BAD_PLACES = {
    others_may_write: "its mode 0777 lets others in (`chmod 700 {0}` first)",
    others_may_look: "its mode 0750 lets others in (`chmod 700 {0}` first)",
    somewhere_else: "it is a symbolic link",
    a_strangers: "it belongs to uid 65534, and we are uid 0",
    a_file: "Not a directory",
    with_a_linked_lock: "lock: ",
}


def test_s07_a_runtime_directory_that_is_not_ours_alone_is_refused_in_words(keepd, tmp_path):
    for make, why in BAD_PLACES.items():
        if make is a_strangers and os.geteuid() != 0:
            continue
        folder = tmp_path / make.__name__
        folder.mkdir()
        (folder / "precious").write_text("mine\n")
        one = keepd(SLEEPER)
        make(folder / "run")
        before = sorted(folder.rglob("*"))
        done = one.run("--runtime-dir", folder / "run", "up")
        assert done.returncode == 1, done
        start = f"cannot use {folder}/run as runtime directory: {why.format(folder / 'run')}"
        assert done.stderr.startswith(start), done.stderr
        assert done.stderr.count("\n") == 1
        assert sorted(folder.rglob("*")) == before
        assert (folder / "precious").read_text() == "mine\n"
        assert not one.log_dir.exists()


def test_f82_what_a_service_tells_its_own_socket_is_not_told_to_our_manager(keepd, tmp_path):
    path = tmp_path / "manager"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(path))
        manager.setblocking(False)
        one = keepd(
            f"""
            services:
              liar: {{command: {program("liar")}, ready: {{notify: true}}}}
              plain: {{command: [sh, -c, 'echo "${{NOTIFY_SOCKET-none}}"; sleep 1000'], nice: 0}}
            """.replace("${NOTIFY", "$${NOTIFY"),
            env={**os.environ, "NOTIFY_SOCKET": str(path)},
        ).up()
        until(lambda: one.lines("plain/0") == ["none"])
        assert one.replica("liar")["ready"]
        assert one.stop() == 0
        said = heard(manager)
    assert "READY=1" in said[0]
    assert "STOPPING=1" in said[-1] or any("STOPPING=1" in text for text in said[1:])
    text = "\n".join(said)
    assert text.count("READY=1") == text.count("STOPPING=1") == 1
    assert not re.search("MAINPID|FDSTORE|lies|ERRNO|BUSERROR", text), said


def heard(manager):
    """Return all datagrams that wait there."""
    found = []
    with contextlib.suppress(BlockingIOError):
        while True:
            found.append(manager.recv(65536).decode())
    return found

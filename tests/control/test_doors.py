"""Who gets in, and whose place it is."""

import contextlib
import json
import os
import socket
import stat

import pytest

from supervisor.control.client import Client, NoDaemon
from supervisor.control.server import Server
from supervisor.unix.poller import Poller
from tests.control.served import LIMIT, echo, lines, raw, refused, served, with_echo


def test_s01_nothing_listens_on_the_network(path):
    def families(poller):
        def look(params, reply):
            found = []
            for fd in os.listdir("/proc/self/fd"):
                with contextlib.suppress(OSError), socket.socket(fileno=os.dup(int(fd))) as one:
                    found.append(one.family)
            reply.result(sorted({int(family) for family in found}))

        return {"look": look}

    with served(path, families), Client.connect(path) as client:
        assert client.call("look", {}) == [int(socket.AF_UNIX)]


def narrowed(poller):
    """Serve root and a uid that is not ours: who is not root is a stranger then."""

    def use(server):
        server._uids = frozenset({os.geteuid() + 1})

    return {"echo": echo}, use


def test_s02_another_users_connection_is_denied(path, folder):
    root = os.geteuid() == 0
    with served(path, with_echo if root else narrowed):
        folder.chmod(0o755)
        os.chmod(path, 0o666)  # as if the modes had failed: the kernel's word must be enough
        (answer,) = _ask_as_nobody(folder, root)
        assert answer["error"]["data"]["kind"] == "denied"


def _ask_as_nobody(folder, root):
    """Return all that a stranger gets, who was let into the folder by somebody careless."""
    ours, its = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        try:
            os.chdir(folder)
            if root:
                os.setgroups([])
                os.setresgid(65534, 65534, 65534)
                os.setresuid(65534, 65534, 65534)
            with raw("control.sock") as sock:
                with contextlib.suppress(OSError):
                    sock.sendall(b'{"jsonrpc":"2.0","id":1,"method":"echo"}\n')
                its.sendall(json.dumps(lines(sock, 9)).encode() + b"\n")
        finally:
            os._exit(0)
    its.close()
    try:
        ours.settimeout(LIMIT)
        return lines(ours, 1)[0]
    finally:
        ours.close()
        os.waitpid(pid, 0)


def test_s02_whoever_is_neither_root_nor_we_is_denied_and_told_of(path):
    def strict(poller):
        def use(server):
            server._uids = frozenset()

        return {"echo": echo}, use

    with served(path, strict), raw(path) as sock:
        (answer,) = lines(sock, 2)
        assert answer["error"]["data"]["kind"] == "denied"
        assert answer["error"]["message"].startswith(f"cannot serve uid {os.geteuid()}")


@pytest.mark.parametrize(
    "name",
    [
        "",
        "close",
        "__class__",
        "__init__.__globals__",
        "poller.close",
        "echo.__call__",
        "Echo",
        "_serve",
    ],
)
def test_s03_a_name_that_is_not_in_the_table_is_nothing(path, name):
    with served(path, with_echo):
        assert refused(path, name).kind == "no-such-method"
        with Client.connect(path) as client:
            assert client.call("echo", {"x": 1}) == {"x": 1}


def test_s05_the_socket_is_a_file_and_not_abstract(path):
    with served(path, with_echo), open("/proc/net/unix", encoding="ascii") as table:
        names = [line.split()[-1] for line in table if "control.sock" in line]
        assert names
        assert not [name for name in names if name.startswith("@")]
        assert stat.S_ISSOCK(os.stat(path).st_mode)


def test_s06_the_socket_is_0600_whatever_the_umask(path):
    def careless(poller):
        os.umask(0)
        return {"umask": lambda params, reply: reply.result(os.umask(0))}

    with served(path, careless), Client.connect(path) as client:
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
        assert client.call("umask", {}) == 0  # and the umask is as it was


def test_s06_there_is_no_instant_with_wider_modes(folder, monkeypatch):
    seen = []
    bind = socket.socket.bind

    class Watched(socket.socket):
        def bind(self, address):
            bind(self, address)
            seen.append(stat.S_IMODE(os.stat(address).st_mode))

    monkeypatch.setattr(socket, "socket", Watched)
    poller = Poller()
    server = Server(poller, str(folder / "control.sock"), {})
    server.close()
    poller.close()
    assert seen == [0o600]


@pytest.mark.parametrize("mode", [0o755, 0o770, 0o701, 0o777])
def test_s07_a_folder_that_others_can_enter_is_refused(folder, mode):
    folder.chmod(mode)
    poller = Poller()
    with pytest.raises(PermissionError, match=f"mode {mode:04o}"):
        Server(poller, str(folder / "control.sock"), {})
    assert os.listdir(folder) == []
    poller.close()


def test_s07_a_folder_behind_a_symlink_is_refused(folder, tmp_path):
    (tmp_path / "planted").symlink_to(folder)
    poller = Poller()
    with pytest.raises(PermissionError, match="symbolic link"):
        Server(poller, str(tmp_path / "planted" / "control.sock"), {})
    assert os.listdir(folder) == []
    poller.close()


def test_s07_a_folder_of_another_user_is_refused(folder):
    theirs = "/proc"  # root's
    if os.geteuid() == 0:
        os.chown(folder, 65534, 65534)
        theirs = str(folder)
    poller = Poller()
    with pytest.raises(PermissionError, match="belongs to uid "):
        Server(poller, f"{theirs}/control.sock", {})
    poller.close()


def test_f71_a_stale_socket_file_is_replaced(path):
    with served(path, with_echo):
        pass  # killed: its file is left
    assert stat.S_ISSOCK(os.stat(path).st_mode)
    with pytest.raises(NoDaemon):
        Client.connect(path)
    with served(path, with_echo), Client.connect(path) as client:
        assert client.call("echo", {"x": 1}) == {"x": 1}


def test_f71_what_a_death_between_bind_and_rename_left_is_no_hindrance(path):
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(path + ".new")
    with served(path, with_echo), Client.connect(path) as client:
        assert client.call("echo", {}) == {}
    assert os.listdir(os.path.dirname(path)) == ["control.sock"]


def test_f71_who_closes_late_does_not_take_the_successors_name_away(path):
    poller = Poller()
    first = Server(poller, path, {})
    second = Server(poller, path, {})
    first.close()
    assert os.path.exists(path)
    second.close()
    assert not os.path.exists(path)
    poller.close()


def test_a_path_longer_than_an_address_is_served_all_the_same(tmp_path):
    deep = tmp_path.joinpath(*["x" * 50] * 6)
    deep.mkdir(parents=True, mode=0o700)
    deep.chmod(0o700)
    path = str(deep / "control.sock")
    assert len(path) > 250
    with served(path, with_echo), Client.connect(path) as client:
        assert client.call("echo", {"deep": True}) == {"deep": True}

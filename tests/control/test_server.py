import contextlib
import errno
import json
import os
import resource
import select
import socket
import stat

import pytest

from supervisor.control.client import Client, NoDaemon, Refused
from supervisor.control.server import MOST_CONNECTIONS, MOST_REQUESTS, Server
from supervisor.unix.poller import Poller
from tests.control.served import LIMIT, echo, served


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "run"
    path.mkdir(mode=0o700)
    return path


@pytest.fixture
def path(folder):
    return str(folder / "control.sock")


def with_echo(poller):
    return {"echo": echo}


def raw(path, data=b""):
    sock = socket.socket(socket.AF_UNIX)
    sock.connect(path)  # waits while the queue is full: a socket with a limit would fail
    sock.settimeout(LIMIT)
    sock.sendall(data)
    return sock


def lines(sock, count):
    data = b""
    while data.count(b"\n") < count:
        try:
            chunk = sock.recv(65536)
        except ConnectionResetError:  # closed with our words unread
            chunk = b""
        if not chunk:
            break
        data += chunk
    return [json.loads(line) for line in data.splitlines()]


def refused(path, method, params=None):
    with Client.connect(path) as client, pytest.raises(Refused) as caught:
        client.call(method, params or {}, LIMIT)
    return caught.value


def test_a_request_is_answered_and_the_connection_serves_the_next(path):
    with served(path, with_echo), Client.connect(path) as client:
        assert client.call("echo", {"a": [1, None, "ü"]}) == {"a": [1, None, "ü"]}
        assert client.call("echo", {}) == {}


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


def test_a_method_that_raises_is_an_internal_error_and_the_server_lives(path):
    def broken(poller):
        return {"echo": echo, "broken": lambda params, reply: reply.result({}["nothing"])}

    with served(path, broken):
        error = refused(path, "broken")
        assert error.kind == "internal"
        assert "KeyError" in str(error)
        with Client.connect(path) as client:
            assert client.call("echo", {"x": 1}) == {"x": 1}
            (told,) = client.call("trouble", {})
            assert told.startswith("cannot answer broken: KeyError: 'nothing' (")
            assert "test_server.py:" in told


def test_an_answer_may_come_later_and_others_are_served_meanwhile(path):
    def deferred(poller):
        waiting = []

        def release(params, reply):
            for one in waiting:
                one.result("at last")
                one.result("twice is ignored")
            reply.result(len(waiting))

        return {"wait": lambda params, reply: waiting.append(reply), "release": release}

    with served(path, deferred), raw(path) as first, Client.connect(path) as second:
        first.sendall(b'{"jsonrpc":"2.0","id":"a","method":"wait"}\n')
        first.sendall(b'{"jsonrpc":"2.0","id":"b","method":"nothing"}\n')
        assert lines(first, 1)[0]["id"] == "b"
        assert second.call("release", {}) == 1
        assert lines(first, 1) == [{"jsonrpc": "2.0", "id": "a", "result": "at last"}]


def test_who_waits_for_an_answer_and_leaves_is_told_to_whoever_works_on_it(path):
    def deferred(poller):
        gone = []

        def wait(params, reply):
            reply.on_close(lambda: gone.append(reply.closed))

        return {"wait": wait, "gone": lambda params, reply: reply.result(gone)}

    with served(path, deferred), Client.connect(path) as client:
        with raw(path, b'{"jsonrpc":"2.0","id":1,"method":"wait"}\n'):
            assert _eventually(lambda: client.call("gone", {}) == [])
        assert _eventually(lambda: client.call("gone", {}) == [True])


def _eventually(look):
    return any(look() for _ in range(20_000))


def test_a_request_without_id_is_carried_out_and_not_answered(path):
    def counting(poller):
        calls = []
        return {
            "note": lambda params, reply: reply.result(calls.append(1)),
            "calls": lambda params, reply: reply.result(len(calls)),
        }

    with served(path, counting), raw(path) as sock:
        sock.sendall(
            b'{"jsonrpc":"2.0","method":"note"}\n{"jsonrpc":"2.0","id":7,"method":"calls"}\n'
        )
        assert lines(sock, 1) == [{"jsonrpc": "2.0", "id": 7, "result": 1}]


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        (b"{", "bad-request"),
        (b"[]", "bad-request"),
        (b'"status"', "bad-request"),
        (b"\xff\xfe\x00", "bad-request"),
        (b"GET / HTTP/1.1\r", "bad-request"),
        (b"[" * 200_000, "bad-request"),
        (b'{"a":' * 100_000, "bad-request"),
        (b'{"id":1}', "bad-request"),
        (b'{"jsonrpc":"2.0","id":1}', "bad-request"),
        (b'{"jsonrpc":"2.0","id":[1],"method":"echo"}', "bad-request"),
        (b'{"jsonrpc":"2.0","id":1,"method":["echo"]}', "bad-request"),
        (b'{"jsonrpc":"2.0","id":1,"method":"echo","params":[1]}', "bad-params"),
        (b'{"jsonrpc":"2.0","id":1,"method":"echo","params":null}', "bad-params"),
        (b"x" * (1 << 20) + b"xx", "bad-request"),
    ],
)
def test_what_is_no_request_is_refused_in_words(path, line, kind):
    with served(path, with_echo):
        with raw(path) as sock:
            with contextlib.suppress(OSError):
                sock.sendall(line + b"\n")
            error = lines(sock, 1)[0]["error"]
            assert error["data"]["kind"] == kind
            assert error["message"].startswith("cannot understand the request: ")
        with Client.connect(path) as client:
            assert client.call("echo", {"x": 1}) == {"x": 1}


def test_a_client_that_only_stops_sending_gets_its_answer(path):
    with served(path, with_echo), raw(path) as sock:
        sock.sendall(b'{"jsonrpc":"2.0","id":1,"method":"echo"}\n')
        sock.shutdown(socket.SHUT_WR)
        assert lines(sock, 1)[0]["result"] == {}


def test_half_requests_from_everywhere_hurt_nobody(path):
    """More connections than are kept, each with half a request: the silent ones make room."""
    with served(path, with_echo), contextlib.ExitStack() as stack:
        half = b'{"jsonrpc":"2.0","id":1,"method":"echo","params":{"x":"' + b"y" * 5000
        for _ in range(MOST_CONNECTIONS * 2):
            stack.enter_context(raw(path, half))
        with Client.connect(path) as client:
            assert client.call("echo", {"x": 1}) == {"x": 1}


def test_connections_that_wait_are_kept_and_one_more_is_told_so(path):
    def deferred(poller):
        waiting = []
        return {"wait": lambda params, reply: waiting.append(reply)}

    with served(path, deferred), contextlib.ExitStack() as stack:
        for _ in range(MOST_CONNECTIONS):
            sock = stack.enter_context(raw(path, b'{"jsonrpc":"2.0","id":1,"method":"wait"}\n'))
            sock.sendall(b'{"jsonrpc":"2.0","id":2,"method":"nothing"}\n')
            assert lines(sock, 1)[0]["id"] == 2
        assert refused(path, "wait").kind == "busy"


def test_open_requests_of_one_connection_are_bounded(path):
    def deferred(poller):
        waiting = []
        return {"wait": lambda params, reply: waiting.append(reply)}

    with served(path, deferred), raw(path) as sock:
        for number in range(MOST_REQUESTS + 1):
            sock.sendall(b'{"jsonrpc":"2.0","id":%d,"method":"wait"}\n' % number)
        (answer,) = lines(sock, 1)
        assert answer["id"] == MOST_REQUESTS
        assert answer["error"]["data"]["kind"] == "busy"


def test_a_client_that_does_not_read_is_not_served_and_stops_nobody(path):
    def big(poller):
        calls = []

        def answer(params, reply):
            calls.append(1)
            reply.result("x" * 100_000)

        return {"big": answer, "calls": lambda params, reply: reply.result(len(calls))}

    with served(path, big), raw(path) as deaf, Client.connect(path) as client:
        deaf.settimeout(0)
        with contextlib.suppress(BlockingIOError):
            while True:
                deaf.send(b'{"jsonrpc":"2.0","id":1,"method":"big"}\n' * 100)
        before = client.call("calls", {})
        for _ in range(200):
            client.call("calls", {})
        assert client.call("calls", {}) <= max(before, 20)


def hungry(poller):
    """Methods that take every descriptor, give them back, and count the loop's turns."""
    taken, turns = [], [0]
    wait = poller.wait

    def counted(limit):
        turns[0] += 1
        wait(limit)

    poller.wait = counted
    servers = []

    def fill(params, reply):
        used = max(map(int, os.listdir("/proc/self/fd")))
        resource.setrlimit(
            resource.RLIMIT_NOFILE, (used + 4, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
        )
        if params.get("spare"):
            os.close(servers[0]._spare)
            servers[0]._spare = -1
        with contextlib.suppress(OSError):
            while True:
                taken.append(os.open(os.devnull, os.O_RDONLY))
        reply.result(len(taken))

    def free(params, reply):
        while taken:
            os.close(taken.pop())
        reply.result(None)

    methods = {"fill": fill, "free": free, "turns": lambda params, reply: reply.result(turns[0])}
    return {**methods, "echo": echo}, servers.append


def test_f65_without_descriptors_a_connection_is_accepted_and_closed_politely(path):
    with served(path, hungry), Client.connect(path) as client:
        assert client.call("fill", {}) > 0
        for _ in range(5):
            assert refused(path, "echo").kind == "busy"
        first = client.call("turns", {})
        assert client.call("turns", {}) - first < 5
        client.call("free", {})
        with Client.connect(path) as other:
            assert other.call("echo", {"x": 1}) == {"x": 1}


def test_f65_even_without_the_spare_one_the_loop_does_not_spin(path):
    with served(path, hungry), Client.connect(path) as client:
        client.call("fill", {"spare": True})
        with raw(path, b'{"jsonrpc":"2.0","id":1,"method":"echo"}\n') as stuck:
            first = client.call("turns", {})
            for _ in range(50):
                last = client.call("turns", {})
            assert last - first < 60
            assert os.strerror(errno.EMFILE) in client.call("trouble", {})[-1]
            client.call("free", {})
            with Client.connect(path) as other:  # whoever knocks next opens for both
                assert other.call("echo", {"x": 1}) == {"x": 1}
            assert lines(stuck, 1)[0]["result"] == {}


def test_an_idle_server_never_wakes_up(path):
    with served(path, hungry), Client.connect(path) as client, raw(path, b'{"half'):
        first = client.call("turns", {})
        assert not select.select([client], [], [], 0.3)[0]
        assert client.call("turns", {}) - first <= 2


def test_a_closed_server_closes_its_connections_and_its_name(path):
    def closing(poller):
        servers = []
        return {"end": lambda params, reply: servers[0].close()}, servers.append

    with served(path, closing), Client.connect(path) as client:
        with pytest.raises(NoDaemon, match="ended"):
            client.call("end", {})
        with pytest.raises(NoDaemon, match="nobody listens"):
            Client.connect(path)

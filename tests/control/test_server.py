"""The protocol, over a real socket."""

import contextlib
import socket

import pytest

from supervisor.control.client import Client, NoDaemon
from tests.control.served import echo, lines, raw, refused, served, with_echo


def test_a_request_is_answered_and_the_connection_serves_the_next(path):
    with served(path, with_echo), Client.connect(path) as client:
        assert client.call("echo", {"a": [1, None, "ü"]}) == {"a": [1, None, "ü"]}
        assert client.call("echo", {}) == {}


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


def test_a_closed_server_closes_its_connections_and_its_name(path):
    def closing(poller):
        servers = []
        return {"end": lambda params, reply: servers[0].close()}, servers.append

    with served(path, closing), Client.connect(path) as client:
        with pytest.raises(NoDaemon, match="ended"):
            client.call("end", {})
        with pytest.raises(NoDaemon, match="nobody listens"):
            Client.connect(path)

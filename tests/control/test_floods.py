"""What clients may do to a server, and what a lack of descriptors does to it."""

import contextlib
import errno
import os
import resource
import select

from supervisor.control.client import Client
from supervisor.control.server import MOST_CONNECTIONS, MOST_REQUESTS
from tests.control.served import echo, lines, raw, refused, served, with_echo


def test_s25_half_requests_from_everywhere_hurt_nobody(path):
    """More connections than are kept, each with half a request: the silent ones make room."""
    with served(path, with_echo), contextlib.ExitStack() as stack:
        half = b'{"jsonrpc":"2.0","id":1,"method":"echo","params":{"x":"' + b"y" * 5000
        for _ in range(MOST_CONNECTIONS * 2):
            stack.enter_context(raw(path, half))
        with Client.connect(path) as client:
            assert client.call("echo", {"x": 1}) == {"x": 1}


def test_s25_connections_that_wait_are_kept_and_one_more_is_told_so(path):
    def deferred(poller):
        waiting = []
        return {"wait": lambda params, reply: waiting.append(reply)}

    with served(path, deferred), contextlib.ExitStack() as stack:
        for _ in range(MOST_CONNECTIONS):
            sock = stack.enter_context(raw(path, b'{"jsonrpc":"2.0","id":1,"method":"wait"}\n'))
            sock.sendall(b'{"jsonrpc":"2.0","id":2,"method":"nothing"}\n')
            assert lines(sock, 1)[0]["id"] == 2
        assert refused(path, "wait").kind == "busy"


def test_s25_open_requests_of_one_connection_are_bounded(path):
    def deferred(poller):
        waiting = []
        return {"wait": lambda params, reply: waiting.append(reply)}

    with served(path, deferred), raw(path) as sock:
        for number in range(MOST_REQUESTS + 1):
            sock.sendall(b'{"jsonrpc":"2.0","id":%d,"method":"wait"}\n' % number)
        (answer,) = lines(sock, 1)
        assert answer["id"] == MOST_REQUESTS
        assert answer["error"]["data"]["kind"] == "busy"


def test_s25_a_client_that_does_not_read_is_not_served_and_stops_nobody(path):
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

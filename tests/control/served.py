"""A real Server in a process of its own, for as long as a `with` lasts."""

import contextlib
import json
import os
import select
import signal
import socket
import traceback

import pytest

from supervisor.control.client import Client, Refused
from supervisor.control.server import Server
from supervisor.unix.poller import Poller

LIMIT = 20.0  # seconds for anything that should happen at once


@contextlib.contextmanager
def served(path, build, limit=120.0):
    """Serve build(poller) at `path`; gives the pid of the server's process.

    build may return a table of methods, or (table, callback) where the callback gets the Server.
    """
    ready, done = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(ready)
        _serve(str(path), build, done, limit)
    os.close(done)
    pidfd = os.pidfd_open(pid)
    try:
        assert select.select([ready], [], [], LIMIT)[0], "the server did not start"
        told = os.read(ready, 4096)
        assert told == b"up", told.decode()
        yield pid
    finally:
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(pidfd)
        os.close(ready)


def _serve(path, build, done, limit):
    signal.alarm(int(limit))  # nothing is left over, whatever becomes of the test
    try:
        poller = Poller()
        made = build(poller)
        methods, use = made if isinstance(made, tuple) else (made, lambda server: None)
        trouble = []
        methods = {"trouble": lambda params, reply: reply.result(trouble), **methods}
        server = Server(poller, path, methods, trouble.append)
        use(server)
        os.write(done, b"up")
        while True:
            poller.wait(None)
    except BaseException:  # noqa: BLE001
        os.write(done, traceback.format_exc().encode())
    finally:
        os._exit(1)


def echo(params, reply):
    reply.result(params)


def with_echo(poller):
    return {"echo": echo}


def raw(path, data=b""):
    """Return a connection that has sent `data`, as far as it was taken."""
    sock = socket.socket(socket.AF_UNIX)
    sock.connect(path)  # waits while the queue is full: a socket with a limit would fail
    sock.settimeout(LIMIT)
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # refused already
        sock.sendall(data)
    return sock


def lines(sock, count):
    """Return the next messages: `count` of them, fewer if there are no more."""
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

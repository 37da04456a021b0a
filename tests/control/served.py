"""A real Server in a process of its own, for as long as a `with` lasts."""

import contextlib
import os
import select
import signal
import traceback

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

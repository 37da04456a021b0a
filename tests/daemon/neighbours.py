"""What a service and an operator notice of those who share a keepd with them, in seconds."""

import contextlib
import os
import select
import socket
import time

from supervisor.control.client import Client
from tests.daemon.harness import LIMIT, kill, program, until

ECHO = f"echo: {{command: {program('echoes')}, ready: {{log: listens}}}}"
NOISE = ("line", "flood", "junk", "escapes")
PAUSE = 2  # milliseconds between two messages: who asks without a pause has a core of its own


QUIET = "quiet: {command: [sleep, '1000'], replicas: 10, backoff: {first: 0s}}"


def noisy(kind, name=None, to="file"):
    """Return a service that prints this kind of noise as fast as it can."""
    log = f"{{to: {to}, max_size: 2MB, max_files: 2}}"
    return f"{name or kind}: {{command: {program('prints', 'noise', kind)}, log: {log}}}"


def loops(count):
    """Return services that crash for ever, `count` of each of two kinds."""
    return [
        f"{name}: {{command: 'sleep {life}; exit {code}', shell: true, replicas: {count}}}"
        for name, life, code in (("brief", 0.2, 3), ("longer", 1.2, 4))
    ]


def loops_are_slow(one, limit):
    """Wait until whoever crashes has done so three times: the pauses are seconds by then."""
    until(lambda: all(r["run"] > 3 for r in one.replicas() if is_loop(r)), limit, every=0.2)


def is_loop(replica):
    return replica["id"].startswith(("brief/", "longer/"))


@contextlib.contextmanager
def visiting(one):
    """Give a function that returns how long `count` messages to the echo take to come back."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as sock:
        sock.settimeout(LIMIT)
        here = os.open(one.folder, os.O_PATH)  # an address may not be as long as a path
        sock.connect(f"/proc/self/fd/{here}/echo.sock")
        os.close(here)

        def ask(count):
            took = []
            for number in range(count):
                select.poll().poll(PAUSE)
                began = time.monotonic()
                sock.send(b"beat %d" % number)
                assert sock.recv(100) == b"beat %d" % number
                took.append(time.monotonic() - began)
            return took

        yield ask


def restarts(one, key, count):
    """Kill a replica so often; return how long it took each time until another run was there."""
    took = []
    with Client.connect(str(one.run_dir / "control.sock"), LIMIT) as client:

        def pid():
            (service,) = client.call("status", {"names": [key]}, LIMIT)["services"].values()
            return service["replicas"][0]["pid"]

        old = pid()
        for _ in range(count):
            began = time.monotonic()
            kill(old)
            while (new := pid()) in {old, None}:
                assert time.monotonic() - began < LIMIT
            took.append(time.monotonic() - began)
            old = new
    return took


def answers(one, key, count):
    """Ask for the status of a replica so often; return how long each answer took."""
    took = []
    with Client.connect(str(one.run_dir / "control.sock"), LIMIT) as client:
        for _ in range(count):
            select.poll().poll(PAUSE)
            began = time.monotonic()
            client.call("status", {"names": [key]}, LIMIT)
            took.append(time.monotonic() - began)
    return took

"""A real stack under load, and somebody who kills at random: it comes back, and never doubled."""

import contextlib
import http.client
import os
import random
import re
import select
import shutil
import signal
import socket
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.daemon.harness import LIMIT, PROGRAMS, alive, children, kill, tagged, until

WORKERS = 2
BOUND = 5.0  # seconds after which status must say what the kernel says, on a busy machine
DOUBLED = 99  # the exit code of who finds the lock of its service taken
LONELY = f"flock, --nonblock, --no-fork, --conflict-exit-code, '{DOUBLED}'"


@pytest.fixture
def stack(keepd):
    """Redis, gunicorn with an application that needs it, and a job before both; all ready.

    Each holds a lock for life, and so does all that it starts.
    """
    if not shutil.which("redis-server"):
        pytest.skip("no redis-server")
    redis, web = free_ports(2)
    one = keepd(
        f"""
        defaults: {{backoff: {{first: 20ms, limit: 500ms, reset_after: 2s}}, stop: {{timeout: 5s}}}}
        services:
          prepare: {{command: "echo prepared >> prepared", shell: true, restart: never}}
          redis:
            command: [{LONELY}, redis.lock, redis-server, --port, "{redis}", --bind, 127.0.0.1,
                      --save, "", --appendonly, "no", --dir, .]
            depends_on: {{prepare: completed}}
            ready: {{tcp: "127.0.0.1:{redis}", every: 50ms}}
          web:
            command: [{LONELY}, web.lock, {sys.executable}, -m, gunicorn, --bind,
                      "127.0.0.1:{web}", --workers, "{WORKERS}", --pythonpath, {PROGRAMS},
                      --graceful-timeout, "1", "counter:app"]
            env: {{REDIS_PORT: "{redis}", PYTHONDONTWRITEBYTECODE: "1"}}
            depends_on: {{redis: ready}}
            ready: {{http: "http://127.0.0.1:{web}/healthz", every: 50ms}}
        """
    ).up()
    one.ports = redis, web
    return one


def free_ports(count):
    with contextlib.ExitStack() as stack:
        servers = [
            stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)
        ]
        return [server.getsockname()[1] for server in servers]


class Visitors:
    """Ask for the page all the time, from one thread, and note each answer."""

    def __init__(self, port):
        self.port = port
        self.answers = []  # (when, HTTP status, or 0 for none)
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._visit)

    def _visit(self):
        while not self._end.wait(0.02):
            self.answers.append((time.monotonic(), self._ask()))

    def _ask(self):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=LIMIT)
        try:
            connection.request("GET", "/")
            answer = connection.getresponse()
            answer.read()
            return answer.status
        except (OSError, http.client.HTTPException):
            return 0
        finally:
            connection.close()

    def since(self, when):
        return [status for at, status in self.answers if at > when]

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._end.set()
        self._thread.join()


def leaders(one):
    """Return what the kernel knows: for each replica the runs that live, and their leaders."""
    found = {}
    place = re.compile(re.escape(f"{one.run_dir}/fifo/") + r"(.+/\d+)\.(\d+)")
    for name in filter(str.isdigit, os.listdir("/proc")):
        pid = int(name)
        with contextlib.suppress(OSError):
            output = place.fullmatch(os.readlink(f"/proc/{name}/fd/1"))
            if output and os.getsid(pid) == pid and alive(pid):
                found.setdefault(output[1], set()).add((int(output[2]), pid))
    return found


def truthful(one):
    """Tell whether status says what the kernel says: which run of each lives, with what pid."""
    told = {}
    for replica in one.replicas():
        if replica["pid"] is not None and replica["state"] in {"STARTING", "RUNNING"}:
            told[replica["id"]] = {(replica["run"], replica["pid"])}
        assert replica["ready"] == (replica["state"] == "RUNNING")
    return told == leaders(one)


def victims(one):
    """Return all that may be killed: the leaders, and the workers of gunicorn."""
    found = {key: one.replica(key)["pid"] for key in ("redis", "web")}
    workers = children(found["web"]) if found["web"] else []
    return [pid for pid in (*found.values(), *workers) if pid]


def listeners(port):
    """Return how many sockets listen on a port of the loopback address."""
    lines = Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]
    fields = [line.split() for line in lines]
    address = f"0100007F:{port:04X}"
    return sum(entry[1] == address and entry[3] == "0A" for entry in fields)


def look(one):
    """Look at all of it: nothing is doubled, and status tells the truth within its bound."""
    until(lambda: truthful(one), BOUND)
    assert all(listeners(port) <= 1 for port in one.ports)


def kill_at_random(one, seconds, dice):
    """Kill somebody again and again, now in peace and now in quick succession; return how often."""
    kills, end = 0, time.monotonic() + seconds
    while time.monotonic() < end:
        living = victims(one)
        if not living:
            select.select([], [], [], 0.02)
            continue
        kill(*dice.sample(living, dice.choice((1, 1, 1, min(2, len(living))))))
        kills += 1
        look(one)
        if dice.random() < 0.6:  # let it come back; else it is hit while it does
            until(lambda: whole(one))
    return kills


def whole(one):
    """Tell whether all of the stack is there: both services, and all workers."""
    states = {replica["id"]: replica["state"] for replica in one.replicas()}
    if states != {"prepare/0": "EXITED", "redis/0": "RUNNING", "web/0": "RUNNING"}:
        return False
    return len([pid for pid in children(one.pid("web")) if alive(pid)]) == WORKERS


def storm(one, seconds, dice):
    """Kill under load, and check that all of it comes back as it was; return what happened."""
    with Visitors(one.ports[1]) as visitors:
        until(lambda: 200 in visitors.since(0))
        kills = kill_at_random(one, seconds, dice)
        one.call("wait", {"for": "ready", "names": ["redis", "web"], "timeout": LIMIT})
        until(lambda: whole(one))
        quiet = time.monotonic()
        until(lambda: visitors.since(quiet)[-20:] == [200] * 20)
    look(one)
    assert {status for _, status in visitors.answers} <= {200, 503, 0}
    replicas = {replica["id"]: replica for replica in one.replicas()}
    assert (replicas["prepare/0"]["run"], replicas["prepare/0"]["restarts"]) == (1, 0)
    assert (one.folder / "prepared").read_text() == "prepared\n"
    assert f"exited with {DOUBLED}" not in one.log("keepd")
    return kills, replicas


def gone(one):
    """End keepd in order, and check that nothing of the stack is left."""
    pids = [one.process.pid, *one.helpers(), *tagged(one.run_dir)]
    done = one.run("down")
    assert done.returncode == 0, done
    assert not [pid for pid in pids if alive(pid)]
    assert not tagged(one.run_dir)
    assert not any(listeners(port) for port in one.ports)
    assert one.process.wait(LIMIT) == 0


def test_a_real_stack_starts_in_order_and_survives_random_kills_under_load(stack):
    stack.tells("web/0 is ready")
    log = stack.log("keepd")
    order = [log.index(text) for text in ("prepare/0 exited", "redis/0 is ready", "web/0 is ready")]
    assert order == sorted(order)
    kills, replicas = storm(stack, 6, random.Random(1))
    assert kills >= 4
    assert replicas["redis/0"]["run"] + replicas["web/0"]["run"] > 2
    gone(stack)


def test_what_is_killed_comes_back_alone(stack):
    """A leader brings a new run of its own service only; a worker is its leader's business."""
    before = {replica["id"]: replica for replica in stack.replicas()}
    workers = children(before["web/0"]["pid"])
    kill(workers[0])
    until(lambda: whole(stack) and workers[0] not in children(stack.pid("web")))
    assert stack.replica("web")["pid"] == before["web/0"]["pid"]
    stack.kill("redis")
    stack.becomes("redis/0", "RUNNING", run=2)
    assert stack.replica("web")["run"] == 1  # a later failure leaves running dependents alone
    stack.kill("web")  # its workers would go on serving, and hold the port
    replica = stack.becomes("web/0", "RUNNING", run=2)
    assert replica["last_exit"]["signal"] == "SIGKILL"
    until(lambda: whole(stack))
    assert not set(workers) & set(tagged(stack.run_dir))
    look(stack)
    assert f"exited with {DOUBLED}" not in stack.log("keepd")
    kill(stack.process.pid, number=signal.SIGTERM)
    assert stack.process.wait(LIMIT) == 0
    assert not tagged(stack.run_dir)


@pytest.mark.soak
def test_a_real_stack_survives_a_minute_of_random_kills_under_load(stack):
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    kills, replicas = storm(stack, 60, random.Random(seed))
    assert kills >= 20
    assert replicas["redis/0"]["run"] > 3
    assert replicas["web/0"]["run"] > 3
    gone(stack)

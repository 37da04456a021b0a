"""Readiness from outside: real sockets, a real HTTP server, a real prober that is really killed."""

import contextlib
import http.server
import os
import resource
import select
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time

import pytest

from supervisor import prober
from supervisor.core.spec import Ready
from supervisor.probes import PACE, Probes
from supervisor.unix.poller import Poller

LIMIT = 20.0  # seconds: more than anything here takes on a busy machine


class Desk:
    """A master that does nothing but ask."""

    def __init__(self):
        self.poller = Poller()
        self.ready = []
        self.notes = []
        self.checks = []
        self.probes = Probes(
            self.poller,
            lambda key, run: self.ready.append((key, run)),
            lambda key, run, text: self.notes.append((key, run, text)),
            lambda key, run, why: self.checks.append((key, run, why)),
        )

    def until(self, condition, limit=LIMIT):
        end = time.monotonic() + limit
        while not condition():
            assert time.monotonic() < end, f"ready: {self.ready}, notes: {self.notes}"
            self.poller.wait(0.1)

    def becomes_ready(self, key, run):
        self.until(lambda: (key, run) in self.ready)

    def is_noted(self, key, run, text):
        self.until(lambda: (key, run, text) in self.notes)


@pytest.fixture
def desk():
    desk = Desk()
    yield desk
    probers = [os.dup(pidfd) for pidfd in desk.probes._pidfds]  # one that was killed among them
    desk.probes.close()
    for pidfd in probers:
        os.waitid(os.P_PIDFD, pidfd, os.WEXITED)
        os.close(pidfd)
    desk.poller.close()


@pytest.fixture
def port():
    """A port of ours on which nobody listens yet: connections are refused until listen()."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield sock


def address(sock):
    return f"127.0.0.1:{sock.getsockname()[1]}"


class Pages(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.asked.append(self.path)
        self.send_response(self.server.codes.get(self.path, 404))
        if self.path == "/moved":
            self.send_header("Location", "/elsewhere")
        self.end_headers()

    def log_message(self, *_):
        """Print nothing."""


@contextlib.contextmanager
def pages(codes, context=None):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Pages)
    server.codes, server.asked = codes, []
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join(LIMIT)
        server.server_close()


def test_f48_a_port_is_ready_when_it_takes_connections_and_not_before(desk, port):
    desk.probes.start("web/0", 1, Ready(tcp=address(port)))
    desk.is_noted("web/0", 1, "connection refused")
    assert desk.ready == []
    port.listen()
    desk.becomes_ready("web/0", 1)


def test_a_name_is_resolved_and_all_its_addresses_are_tried(desk, port):
    port.listen()  # on 127.0.0.1 only, where localhost may be ::1 first
    desk.probes.start("web/0", 1, Ready(tcp=f"localhost:{port.getsockname()[1]}"))
    desk.becomes_ready("web/0", 1)


def test_an_ipv6_address_stands_in_brackets(desk):
    with socket.socket(socket.AF_INET6) as sock:
        try:
            sock.bind(("::1", 0))
        except OSError:  # no IPv6 here: that is what the note must say then
            desk.probes.start("web/0", 1, Ready(tcp="[::1]:9"))
            desk.is_noted("web/0", 1, "cannot assign requested address")
            return
        sock.listen()
        desk.probes.start("web/0", 1, Ready(tcp=f"[::1]:{sock.getsockname()[1]}"))
        desk.becomes_ready("web/0", 1)


def test_http_is_ready_at_2xx_and_says_what_came_instead(desk):
    with pages({"/healthz": 503}) as server:
        url = f"http://{address(server.socket)}/healthz"
        desk.probes.start("web/0", 1, Ready(http=url))
        desk.is_noted("web/0", 1, "HTTP 503 Service Unavailable")
        assert desk.ready == []
        server.codes["/healthz"] = 204
        desk.becomes_ready("web/0", 1)
    assert [text for _, _, text in desk.notes].count("HTTP 503 Service Unavailable") == 1


def test_a_redirect_is_an_answer_and_is_not_followed(desk):
    with pages({"/moved": 302, "/elsewhere": 500}) as server:
        desk.probes.start("web/0", 1, Ready(http=f"http://{address(server.socket)}/moved"))
        desk.becomes_ready("web/0", 1)
        assert server.asked == ["/moved"]


def test_a_proxy_in_the_environment_is_not_asked(desk, port, monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://{address(port)}")
    with pages({"/?a=b": 200}) as server:
        desk.probes.start("web/0", 1, Ready(http=f"http://{address(server.socket)}?a=b"))
        desk.becomes_ready("web/0", 1)


def test_https_is_asked_too_whoever_signed_its_certificate(desk, tmp_path):
    key, certificate = tmp_path / "key", tmp_path / "certificate"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *("-nodes", "-subj", "/CN=keepd", "-keyout", key, "-out", certificate),
        ],
        check=True,
        capture_output=True,
        timeout=LIMIT,
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with pages({"/": 200}, context) as server:
        desk.probes.start("web/0", 1, Ready(http=f"https://{address(server.socket)}"))
        desk.becomes_ready("web/0", 1)


def test_what_speaks_no_http_is_not_ready(desk, port):
    port.listen()
    desk.probes.start("web/0", 1, Ready(http=f"http://{address(port)}/"))
    connection, _ = port.accept()
    with connection:
        assert connection.recv(4096).startswith(b"GET / HTTP/1.1\r\nHost: 127.0.0.1")
        connection.sendall(b"220 mail.example ESMTP\r\n")
        desk.is_noted("web/0", 1, "no HTTP answer")


def test_who_accepts_and_says_nothing_delays_nobody_else(desk, port):
    port.listen()
    desk.probes.start("mute/0", 1, Ready(http=f"http://{address(port)}/"))
    with pages({"/": 200}) as server:
        for number in range(50):
            url = f"http://{address(server.socket)}/"
            desk.probes.start(f"web/{number}", 1, Ready(http=url))
        desk.until(lambda: len(desk.ready) == 50)
    desk.is_noted("mute/0", 1, "no answer within 2 s")


def test_a_name_server_that_hangs_delays_only_who_needs_it(desk, port, monkeypatch):
    port.listen()
    resolve, never = socket.getaddrinfo, threading.Event()

    def hang(host, *args, **hints):
        if host == "slow.example" and not hints.get("flags"):
            never.wait(LIMIT)
        return resolve(host, *args, **hints)

    monkeypatch.setattr(socket, "getaddrinfo", hang)  # the prober is forked with it
    for number in range(20):
        desk.probes.start(f"slow/{number}", 1, Ready(tcp="slow.example:80", every=0.01))
    desk.probes.start("web/0", 1, Ready(tcp=f"localhost:{port.getsockname()[1]}"))
    desk.becomes_ready("web/0", 1)
    desk.is_noted("slow/19", 1, "no answer within 2 s")


def stamped(*lines):
    return "".join(f"2025-01-31T12:00:00.123456Z {line}\n" for line in lines)


def test_a_line_of_the_run_makes_it_ready_and_no_line_of_an_earlier_run(desk, tmp_path):
    path = tmp_path / "0.log"
    path.write_text(stamped("ready of run 1"))
    begin = (str(path), 1, path.stat().st_size)
    desk.probes.start("web/0", 2, Ready(log="^ready"), begin)
    desk.is_noted("web/0", 2, "no line of its log matches '^ready' yet")
    with path.open("a") as file:
        file.write(stamped("not ready yet", "2025") + stamped("ready")[:-1])
        file.flush()
        desk.poller.wait(0.6)
        assert desk.ready == []  # the line may go on
        file.write("\n")
    desk.becomes_ready("web/0", 2)


def test_a_time_stamp_is_no_part_of_the_line(desk, tmp_path):
    path = tmp_path / "0.log"
    path.write_text(stamped("one", "two"))
    desk.probes.start("web/0", 1, Ready(log="2025", every=0.01), (str(path), 1, 0))
    desk.is_noted("web/0", 1, "no line of its log matches '2025' yet")
    desk.poller.wait(0.2)
    assert desk.ready == []


def test_a_log_is_followed_over_rotations_before_and_between_the_looks(desk, tmp_path):
    path = tmp_path / "0.log"
    (tmp_path / "0.000007.log").write_text(stamped("listening of the run before", "booting"))
    (tmp_path / "0.000008.log").write_text(stamped("loading"))
    path.write_text(stamped("warming"))
    offset = len(stamped("listening of the run before"))
    desk.probes.start("web/0", 3, Ready(log="listening", every=0.01), (str(path), 7, offset))
    desk.is_noted("web/0", 3, "no line of its log matches 'listening' yet")
    for number in (9, 10, 11):
        path.rename(tmp_path / f"0.{number:06}.log")
        path.write_text(stamped(f"rotated {number}"))
        desk.poller.wait(0.05)
    assert desk.ready == []
    with path.open("a") as file:
        file.write(stamped("listening"))
    path.rename(tmp_path / "0.000012.log")
    desk.becomes_ready("web/0", 3)


def test_a_run_that_rotates_its_first_words_away_is_read_from_the_oldest_left(desk, tmp_path):
    (tmp_path / "0.000009.log").write_text(stamped("flood", "listening"))
    desk.probes.start("web/0", 1, Ready(log="listening"), (str(tmp_path / "0.log"), 2, 500))
    desk.becomes_ready("web/0", 1)


def test_a_log_that_does_not_exist_yet_is_waited_for(desk, tmp_path):
    path = tmp_path / "0.log"
    desk.probes.start("web/0", 1, Ready(log="up"), (str(path), 1, 0))
    desk.is_noted("web/0", 1, "no line of its log matches 'up' yet")
    path.write_text(stamped("up"))
    desk.becomes_ready("web/0", 1)


def test_a_killed_prober_is_back_and_asks_again(desk, port):
    desk.probes.start("web/0", 1, Ready(tcp=address(port)))
    desk.is_noted("web/0", 1, "connection refused")
    killed = desk.probes.pid
    os.kill(killed, signal.SIGKILL)
    desk.until(lambda: desk.probes.pid not in {killed, None})
    port.listen()
    desk.becomes_ready("web/0", 1)
    desk.until(lambda: not os.path.exists(f"/proc/{killed}"))  # reaped, no zombie


def test_a_prober_that_always_dies_is_born_at_a_bounded_pace(desk, port, monkeypatch):
    monkeypatch.setattr(prober, "main", lambda _: 1)  # the prober is forked with it
    began, births = time.monotonic(), []
    desk.probes.start("web/0", 1, Ready(tcp=address(port)))
    while len(births) < 5:
        births.append(desk.probes.pid)
        desk.until(lambda: desk.probes.pid not in {None, births[-1]})
    assert time.monotonic() - began >= 4 * PACE


def test_who_is_forgotten_is_heard_of_no_more(desk, port):
    desk.probes.start("web/0", 1, Ready(tcp=address(port), every=0.01))
    desk.is_noted("web/0", 1, "connection refused")
    desk.probes.stop("web/0", 2)  # another run: changes nothing
    desk.probes.stop("web/0", 1)
    desk.probes.start("web/1", 1, Ready(tcp=address(port), every=0.01))
    port.listen()
    desk.becomes_ready("web/1", 1)
    desk.poller.wait(0.2)
    assert desk.ready == [("web/1", 1)]


def test_a_new_run_replaces_the_one_before(desk, port):
    desk.probes.start("web/0", 1, Ready(tcp=address(port), every=0.01))
    desk.is_noted("web/0", 1, "connection refused")
    desk.probes.start("web/0", 2, Ready(tcp=address(port), every=0.01))
    port.listen()
    desk.becomes_ready("web/0", 2)
    assert desk.ready == [("web/0", 2)]


def test_a_bad_pattern_or_port_is_a_note_and_no_crash(desk, port, tmp_path):
    path = tmp_path / "0.log"
    path.write_text(stamped("up"))
    desk.probes.start("odd/0", 1, Ready(tcp="127.0.0.1:http"))
    desk.until(lambda: desk.notes)
    desk.probes.start("odd/1", 1, Ready(log="*"), (str(path), 1, 0))
    desk.is_noted("odd/1", 1, "error: nothing to repeat at position 0")
    pid = desk.probes.pid
    port.listen()
    desk.probes.start("web/0", 1, Ready(tcp=address(port)))
    desk.becomes_ready("web/0", 1)
    assert desk.probes.pid == pid


def ends(pid):
    pidfd = os.pidfd_open(pid)
    try:
        return bool(select.select([pidfd], [], [], LIMIT)[0])
    finally:
        os.close(pidfd)


def test_the_prober_ends_with_its_master(desk, port):
    desk.probes.start("web/0", 1, Ready(tcp=address(port)))
    desk.is_noted("web/0", 1, "connection refused")
    pid, connection = desk.probes.pid, desk.probes._connection
    connection.close()  # as the kernel does when the master is killed
    assert ends(pid)


def switches(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        return next(line for line in file if line.startswith("voluntary_ctxt_switches"))


def test_an_idle_prober_sleeps_without_a_wake_up(desk, port):
    port.listen()
    desk.probes.start("web/0", 1, Ready(tcp=address(port)))
    desk.becomes_ready("web/0", 1)

    def sleeps():
        before = switches(desk.probes.pid)
        desk.poller.wait(1.0)
        return switches(desk.probes.pid) == before

    desk.until(sleeps)


def test_f65_no_descriptors_for_a_prober_is_a_note_and_the_next_start_tries_again(desk, port):
    port.listen()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        desk.probes.start("web/0", 1, Ready(tcp=address(port)))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert desk.notes == [("web/0", 1, "cannot start the prober: too many open files")]
    desk.probes.start("web/0", 2, Ready(tcp=address(port)))
    desk.becomes_ready("web/0", 2)


def test_f67_the_prober_holds_nothing_of_its_master(desk, port):
    with socket.socket() as stranger:
        stranger.bind(("127.0.0.1", 0))
        desk.probes.start("web/0", 1, Ready(tcp=address(port)))
        desk.is_noted("web/0", 1, "connection refused")
        theirs = {os.readlink(f"/proc/self/fd/{fd.fileno()}") for fd in (stranger, port)}
        folder = f"/proc/{desk.probes.pid}/fd"
        held = {os.readlink(f"{folder}/{fd}") for fd in os.listdir(folder)}
        assert not held & theirs


SHORT = """
import encodings.idna, os, resource, sys
import supervisor.prober  # before it may not be read any more
from supervisor.core.spec import Health
from supervisor.probes import Probes
from supervisor.unix.poller import Poller

poller, said = Poller(), []
if os.getuid() == 0:
    os.setuid(65534)
hard = resource.getrlimit(resource.RLIMIT_NPROC)[1]
resource.setrlimit(resource.RLIMIT_NPROC, (1, hard))
note = lambda key, run, text: said.append(text)
probes = Probes(poller, None, note, lambda key, run, why: said.append(why))
probes.hooked = lambda number, why: said.append(why)
probes.start("web/0", 1, Health(tcp=sys.argv[1], every=0.1))
probes.hook(1, {}, 1.0)
probes.again()
resource.setrlimit(resource.RLIMIT_NPROC, (hard, hard))
probes.again()
while len(said) < 5:
    poller.wait(20)
print(*said, sep="\\n")
probes.close()
"""


def test_f36_f37_what_cannot_be_forked_now_is_asked_later(port):
    words = [sys.executable, "-c", SHORT, address(port)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=LIMIT, check=False)
    cannot = "cannot start the prober: resource temporarily unavailable"
    assert done.stdout.splitlines() == [cannot, cannot, cannot, cannot, "connection refused"], done

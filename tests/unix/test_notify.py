"""sd_notify, spoken and heard."""

import contextlib
import math
import os
import socket
import stat

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from supervisor.unix.notify import (
    Manager,
    NotifySocket,
    PathTooLongError,
    Words,
    parse,
    sd_notify,
)
from supervisor.unix.private import make_folders


@pytest.fixture
def ear(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # so that a long name of the folder does not matter
    make_folders("notify/web", 0o700)
    found = NotifySocket("notify/web/0.1")
    yield found
    found.close()
    assert not os.path.exists("notify/web/0.1")


def said(ear):
    """Return what has been said, all of it by ourselves."""
    heard = list(ear.take())
    assert all(pid == os.getpid() for pid, _ in heard)
    return [words for _, words in heard]


def test_what_is_said_is_heard(ear, monkeypatch):
    monkeypatch.setenv("NOTIFY_SOCKET", os.path.abspath(ear.path))
    if len(os.path.abspath(ear.path)) > 107:
        monkeypatch.setenv("NOTIFY_SOCKET", f"/proc/self/cwd/{ear.path}")
    assert said(ear) == []
    sd_notify("STATUS=warming up")
    sd_notify("READY=1\nMAINPID=1\nSTATUS=warm\nSTATUS=hot")
    assert said(ear) == [Words(status="warming up"), Words(ready=True, status="hot")]


def test_s6_only_we_may_speak_to_it(ear):
    assert stat.S_IMODE(os.stat(ear.path).st_mode) == 0o600


def test_s24_descriptors_that_come_along_are_closed(ear):
    before = len(os.listdir("/proc/self/fd"))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.connect(ear.path)
        socket.send_fds(sock, [b"FDSTORE=1\nREADY=1"], [0, 1, 2])
    assert said(ear) == [Words(ready=True)]
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("text", [b"", b"READY=0", b"XREADY=1", b"\xff\xfe", b"READY", b"=\n=\n"])
def test_anything_else_is_skipped(text):
    assert parse(text).ready is False


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"WATCHDOG=1\n", Words(beat=True)),
        (b"WATCHDOG=trigger", Words(trigger=True)),
        (b"WATCHDOG=0\nWATCHDOG= 1", Words()),
        (b"EXTEND_TIMEOUT_USEC=2500000", Words(more_time=2.5)),
        (b"EXTEND_TIMEOUT_USEC=99999999999999999999", Words(more_time=3600.0)),
        (b"EXTEND_TIMEOUT_USEC=1e9\nEXTEND_TIMEOUT_USEC=-1", Words()),
        ("EXTEND_TIMEOUT_USEC=\u0661".encode(), Words()),
        (b"STOPPING=1\nMAINPID=1\nRELOADING=1\nFDSTORE=1\nERRNO=2", Words()),
    ],
)
def test_what_is_understood(text, words):
    assert parse(text) == words


@given(st.binary(max_size=300))
@example(b"EXTEND_TIMEOUT_USEC=" + b"9" * 5000)
def test_no_datagram_is_a_crash(datagram):
    words = parse(datagram)
    assert words.more_time is None or 0 <= words.more_time <= 3600
    assert words.ready is (b"READY=1" in datagram.split(b"\n"))
    assert words.status is None or "\n" not in words.status


LINES = {
    "READY=1": {"ready": True},
    "WATCHDOG=1": {"beat": True},
    "WATCHDOG=trigger": {"trigger": True},
    "EXTEND_TIMEOUT_USEC=1500000": {"more_time": 1.5},
    "STATUS=": {"status": ""},
    "STATUS=é=é": {"status": "é=é"},
    "MAINPID=1": {},
    "": {},
}


@given(st.lists(st.sampled_from(sorted(LINES)), max_size=8))
def test_lines_mean_the_same_together_as_alone(lines):
    meant = {}
    for line in lines:
        meant |= LINES[line]
    assert parse("\n".join(lines).encode()) == Words(**meant)


def test_s24_a_datagram_that_is_too_long_is_not_listened_to(ear):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.connect(ear.path)
        sock.send(b"READY=1\nX=" + b"x" * 20_000)
        sock.send(b"WATCHDOG=1")
    assert said(ear) == [Words(beat=True)]


def test_s24_a_flood_of_them_is_taken_in_portions(ear):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.connect(ear.path)
        sock.setblocking(False)
        portions = []
        for _ in range(3):
            with contextlib.suppress(BlockingIOError):
                while True:
                    sock.send(b"WATCHDOG=1")
            portions.append(len(said(ear)))
    assert all(0 < portion <= 64 for portion in portions)


def test_a_status_has_a_bound():
    assert parse(b"STATUS=" + b"x" * 5000).status == "x" * 1000


def test_a_path_that_is_too_long_is_told_in_words(tmp_path):
    with pytest.raises(PathTooLongError, match="give a shorter runtime_dir"):
        NotifySocket(str(tmp_path / ("x" * 100)))


@pytest.mark.parametrize("address", ["", "relative", "/no/such/socket", "@no-such-socket"])
def test_nobody_who_listens_is_no_error(address, monkeypatch):
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    sd_notify("READY=1")


def test_an_abstract_address_is_spoken_to(monkeypatch):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        name = f"keepd-test-{os.getpid()}"
        sock.bind(f"\0{name}")
        monkeypatch.setenv("NOTIFY_SOCKET", f"@{name}")
        sd_notify("READY=1")
        assert sock.recv(100) == b"READY=1"


@pytest.fixture
def listener(monkeypatch):
    """A service manager's end, which keeps descriptors."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        name = f"keepd-test-manager-{os.getpid()}"
        sock.bind(f"\0{name}")
        sock.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", f"@{name}")
        monkeypatch.setenv("FDSTORE", "4096")
        yield sock


def heard(listener):
    """Return what was told so far."""
    texts = []
    with contextlib.suppress(BlockingIOError):
        while True:
            text, fds, _, _ = socket.recv_fds(listener, 4096, 4)
            texts.append(text.decode())
            for fd in fds:
                os.close(fd)
    return texts


def names(texts, verb):
    return [text.partition("FDNAME=")[2] for text in texts if text.startswith(verb)]


def test_a_manager_with_no_room_is_told_everything_in_the_end(listener):
    manager, texts = Manager(), []
    for number in range(2000):
        manager.store(f"fifo web/0.{number}", 0)
    manager.tell("READY", "READY=1")
    manager.unstore("fifo web/0.0")  # told of already
    manager.unstore("fifo web/0.1999")  # not told of yet
    assert manager.pause() < 1
    while manager.pause() < math.inf:
        texts += heard(listener)
        manager.flush()
    texts += heard(listener)
    assert names(texts, "FDSTORE=1") == [f"fifo=web/0.{number}" for number in range(1999)]
    assert names(texts, "FDSTOREREMOVE=1") == ["fifo=web/0.0"]
    assert texts.count("READY=1") == 1


def test_descriptors_are_not_pressed_on_a_manager_that_keeps_none(listener, monkeypatch):
    monkeypatch.delenv("FDSTORE")
    manager = Manager()
    manager.store("fifo web/0.1", 0)
    manager.unstore("fifo web/0.1")
    assert heard(listener) == []


def test_a_manager_that_watches_hears_that_we_live(listener, monkeypatch):
    monkeypatch.setenv("WATCHDOG_USEC", "30000000")
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
    manager = Manager()
    manager.flush()
    manager.flush()  # not due yet
    assert heard(listener) == ["WATCHDOG=1"]
    assert 0 < manager.pause() <= 10
    monkeypatch.setenv("WATCHDOG_PID", "1")  # meant for somebody else
    Manager().flush()
    assert heard(listener) == []

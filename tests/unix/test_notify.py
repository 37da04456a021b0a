"""sd_notify, spoken and heard."""

import os
import socket
import stat

import pytest

from supervisor.unix.notify import NotifySocket, PathTooLongError, Words, parse, sd_notify
from supervisor.unix.private import make_folders


@pytest.fixture
def ear(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # so that a long name of the folder does not matter
    make_folders("notify/web", 0o700)
    found = NotifySocket("notify/web/0.1")
    yield found
    found.close()
    assert not os.path.exists("notify/web/0.1")


def test_what_is_said_is_heard(ear, monkeypatch):
    monkeypatch.setenv("NOTIFY_SOCKET", os.path.abspath(ear.path))
    if len(os.path.abspath(ear.path)) > 107:
        monkeypatch.setenv("NOTIFY_SOCKET", f"/proc/self/cwd/{ear.path}")
    assert ear.take() == []
    sd_notify("STATUS=warming up")
    sd_notify("READY=1\nMAINPID=1\nSTATUS=warm\nSTATUS=hot")
    assert ear.take() == [Words(ready=False, status="warming up"), Words(ready=True, status="hot")]


def test_s6_only_we_may_speak_to_it(ear):
    assert stat.S_IMODE(os.stat(ear.path).st_mode) == 0o600


def test_descriptors_that_come_along_are_closed(ear):
    before = len(os.listdir("/proc/self/fd"))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.connect(ear.path)
        socket.send_fds(sock, [b"FDSTORE=1\nREADY=1"], [0, 1, 2])
    assert ear.take() == [Words(ready=True, status=None)]
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("text", [b"", b"READY=0", b"XREADY=1", b"\xff\xfe", b"READY", b"=\n=\n"])
def test_anything_else_is_skipped(text):
    assert parse(text).ready is False


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

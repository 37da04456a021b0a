"""What a foreground keepd shows, on a real terminal and on pipes."""

import os
import pty
import select
import signal
import time
from pathlib import Path

import pytest

from supervisor.core.spec import Log
from supervisor.logs import terminal
from supervisor.unix import process
from tests.logs.fire import end_of
from tests.logs.house import numbered

LIMIT = 40.0


class Screen:
    """The follower, and what somebody in front of it sees."""

    def __init__(self, house, out, read, since=None):
        log_dir = str(house.log_dir)
        self.house, self.read, self.seen = house, read, b""
        self.pid = process.fork(
            "terminal", lambda: terminal.main(log_dir, out, False, since), (out,)
        )
        os.close(out)
        end = time.monotonic() + LIMIT
        while not self._hears_term():
            assert time.monotonic() < end
            self.look(0.01)

    def _hears_term(self):
        status = Path(f"/proc/{self.pid}/status").read_text(encoding="ascii")
        caught = int(status.partition("SigCgt:")[2].split()[0], 16)
        return bool(caught & 1 << signal.SIGTERM - 1)

    def until(self, text):
        """Look until a text is there."""
        end = time.monotonic() + LIMIT
        while text not in self.seen:
            assert time.monotonic() < end, self.seen[-2000:]
            self.house.poller.wait(0)
            self.look(0.01)

    def look(self, limit):
        if select.select((self.read,), (), (), limit)[0]:
            try:
                chunk = os.read(self.read, 65_536)
            except OSError:  # the other end of the terminal has gone
                return False
            self.seen += chunk
            return bool(chunk)
        return False

    def lines(self):
        return self.seen.replace(b"\r\n", b"\n").split(b"\n")

    def end(self):
        """Tell it to end, and see the rest."""
        os.kill(self.pid, signal.SIGTERM)
        code = end_of(self.pid)
        more = True
        while more:
            more = self.look(0)
        os.close(self.read)
        return code


@pytest.fixture
def piped(house):
    house.start_writer()
    read, write = os.pipe()
    return Screen(house, write, read, since={})


def test_new_lines_of_new_services_are_shown_with_their_names(piped):
    piped.house.print("web/0", b"hello\n")
    piped.house.print("worker/1", b"\x1b[2Jworld\n")
    piped.house.relay.say("started web/0")
    piped.until(b"web/0    | hello\n")
    piped.until(b"worker/1 | \\x1b[2Jworld\n")
    piped.until(b"keepd    | started web/0\n")
    assert piped.end() == 0


def test_what_was_there_before_is_not_shown_again(house):
    house.start_writer()
    house.print("web/0", b"old\n")
    since = terminal.marks(str(house.log_dir))
    house.print("web/0", b"new\n" + numbered(0, 100), run=2, log=Log(max_size=1000))
    house.print("job/0", b"newer\n" + numbered(0, 100), log=Log(max_size=1000))
    assert len(house.paths("web/0")) > 2
    read, write = os.pipe()
    screen = Screen(house, write, read, since)
    screen.until(b"job/0    | newer\n")
    screen.until(b"web/0    | new\n")
    screen.end()
    assert b"old" not in screen.seen


def test_without_a_mark_it_begins_with_what_comes_after_its_start(house):
    house.start_writer()
    house.print("web/0", b"old\n")
    read, write = os.pipe()
    screen = Screen(house, write, read)
    run = 1
    while b"new" not in screen.seen:
        run += 1
        house.print("web/0", b"new\n", run=run)
        screen.look(0.01)
    screen.end()
    assert b"old" not in screen.seen


def test_what_is_left_is_shown_when_it_is_told_to_end(piped):
    piped.house.print("web/0", b"last words", log=Log())
    os.write(piped.house.relay.open("web/1", 1, Log()), b"half a line")
    piped.house.until(lambda: piped.house.text("web/1"))
    assert piped.end() == 0
    assert b"web/0    | last words [keepd: no newline at the end]\n" in piped.seen
    assert b"web/1    | half a line\n" in piped.seen


def test_f54_lines_are_shown_once_and_in_order_over_rotations(piped):
    lines = numbered(0, 3000)
    fd = piped.house.relay.open("web/0", 1, Log(max_size=10_000, max_files=99))
    while lines:
        lines = lines[os.write(fd, lines[:1000]) :]
        piped.house.hear(0.001)
        piped.look(0)
    piped.house.end("web/0")
    piped.until(b"line 2999 ")
    piped.end()
    shown = [line.removeprefix(b"web/0    | ") for line in piped.lines() if line]
    assert shown == numbered(0, 3000).split(b"\n")[:-1]


def test_a_stopped_terminal_stops_no_service_and_is_told_what_it_missed(house):
    house.start_writer()
    ours, theirs = pty.openpty()
    screen = Screen(house, theirs, ours, since={})
    text = numbered(0, 200_000, 60)
    house.print("web/0", text, log=Log(max_size=3_000_000, max_files=2))
    screen.until(b"lines skipped")
    screen.until(b"line 199999 ")
    assert screen.end() == 0


def test_a_terminal_that_nobody_reads_does_not_keep_it_from_ending(house):
    house.start_writer()
    ours, theirs = pty.openpty()
    screen = Screen(house, theirs, ours, since={})
    house.print("web/0", numbered(0, 20_000))
    assert screen.end() == 0


def test_a_terminal_that_is_closed_ends_it(house):
    house.start_writer()
    read, write = os.pipe()
    screen = Screen(house, write, read, since={})
    os.close(read)
    assert end_of(screen.pid) == 0

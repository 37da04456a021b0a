"""JSON lines over a socket pair, one end in a Poller."""

import contextlib
import json
import socket

import pytest

from supervisor.unix.lines import Limits, LineConnection
from supervisor.unix.poller import Poller

TURNS = 10_000


class End:
    """One LineConnection and all that it told."""

    def __init__(self, **limits):
        self.poller = Poller()
        ours, self.other = socket.socketpair()
        self.other.settimeout(20)
        self.messages, self.garbled, self.closed = [], [], 0
        self.line = LineConnection(
            ours, self.poller, self.messages.append, self._closed, Limits(**limits)
        )

    def _closed(self):
        self.closed += 1

    def until(self, condition):
        for _ in range(TURNS):
            if condition():
                return
            self.poller.wait(0.01)
        raise AssertionError(condition)

    def settle(self):
        for _ in range(20):
            self.poller.wait(0)


@pytest.fixture
def make():
    made = []

    def one(**limits):
        made.append(End(**limits))
        return made[-1]

    yield one
    for end in made:
        end.line.close()
        end.other.close()
        end.poller.close()


def test_messages_come_whole_however_they_were_cut(make):
    end = make()
    sent = [{"n": n, "text": "ü" * n} for n in range(40)]
    data = b"".join(json.dumps(one).encode() + b"\n" for one in sent)
    for at in range(0, len(data), 7):
        end.other.sendall(data[at : at + 7])
        end.poller.wait(0)
    end.until(lambda: len(end.messages) == len(sent))
    assert end.messages == sent


def test_what_the_other_side_does_not_take_is_queued_and_sent_in_order(make):
    end = make()
    for number in range(300):
        end.line.send({"n": number, "fill": "x" * 5000})
    assert end.line.backlog > 0
    file, got = end.other.makefile("rb"), []
    end.other.settimeout(0)
    data = b""
    for _ in range(TURNS):
        end.poller.wait(0)
        with contextlib.suppress(BlockingIOError):
            data += end.other.recv(1 << 20)
        if data.count(b"\n") == 300:
            break
    file.close()
    got = [json.loads(line)["n"] for line in data.splitlines()]
    assert got == list(range(300))
    assert end.line.backlog == 0


def test_too_long_a_backlog_ends_the_connection_but_not_from_inside_send(make):
    end = make(max_backlog=100_000)
    for _ in range(100):
        end.line.send({"fill": "x" * 50_000})
        assert end.closed == 0
    end.until(lambda: end.closed)
    assert not end.line.is_open
    end.line.send({"to": "nobody"})


def test_one_message_of_any_size_may_be_sent(make):
    end = make(max_backlog=10)
    end.line.send({"fill": "x" * 3_000_000})
    end.settle()
    assert end.line.is_open


@pytest.mark.parametrize(
    "data", [b"nonsense\n", b"[1]\n", b"\xff\n", b"1\n", b"[" * 99_999 + b"\n", b"x" * 2000]
)
def test_garbage_gives_the_connection_up_once(make, data):
    end = make(max_line=1000)
    end.other.sendall(data)
    end.until(lambda: end.closed)
    end.settle()
    assert (end.closed, end.messages) == (1, [])


def test_garbage_goes_to_whoever_wants_to_hear_of_it(make):
    end = make(max_line=50)
    end.line.garbled = end.garbled.append
    end.other.sendall(b"nonsense\n" + b'{"x":"' + b"y" * 60 + b'"}\n{"a":1}\n\n  \n')
    end.until(lambda: end.messages)
    assert end.messages == [{"a": 1}]
    assert [words.split(":")[0] for words in end.garbled] == [
        "not JSON",
        "a line is longer than 50 bytes",
    ]
    assert end.line.is_open


def test_the_last_words_of_one_who_has_gone_are_heard_before_its_end_is_told(make):
    end = make()
    end.other.sendall(b'{"n":1}\n{"n":2}\n{"half')
    end.other.close()
    end.until(lambda: end.closed)
    assert end.messages == [{"n": 1}, {"n": 2}]
    end.settle()
    assert end.closed == 1


def test_one_who_only_stops_sending_is_still_spoken_to(make):
    end = make()
    end.other.shutdown(socket.SHUT_WR)
    end.settle()
    assert end.closed == 0
    end.line.send({"still": "here"})
    assert json.loads(end.other.recv(100)) == {"still": "here"}
    end.other.close()
    end.until(lambda: end.closed)


def test_closing_from_inside_a_message_ends_the_delivery_and_is_not_told(make):
    end = make()
    end.line._heard = lambda message: (end.messages.append(message), end.line.close())
    end.other.sendall(b'{"n":1}\n{"n":2}\n')
    end.until(lambda: end.messages)
    end.settle()
    assert end.messages == [{"n": 1}]
    assert end.closed == 0
    assert end.line.fileno() == -1


def test_with_one_message_a_turn_others_have_theirs_in_between(make):
    end = make(per_turn=1)
    end.other.sendall(b'{"n":1}\n{"n":2}\n{"n":3}\n')
    seen = []
    for _ in range(3):
        end.poller.wait(1)
        seen.append(len(end.messages))
    assert seen == [1, 2, 3]


def test_sending_to_one_who_has_gone_is_no_error(make):
    end = make()
    end.other.close()
    for _ in range(5):
        end.line.send({"fill": "x" * 100_000})
    end.until(lambda: end.closed)
    assert end.closed == 1

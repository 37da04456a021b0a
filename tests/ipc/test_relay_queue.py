"""RelayQueue with real pipes and processes: no producer can touch another."""

import os
import signal
import time

import pytest

from supervisor.ipc.relay import BUDGET, Producer, Records, RelayQueue

LIMIT = 20.0


class Pipes:
    """A queue and the pipes that belong to it."""

    def __init__(self):
        self.queue = RelayQueue()
        self.reads, self.writes = {}, {}

    def add(self, key):
        self.reads[key], self.writes[key] = os.pipe()
        self.queue.add(key, self.reads[key])
        return self.writes[key]

    def read_until(self, size):
        """Return what each producer has said, once it is so many bytes together."""
        said = dict.fromkeys(self.reads, b"")
        end = time.monotonic() + LIMIT
        while sum(map(len, said.values())) < size:
            assert time.monotonic() < end, {key: len(text) for key, text in said.items()}
            for key in self.queue.poll(1.0):
                said[key] += self.queue.read(key) or b""
        return said

    def close(self):
        self.queue.close()
        for fd in [*self.reads.values(), *self.writes.values()]:
            os.close(fd)


@pytest.fixture
def pipes():
    made = Pipes()
    yield made
    made.close()


def producer(fd, chunk):
    """Fork a process that writes for ever."""
    pid = os.fork()
    if pid == 0:
        while True:
            os.write(fd, chunk)
    return pid


def end(pid):
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def test_what_is_said_comes_by_key(pipes):
    os.write(pipes.add("a"), b"one")
    os.write(pipes.add("b"), b"two")
    assert pipes.read_until(6) == {"a": b"one", "b": b"two"}
    assert pipes.queue.poll(0) == []
    assert pipes.queue.read("a") is None


def test_f1_a_producer_killed_or_frozen_in_a_write_touches_no_other(pipes):
    killed = producer(pipes.add("killed"), b"k" * 100_000)
    frozen = producer(pipes.add("frozen"), b"f" * 100_000)
    pipes.read_until(1_000_000)
    end(killed)
    os.kill(frozen, signal.SIGSTOP)
    fd = pipes.add("well")
    os.write(fd, b"still heard")
    said = pipes.read_until(11)
    while not said["well"]:
        said = pipes.read_until(1)
    assert said["well"] == b"still heard"
    end(frozen)


def test_f63_a_flood_gets_its_budget_and_no_more(pipes):
    flood = producer(pipes.add("flood"), b"f" * 65_536)
    fd = pipes.add("quiet")
    try:
        for number in range(50):
            os.write(fd, b"%d" % number)
            rounds = 0
            while "quiet" not in (ready := pipes.queue.poll(LIMIT)):
                assert all(len(pipes.queue.read(key)) <= BUDGET for key in ready)
                rounds += 1
            assert rounds <= 1, "what is there must be told in the next round"
            assert pipes.queue.read("quiet") == b"%d" % number
    finally:
        end(flood)


def test_small_writes_are_read_in_rounds_of_two_milliseconds(pipes):
    fd = pipes.add("lines")
    rounds, began = 0, time.monotonic()
    for number in range(500):
        os.write(fd, b"a line %d\n" % number)
        rounds += sum(len(pipes.queue.read(key)) > 0 for key in pipes.queue.poll(0))
    assert rounds <= 1 + (time.monotonic() - began) / 0.002


def test_after_a_pause_the_first_line_is_not_held_back(pipes):
    fd = pipes.add("lines")
    os.write(fd, b"one")
    pipes.read_until(3)
    assert pipes.queue.poll(0.01) == []
    os.write(fd, b"two")
    assert pipes.queue.poll(0) == ["lines"]


def test_splice_moves_the_bytes_into_a_file(pipes, tmp_path):
    os.write(pipes.add("a"), b"hello")
    target = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    assert pipes.queue.poll(LIMIT) == ["a"]
    assert pipes.queue.splice("a", target) == 5
    assert pipes.queue.splice("a", target) is None
    assert os.pread(target, 10, 0) == b"hello"
    os.close(target)


def test_the_end_of_a_producer_is_told(pipes):
    os.close(pipes.add("a"))
    pipes.writes.clear()
    assert pipes.queue.poll(LIMIT) == ["a"]
    assert pipes.queue.read("a") == b""


def test_a_removed_producer_is_not_heard(pipes):
    os.write(pipes.add("a"), b"one")
    assert pipes.queue.remove("a") == pipes.reads["a"]
    assert pipes.queue.remove("a") is None
    assert "a" not in pipes.queue
    assert pipes.queue.poll(0) == []
    with pytest.raises(KeyError):
        pipes.queue.read("a")


def test_a_key_is_there_once(pipes):
    pipes.add("a")
    with pytest.raises(ValueError, match="already"):
        pipes.queue.add("a", pipes.reads["a"])


def test_records_survive_any_cut(pipes):
    fd = pipes.add("a")
    for number in range(20):
        Producer(fd).put({"number": number, "text": "line\nbreak"})
    os.write(fd, b"not json\n[1]\n" + b"x" * 300 + b"\n")
    Producer(fd).put({"number": 20})
    text = pipes.queue.read(pipes.queue.poll(LIMIT)[0])
    for size in (1, 7, 100, len(text)):
        records = Records(max_line=200)
        found = []
        for at in range(0, len(text), size):
            found += records.feed(text[at : at + size])
        assert [record["number"] for record in found] == list(range(21))
        assert records.refused == 3

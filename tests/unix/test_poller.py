"""The poller delivers what was asked for, to who asked for it, and never stale news."""

import os
import select

import pytest

from supervisor.unix.poller import Poller


@pytest.fixture
def poller():
    found = Poller()
    yield found
    found.close()


@pytest.fixture
def pipe():
    ends = os.pipe()
    yield ends
    for end in ends:
        os.close(end)


def test_a_ready_descriptor_is_told_again_and_again_until_it_is_forgotten(poller, pipe):
    heard = []
    poller.watch(pipe[0], heard.append)
    poller.wait(0)
    assert heard == []
    os.write(pipe[1], b"x")
    poller.wait(20)
    poller.wait(20)
    assert heard == [select.EPOLLIN] * 2
    poller.forget(pipe[0])
    poller.forget(pipe[0])
    poller.wait(0)
    assert len(heard) == 2


def test_other_events_can_be_waited_for(poller, pipe):
    heard = []
    poller.watch(pipe[1], heard.append, 0)
    poller.wait(0)
    assert heard == []
    poller.change(pipe[1], select.EPOLLOUT)
    poller.wait(20)
    assert heard == [select.EPOLLOUT]


def test_news_of_a_descriptor_forgotten_in_the_same_batch_is_dropped(poller):
    pairs = [os.pipe() for _ in range(2)]
    heard = []

    def first_come(fd):
        heard.append(fd)
        for other, _ in pairs:
            poller.forget(other)

    for read, write in pairs:
        poller.watch(read, lambda _, fd=read: first_come(fd))
        os.write(write, b"x")
    poller.wait(20)
    assert len(heard) == 1
    for pair in pairs:
        os.close(pair[0])
        os.close(pair[1])


def test_news_of_a_number_that_was_given_out_anew_in_the_same_batch_is_dropped(poller):
    pairs = [os.pipe() for _ in range(2)]
    heard = []

    def reuse(fd):
        heard.append(fd)
        (other,) = (read for read, _ in pairs if read != fd)
        poller.forget(other)
        poller.watch(other, lambda _: heard.append("stale"))

    for read, write in pairs:
        poller.watch(read, lambda _, fd=read: reuse(fd))
        os.write(write, b"x")
    poller.wait(20)
    assert len(heard) == 1
    for pair in pairs:
        os.close(pair[0])
        os.close(pair[1])


def test_later_is_once_and_after_the_batch(poller, pipe):
    heard = []
    poller.watch(pipe[0], lambda _: (heard.append("event"), poller.later(lambda: heard.append(1))))
    os.write(pipe[1], b"x")
    poller.wait(20)
    assert heard == ["event", 1]
    poller.forget(pipe[0])
    poller.later(lambda: heard.append(2))
    poller.wait(None)  # does not wait: something is to be done
    assert heard == ["event", 1, 2]


def test_a_descriptor_closed_too_early_is_forgotten_all_the_same(poller):
    read, write = os.pipe()
    poller.watch(read, print)
    os.close(read)
    poller.forget(read)
    os.close(write)

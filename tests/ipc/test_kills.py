"""Random deaths among those who use a queue or a lock, and none of them hurts another."""

import multiprocessing
import random

import pytest

from supervisor.ipc import Lock, Queue, RLock
from tests.ipc.deaths import LIMIT, ended, forked, killed, paused, until
from tests.ipc.fire import Battle, Books, Fire

SHORT, LONG = 60, 10_000
RING = 8 << 20


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("kills", [SHORT, pytest.param(LONG, marks=pytest.mark.soak)])
@pytest.mark.parametrize(
    ("victims", "maxsize"),
    [(("producers",), 0), (("consumers",), 0), (("producers", "consumers"), 50)],
)
def test_f1_of_what_was_accepted_only_killed_consumers_take_one_each_along(
    victims, maxsize, kills, tmp_path
):
    queue = Queue(maxsize, nbytes=RING)
    battle = Battle(kills, victims=victims, producers=4, consumers=3)
    outcome = Fire(queue, battle, tmp_path).fight()
    print(outcome)
    assert outcome.clean(), outcome
    assert outcome.received > kills


@pytest.mark.parametrize("victims", ["producers", "consumers"])
def test_the_same_fire_hangs_or_empties_the_queue_of_the_standard_library(victims, tmp_path):
    battle = Battle(200, victims=(victims,), limit=1.0)
    queue = multiprocessing.get_context("fork").Queue()
    try:
        assert not Fire(queue, battle, tmp_path).fight().clean()
    finally:
        queue.cancel_join_thread()
        queue.close()


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("maxsize", [0, 1, 50])
@pytest.mark.parametrize("kills", [16, pytest.param(2000, marks=pytest.mark.soak)])
def test_a_crowd_that_is_killed_stopped_forked_and_spawned_loses_nothing(maxsize, kills, tmp_path):
    queue = Queue(maxsize)
    sizes = (*range(0, 200, 9), *(1000,) * 90, *(30_000,) * 50, *(1_000_000,) * 4, 50_000_000)
    battle = Battle(kills, 8, 3, stops=0.5, spawned=0.15, sizes=sizes, seed=maxsize)
    outcome = Fire(queue, battle, tmp_path).fight()
    print(outcome)
    assert outcome.clean(), outcome


def contend(lock, books, number):
    """Count in two steps, which only the holder may see half done."""
    while not books.words[0]:
        with lock:
            before = books.words[1]
            books.words[2] = number
            books.words[1] = before + 1
            if books.words[2] != number:
                books.words[3] += 1


def lock_survives(lock, kills, folder, limit=LIMIT):
    """Kill holders and waiters of a lock; the survivors must go on after each."""
    books, chance = Books(str(folder)), random.Random(0)

    def joins(number):
        return forked(lambda: contend(lock, books, number))

    people = [joins(number) for number in range(4)]
    try:
        for number in range(4, 4 + kills):
            paused(chance.random() * 0.002)
            killed(people.pop(chance.randrange(4)))
            before = books.words[1]
            until(lambda before=before: books.words[1] > before, limit)
            people.append(joins(number))
        books.words[0] = 1
        while people:
            assert ended(people.pop(), limit) == 0
    finally:
        for pid in people:
            killed(pid)
    assert books.words[3] == 0, "two were in it at once"


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("kills", [SHORT, pytest.param(LONG, marks=pytest.mark.soak)])
@pytest.mark.parametrize("made", [Lock, RLock])
def test_f2_a_lock_whose_holders_and_waiters_are_killed_goes_round(made, kills, tmp_path):
    lock = made()
    lock_survives(lock, kills, tmp_path)
    print(lock.recovered, "holders of", kills)


def test_the_same_kills_stop_the_lock_of_the_standard_library(tmp_path):
    with pytest.raises(AssertionError, match="never came about"):
        lock_survives(multiprocessing.get_context("fork").Lock(), 300, tmp_path, limit=1.0)

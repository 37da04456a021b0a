"""A death at every bytecode of put, get, acquire and release: whoever is left goes on."""

import os
from queue import Empty, Full

import pytest

from supervisor.ipc import JoinableQueue, Lock, Queue, RLock
from supervisor.ipc.flock import FlockMutex
from supervisor.ipc.gate import CLAIM, Gate
from supervisor.ipc.ledger import BASE, PLACE, TAIL, TURN, WRAP
from tests.ipc.deaths import LIMIT, each_bytecode, ended, forked

BIG = b"b" * 40_000

pytestmark = pytest.mark.timeout(300)  # a fork for each bytecode, on however busy a machine


class FlockLock(Lock):
    @staticmethod
    def _made(recursive):
        return FlockMutex(recursive=recursive)


class FlockQueue(Queue):
    """As it is where the C library has no robust mutexes."""

    def __init__(self, maxsize=0, nbytes=1 << 20):
        super().__init__(maxsize, nbytes=nbytes)
        ring = self._ring
        ring._use(FlockMutex(recursive=False), FlockMutex(recursive=False), ring.some, ring.room)
        self._use(ring)


def small(maxsize=0):
    return Queue(maxsize, nbytes=1 << 16)


def drained(queue):
    found = []
    while True:
        try:
            found.append(queue.get(timeout=0))
        except Empty:
            return found


class Neighbour:
    """Another process that uses a queue when it is asked to, and has been there all the time."""

    def __init__(self, queue):
        self.queue = queue
        self.asked, self.asks = os.pipe()
        self.pid = forked(self.answer)

    def answer(self):
        os.close(self.asks)
        while os.read(self.asked, 1):
            self.queue.put("from another", timeout=LIMIT)

    def lives(self):
        """Assert that it can use the queue, which is empty, and this process too."""
        os.write(self.asks, b"?")
        assert self.queue.get(timeout=LIMIT) == "from another"
        self.queue.put("from here", timeout=LIMIT)
        assert drained(self.queue) == ["from here"]

    def __enter__(self):
        return self

    def __exit__(self, *error):
        os.close(self.asks)
        os.close(self.asked)
        assert ended(self.pid) == 0


@pytest.mark.parametrize(("made", "step"), [(Lock, 1), (RLock, 1), (FlockLock, 7)])
def test_f2_a_lock_passes_on_wherever_its_holder_died(made, step):
    lock = made()

    def work():
        with lock:
            assert lock.acquire(block=False) is (made is RLock)
            if made is RLock:
                lock.release()
        assert lock.acquire(timeout=LIMIT)
        lock.release()

    for _ in each_bytecode(work, step):
        with lock:
            assert lock.locked()
    assert lock.recovered > 20, "many of them died with the lock in hand"


@pytest.mark.parametrize("made", [Lock, RLock])
def test_a_lock_passes_on_wherever_one_died_who_recovered_it(made):
    lock = made()

    def work():
        lock.acquire()
        lock.release()

    ends = each_bytecode(work)
    while True:
        assert ended(forked(lock.acquire)) == 0  # and dies with it
        if next(ends) < 0:
            break
    assert lock.acquire(timeout=LIMIT)
    lock.release()


@pytest.mark.parametrize(("made", "step"), [(small, 1), (FlockQueue, 7)])
def test_f1_a_producer_that_dies_anywhere_in_put_leaves_the_queue_whole(made, step):
    queue = made()
    with Neighbour(queue) as neighbour:
        for number in each_bytecode(lambda: queue.put(("one", "message")), step):
            found = drained(queue)
            assert found in ([], [("one", "message")]), number
            assert found or number > 0, "it was accepted"
            neighbour.lives()


def test_f1_a_producer_that_dies_anywhere_where_the_ring_turns_round():
    queue = small()
    turned = 0
    for number in each_bytecode(lambda: queue.put(BIG)):
        found = drained(queue)
        assert found in ([], [BIG]), number
        for _ in range(2):  # the next one begins near the end, with something in the ring
            queue.put(b"a" * 20_000)
        queue.get()
        turned += bool(found)
        drained(queue)
        queue.put(b"a" * 30_000)
        assert drained(queue) == [b"a" * 30_000]
    assert turned


@pytest.mark.parametrize(("made", "step"), [(small, 1), (FlockQueue, 7)])
def test_a_consumer_that_dies_anywhere_in_get_takes_one_message_along_or_none(made, step):
    queue = made()
    queue.put(0)
    queue.put(1)
    with Neighbour(queue) as neighbour:
        for number in each_bytecode(queue.get, step):
            found = drained(queue)
            assert found in ([0, 1], [1]), number
            neighbour.lives()
            queue.put(0)
            queue.put(1)
            assert queue.qsize() == 2
            assert queue.peek() == 0


def test_a_consumer_that_dies_anywhere_while_it_finds_the_queue_empty():
    queue = small()

    def work():
        with pytest.raises(Empty):
            queue.get(timeout=0)

    with Neighbour(queue) as neighbour:
        for _ in each_bytecode(work):
            for number in range(3):  # far enough to make it begin anew
                queue.put(b"%d" % number + BIG[:15_000])
                assert queue.get(timeout=LIMIT)[:1] == b"%d" % number
            neighbour.lives()
            queue.put(b"last")
            assert queue.get(timeout=LIMIT) == b"last"


@pytest.mark.parametrize("moved", ["rewound", "straightened"])
@pytest.mark.parametrize("step", [5, pytest.param(1, marks=pytest.mark.soak)])
def test_a_move_cut_short_anywhere_is_completed_by_the_next(moved, step):
    """The ring begins anew at place 0, or undoes a turn, under the eyes of death."""
    prepare = {"rewound": far_and_empty, "straightened": turned_too_early}[moved]
    queue = small()
    queue._ring._looks = 1
    expected = prepare(queue)
    for number in each_bytecode(lambda: queue.put(BIG), step):
        if number < 0:
            place, turn = queue._ring.words[TAIL] & PLACE, queue._ring.words[TURN]
            assert place > turn if moved == "straightened" else place == len(BIG) // 8 + 1
        found = drained(queue)
        assert found in (expected, [*expected, BIG]), number
        assert number > 0 or len(found) > len(expected)
        queue.put("next")
        assert drained(queue) == ["next"]
        expected = prepare(queue)


def far_and_empty(queue):
    """The tail is where nothing large fits behind it or before it."""
    drained(queue)
    queue._ring.rewind()
    queue.put(b"p" * 33_000)
    queue._ring.take(0.0)
    return []


def turned_too_early(queue):
    """Messages stand in the middle of the ring and at its beginning; the room is behind them."""
    ring = queue._ring
    drained(queue)
    ring.rewind()
    queue.put(b"p" * 9_000)
    queue.put(b"q" * 1_000)
    ring.take(0.0)
    ring.words[TURN] = ring.words[TAIL] & PLACE
    ring.words[BASE + ring.words[TURN]] = WRAP
    ring.words[TAIL] &= ~PLACE  # as placed() does it where there are millions of words
    queue.put(b"r" * 8_000)
    return [b"q" * 1_000, b"r" * 8_000]


@pytest.mark.parametrize(
    ("maxsize", "step"),
    [(0, 7), (2, 7), *(pytest.param(most, 1, marks=pytest.mark.soak) for most in (0, 2))],
)
def test_a_producer_that_dies_anywhere_while_it_finds_the_queue_full(maxsize, step):
    queue = small(maxsize)

    def work():
        with pytest.raises(Full):
            queue.put(BIG, timeout=0)

    for _ in each_bytecode(work, step):
        drained(queue)
        for _ in range(2):
            queue.put(b"f" * 20_000, timeout=LIMIT)
        pid = forked(lambda: queue.put(BIG, timeout=LIMIT))  # sleeps until there is room
        assert queue.get(timeout=LIMIT) == queue.get(timeout=LIMIT) == b"f" * 20_000
        assert queue.get(timeout=LIMIT) == BIG
        assert ended(pid) == 0
        for _ in range(2):
            queue.put(b"f" * 20_000, timeout=LIMIT)


def test_a_worker_that_dies_anywhere_in_task_done_counts_it_or_not():
    queue = JoinableQueue(nbytes=1 << 16)
    queue.put(0)
    queue.get()
    for _ in each_bytecode(queue.task_done):
        left = queue._ring.unfinished()
        assert left in (0, 1)
        if left:
            queue.task_done()
        queue.join()
        queue.put(0)
        assert queue.get(timeout=LIMIT) == 0


def test_a_slot_tells_what_its_consumer_had_in_hand_wherever_that_died():
    gate = Gate(0, 1 << 16, slots=3)
    number = gate.offer(b"task", 0, 0.0) >> 32 | CLAIM
    crashes = 0
    for _ in each_bytecode(lambda: gate.take(None, slot=2)):
        assert gate.lease(2) in (0, number)
        crashed = gate.lease(2) == number == gate.taken()
        assert crashed == (gate.count() == 0)
        crashes += crashed
        gate.clear(2)
        gate.take(0.0)
        number = gate.offer(b"task", 0, 0.0) >> 32 | CLAIM
    assert crashes

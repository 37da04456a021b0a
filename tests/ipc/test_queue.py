"""Queue, JoinableQueue and SimpleQueue as people use them."""

import functools
import gc
import logging
import logging.handlers
import multiprocessing
import os
import pickle
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from multiprocessing import resource_tracker
from queue import Empty, Full

import pytest

from supervisor.ipc import JoinableQueue, Queue, SimpleQueue
from supervisor.ipc.gate import Gate
from supervisor.ipc.ledger import HEAD, TAIL
from tests.ipc.deaths import LIMIT, ended, forked, killed, until
from tests.ipc.test_every_bytecode import FlockQueue

METHODS = ["fork", "spawn", "forkserver"]
KINDS = [Queue, JoinableQueue, FlockQueue]


@pytest.mark.parametrize("made", KINDS)
def test_what_is_put_is_got_in_order_and_counted(made):
    queue = made()
    things = [1, "two", b"three", None, {"four": [4.0]}, bytearray(b"five"), memoryview, len, ()]
    for number, thing in enumerate(things):
        assert queue.qsize() == number
        queue.put(thing)
    assert not queue.empty()
    for thing in things:
        assert queue.peek() == thing
        got = queue.get()
        assert got == thing
        assert type(got) is type(thing)
    assert queue.empty()
    with pytest.raises(Empty):
        queue.get_nowait()
    with pytest.raises(Empty):
        queue.peek(timeout=0.01)


@pytest.mark.parametrize("maxsize", [1, 3])
def test_maxsize_is_exact(maxsize):
    queue = Queue(maxsize)
    for number in range(maxsize):
        assert not queue.full()
        queue.put_nowait(number)
    assert queue.full()
    with pytest.raises(Full):
        queue.put_nowait("too many")
    with pytest.raises(Full):
        queue.put("too many", timeout=0.01)
    assert queue.get() == 0
    queue.put_nowait("one more")
    assert queue.qsize() == maxsize


def test_get_many_takes_what_is_there_and_waits_for_the_first():
    queue = Queue()
    for number in range(10):
        queue.put(number)
    assert queue.get_many(4) == [0, 1, 2, 3]
    assert queue.get_many(100) == [4, 5, 6, 7, 8, 9]
    with pytest.raises(Empty):
        queue.get_many(1, timeout=0.01)
    pid = forked(lambda: queue.put("late"))
    assert queue.get_many(5, timeout=LIMIT) == ["late"]
    assert ended(pid) == 0


def test_its_descriptor_tells_when_there_is_something():
    queue = Queue()
    poll = select.poll()
    poll.register(queue, select.POLLIN)
    assert not poll.poll(0)
    pid = forked(lambda: queue.put("news"))
    assert poll.poll(LIMIT * 1000)
    assert queue.get() == "news"
    with pytest.raises(Empty):
        queue.get_nowait()
    assert not poll.poll(0)
    assert ended(pid) == 0


class Refuses:
    def __reduce__(self):
        raise AttributeError("not this one")


@pytest.mark.parametrize("made", KINDS)
def test_f4_what_cannot_be_pickled_raises_in_put_and_leaves_nothing(made):
    queue = made()
    for thing, error in ((lambda: 1, Exception), (Refuses(), AttributeError), (iter, None)):
        if error is None:
            queue.put(thing)
            continue
        with pytest.raises(error):  # noqa: PT011, RUF100
            queue.put(thing)
        assert queue.empty()
    assert queue.get(timeout=LIMIT) is iter


def test_multiprocessings_reducers_are_honoured():
    queue = Queue()
    here, there = socket.socketpair()
    queue.put((there, functools.partial(int, base=2), [].append))
    sent, binary, _ = queue.get(timeout=LIMIT)
    sent.sendall(b"hello")
    assert here.recv(10) == b"hello"
    assert binary("101") == 5
    for each in (here, there, sent):
        each.close()


def serve(questions, answers):
    answers.put(("ready", os.getpid()))
    while (question := questions.get(timeout=LIMIT)) is not None:
        answers.put(question * 2)
        questions.task_done()


@pytest.mark.parametrize("method", METHODS)
def test_f11_it_goes_to_processes_of_every_start_method(method):
    context = multiprocessing.get_context(method)
    questions, answers = JoinableQueue(2, ctx=context), Queue(ctx=context)
    process = context.Process(target=serve, args=(questions, answers))
    process.start()
    assert answers.get(timeout=LIMIT) == ("ready", process.pid)
    for number in range(20):
        questions.put(number)
    questions.join()
    assert [answers.get(timeout=LIMIT) for _ in range(20)] == [2 * n for n in range(20)]
    questions.put(None)
    process.join(LIMIT)
    assert process.exitcode == 0
    process.close()


def test_s4_there_is_no_door_through_which_a_stranger_could_send_a_pickle():
    named = os.listdir("/dev/shm")
    queue = Queue()
    with pytest.raises(RuntimeError, match="inheritance"):
        pickle.dumps(queue)
    fds = (queue._ring.memory.fd, queue._ring.some.fd, queue._ring.room.fd)
    assert not any(os.get_inheritable(fd) for fd in fds), "and no program that is started has it"
    assert os.listdir("/dev/shm") == named
    assert all(os.readlink(f"/proc/self/fd/{fd}").startswith(("/memfd:", "anon")) for fd in fds)


def test_f9_no_resource_tracker_no_thread_and_no_name_belongs_to_it():
    script = (
        "import threading\n"
        "from multiprocessing import resource_tracker\n"
        "from supervisor.ipc import Lock, Queue\n"
        "queue, lock = Queue(), Lock()\n"
        "with lock: queue.put({'a': 1})\n"
        "assert queue.get() == {'a': 1}\n"
        "assert threading.active_count() == 1\n"
        "assert resource_tracker._resource_tracker._pid is None\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=LIMIT)
    assert resource_tracker is not None


def test_f10_what_was_put_is_there_however_its_process_ends():
    queue = Queue()
    ends = [
        lambda: os._exit(0),
        lambda: os.kill(os.getpid(), signal.SIGKILL),
        lambda: os.execv("/bin/true", ["true"]),  # noqa: S606, RUF100
    ]
    for number, end in enumerate(ends):

        def work(number=number, end=end):
            queue.put(number)
            end()

        ended(forked(work))
        assert queue.get(timeout=0) == number


@pytest.mark.parametrize("made", KINDS)
def test_f7_a_child_forked_while_threads_use_the_queue_can_use_it(made):
    queue, ends = made(), threading.Event()

    def use():
        while not ends.is_set():
            queue.put("from a thread", timeout=LIMIT)
            queue.get(timeout=LIMIT)

    threads = [threading.Thread(target=use) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(20):
            pid = forked(lambda: (queue.put("from a child", timeout=LIMIT), queue.get(timeout=10)))
            assert ended(pid) == 0
    finally:
        ends.set()
        for thread in threads:
            thread.join()


def test_f8_a_child_forked_in_the_middle_of_logging_to_a_queue_can_log():
    queue, ends = Queue(10), threading.Event()
    logger = logging.Logger("queue")  # noqa: LOG001 - nobody else shall find it
    logger.addHandler(logging.handlers.QueueHandler(queue))

    def log():
        while not ends.is_set():
            logger.warning("from a thread")

    def drain():
        while queue.get(timeout=LIMIT).getMessage() != "the last":
            pass

    threads = [threading.Thread(target=log), threading.Thread(target=drain)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(20):
            assert ended(forked(lambda: logger.warning("from a child"))) == 0
    finally:
        ends.set()
        threads[0].join()
        queue.put(logging.makeLogRecord({"msg": "the last"}), timeout=LIMIT)
        threads[1].join()


def test_f60_messages_of_many_producers_never_mix():
    queue = Queue(nbytes=1 << 20)

    def produce(letter):
        for number in range(100):
            queue.put(letter * (number * 97 % 9000 + 1))

    pids = [forked(lambda letter=letter: produce(letter)) for letter in (b"a", b"b", b"c", b"d")]
    for _ in range(400):
        assert len(set(queue.get(timeout=LIMIT))) == 1
    assert [ended(pid) for pid in pids] == [0] * 4


def test_f1_a_stopped_process_in_the_middle_of_put_makes_nobody_break_his_time_limit():
    queue = Queue()
    queue._ring._enter_put()
    try:

        def work():
            began = time.monotonic()
            with pytest.raises(Full):
                queue.put("x", timeout=0.1)
            with pytest.raises(Full):
                queue.put_nowait("x")
            with pytest.raises(Empty):
                queue.get(timeout=0.1)
            assert time.monotonic() - began < LIMIT / 2

        assert ended(forked(work)) == 0
    finally:
        queue._ring._leave_put()
    queue.put("y")
    assert queue.get(timeout=LIMIT) == "y"


def test_f1_a_sleeping_consumer_is_woken_whoever_dies_before_it():
    queue = Queue()
    for _ in range(5):
        sleepers = [forked(queue.get) for _ in range(3)]
        killed(sleepers.pop())
        for number in range(2):
            queue.put(number)
        assert [ended(pid) for pid in sleepers] == [0, 0]
        assert queue.empty()


class Interruption(Exception):  # noqa: N818
    pass


def test_a_signal_handler_that_raises_or_puts_hangs_nobody():
    queue, refused = Queue(), []

    def interrupt(*_):
        try:
            queue.put("from the handler")
        except RuntimeError as error:
            refused.append(str(error))
        raise Interruption

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        for number in range(400):
            try:
                signal.setitimer(signal.ITIMER_REAL, 1e-6 * (number % 80 + 1))
                while True:
                    queue.put("from below", timeout=LIMIT)
                    queue.get(timeout=LIMIT)
            except Interruption:
                pass
            assert not queue._ring.producers.locked()
            assert not queue._ring.consumers.locked()
            while not queue.empty():
                assert queue.get(timeout=LIMIT).startswith("from")
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert all("in the middle" in text for text in refused)


def test_a_closed_queue_refuses_and_a_queue_that_is_not_closed_is_not_joined():
    for queue in (Queue(), JoinableQueue()):
        with pytest.raises(AssertionError, match="not closed"):
            queue.join_thread()
        queue.close()
        queue.close()
        for use in (lambda q=queue: q.put(1), queue.get, queue.peek, queue.fileno):
            with pytest.raises(ValueError, match="is closed"):
                use()
        with pytest.raises(ValueError, match="is closed"):
            queue.get_many(1)
        queue.join_thread()
        queue.cancel_join_thread()


def test_join_waits_for_the_last_task_done():
    queue = JoinableQueue()
    queue.join()
    for number in range(3):
        queue.put(number)
    joiner = forked(queue.join)
    for number in range(3):
        assert queue.get() == number
        assert os.waitid(os.P_PID, joiner, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
        queue.task_done()
    assert ended(joiner) == 0
    with pytest.raises(ValueError, match="too many"):
        queue.task_done()


def test_a_simple_queue_is_simple():
    queue = SimpleQueue()
    assert queue.empty()
    pid = forked(lambda: queue.put({"some": "thing"}))
    assert queue.get() == {"some": "thing"}
    assert queue.empty()
    assert ended(pid) == 0
    queue.close()
    queue.close()


def test_descriptors_go_with_it():
    gc.collect()
    before = len(os.listdir("/proc/self/fd"))
    queues = [made() for made in (Queue, JoinableQueue, SimpleQueue) for _ in range(10)]
    del queues
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) == before


def test_where_stores_are_seen_out_of_order_they_are_put_in_order(monkeypatch):
    monkeypatch.setattr(Gate, "ordered", False)
    queue = Queue(2)
    pid = forked(lambda: [queue.put(number) for number in range(200)])
    assert [queue.get(timeout=LIMIT) for _ in range(200)] == list(range(200))
    assert ended(pid) == 0


def test_counts_and_places_go_round():
    queue = Queue(nbytes=1 << 16)
    ring = queue._ring
    start = ((1 << 32) - 3) << 32
    ring.words[TAIL] = ring.words[HEAD] = start  # three messages before the count begins anew
    for number in range(10):
        queue.put(number)
        assert queue.qsize() == 1
        queue.put(b"x" * 30_000)
        assert queue.get(timeout=LIMIT) == number
        assert queue.get(timeout=LIMIT) == b"x" * 30_000
    assert queue.empty()


def test_a_consumer_that_peeks_first_loses_nothing_when_it_is_killed():
    queue = Queue()
    queue.put("dear")

    def work():
        assert queue.peek() == "dear"
        os.kill(os.getpid(), signal.SIGKILL)

    assert ended(forked(work)) == -signal.SIGKILL
    assert queue.get(timeout=LIMIT) == "dear"
    until(queue.empty)


def test_sizes_that_cannot_be_are_refused():
    for nbytes in (0, 1 << 15, 1 << 40):
        with pytest.raises(ValueError, match="cannot make a queue"):
            Queue(nbytes=nbytes)
    with pytest.raises(ValueError, match="slots"):
        Gate(0, 1 << 16, slots=10_000)

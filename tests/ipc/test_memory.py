"""A queue where memory or file sizes are short: an error for whoever asks, and nothing broken."""

import errno
import os
import resource
import signal
from queue import Empty

import pytest

from supervisor.ipc import Lock, Queue
from tests.ipc.deaths import LIMIT, ended, forked
from tests.ipc.groups import limited

MB = 1 << 20


def used(queue):
    """Return how many bytes of memory the queue takes up."""
    return os.fstat(queue._ring.memory.fd).st_blocks * 512


@pytest.fixture
def group():
    with limited("memory", 24 * MB) as made:
        yield made


def fills(queue):
    """Put megabytes until there is no memory, and exit with 3 then."""
    message, accepted = b"m" * MB, 0
    try:
        while True:
            queue.put(message, timeout=LIMIT)
            accepted += 1
    except MemoryError:
        os._exit(3 if queue.qsize() == accepted else 4)


@pytest.mark.parametrize("refuses", [True, False])
def test_a_full_memory_cgroup_is_an_error_of_put_or_a_kill_and_the_queue_stays_whole(
    group, refuses
):
    """Where the kernel kills for it, it kills a producer as anybody may: the rest is intact."""
    queue, refuses = Queue(), refuses and not group.second
    if refuses:
        group.refuse()
    code = ended(forked(lambda: (group.enter(), fills(queue))))
    assert code == (3 if refuses else -signal.SIGKILL)
    count = queue.qsize()
    assert count > 5
    for _ in range(count):
        assert queue.get(timeout=LIMIT) == b"m" * MB
    queue.put("and it goes on")
    assert queue.get(timeout=LIMIT) == "and it goes on"


def test_a_file_size_limit_is_told_where_the_queue_is_made():
    def work():
        resource.setrlimit(resource.RLIMIT_FSIZE, (MB, MB))
        with pytest.raises(OSError, match="RLIMIT_FSIZE is 1048576 bytes") as told:
            Queue()
        assert told.value.errno == errno.EFBIG
        queue = Queue(nbytes=MB // 2)
        queue.put(bytes(400_000))
        assert queue.get(timeout=LIMIT) == bytes(400_000)
        with Lock():
            pass

    assert ended(forked(work)) == 0


def test_a_file_size_limit_set_later_hurts_nobody():
    queue = Queue()

    def work():
        resource.setrlimit(resource.RLIMIT_FSIZE, (MB, MB))
        queue.put(b"large" * MB)

    pid = forked(work)
    assert queue.get(timeout=LIMIT) == b"large" * MB
    assert ended(pid) == 0


def test_no_room_for_the_mapping_is_an_error_where_the_queue_is_made():
    def work():
        resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
        with pytest.raises((OSError, MemoryError)):
            Queue()

    assert ended(forked(work)) == 0


def test_memory_does_not_stay_at_its_peak():
    queue = Queue()
    assert used(queue) < 100_000, "an empty one costs next to nothing"
    for _ in range(10):
        queue.put(bytes(10 * MB))
    assert used(queue) > 100 * MB
    for _ in range(10):
        queue.get(timeout=LIMIT)
    queue.put(b"")
    queue.get(timeout=LIMIT)
    with pytest.raises(Empty):
        queue.get(block=False)
    assert used(queue) <= 17 * MB


def test_a_queue_that_is_never_empty_stays_small_too():
    queue = Queue()
    for _ in range(3):
        queue.put(bytes(100_000))
    for _ in range(2000):
        queue.put(bytes(100_000))
        queue.get(timeout=LIMIT)
    assert used(queue) < 30 * MB, "200 MB have gone through it"


def test_a_peak_is_forgotten_by_a_queue_that_is_never_empty():
    queue = Queue()
    for _ in range(100):
        queue.put(bytes(MB))
    assert used(queue) >= 100 * MB
    for number in range(400):
        queue.put(b"%06d" % number + bytes(100_000))
        if queue.qsize() > 2:
            queue.get(timeout=LIMIT)
            queue.qsize() > 3 and queue.get(timeout=LIMIT)
    assert used(queue) < 40 * MB


def test_a_ring_that_turned_early_still_takes_all_that_it_promised():
    queue = Queue(nbytes=64 * MB)
    for _ in range(8):
        queue.put(bytes(2 * MB))
    for _ in range(7):
        queue.get(timeout=LIMIT)
    sizes = [2 * MB - number for number in range(25)]
    for size in sizes:
        queue.put(bytes(size), timeout=0)
    assert [len(queue.get(timeout=LIMIT)) for _ in range(26)] == [2 * MB, *sizes]


def test_a_message_that_could_never_fit_is_refused_and_one_that_just_fits_is_not():
    queue = Queue(nbytes=1 << 16)
    with pytest.raises(ValueError, match="cannot put 65536 bytes into a queue of 65520"):
        queue.put(bytes(1 << 16))
    most = (1 << 16) - 32
    for _ in range(3):
        queue.put(b"small")
        queue.get(timeout=LIMIT)
        queue.put(bytes(most), timeout=0)
        assert queue.get(timeout=LIMIT) == bytes(most)

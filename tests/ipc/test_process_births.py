"""Process by fork and by spawn, from threads, and what each is bound to."""

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import pytest

from supervisor.ipc import Process, Queue
from supervisor.ipc.pidfd import Child, open_pidfd, wait

LIMIT = 40.0
ROOT = str(Path(__file__).parents[2])


def answers(queue, text):
    queue.put((text, os.getppid(), multiprocessing.parent_process().is_alive()))


def waits():
    signal.pause()


def tells_and_waits(queue):
    queue.put("here")
    signal.pause()


def ended(process):
    process.join(LIMIT)
    assert not process.is_alive()
    return process.exitcode


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_it_is_started_as_it_is_told(method):
    queue = Queue()
    process = Process(target=answers, args=(queue, "here"), start_method=method)
    process.start()
    assert queue.get(timeout=LIMIT) == ("here", os.getpid(), True)
    assert wait(process.sentinel, LIMIT)
    assert ended(process) == 0
    assert process not in multiprocessing.active_children()
    process.close()


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_its_death_by_a_signal_is_told(method):
    process = Process(target=waits, start_method=method)
    process.start()
    process.terminate()
    assert ended(process) == -signal.SIGTERM
    process.kill()
    process.close()


def test_there_are_no_other_ways_to_be_started():
    with pytest.raises(ValueError, match="fork or spawn"):
        Process(start_method="forkserver")


def test_f11_what_set_start_method_says_is_done_and_no_default_of_the_version():
    script = (
        "import multiprocessing as m, sys\n"
        "from supervisor.ipc import Process\n"
        "if __name__ == '__main__':\n"
        "    if sys.argv[1:]: m.set_start_method(sys.argv[1])\n"
        "    p = Process(target=abs, args=(1,)); p.start(); p.join()\n"
        "    print(p.start_method, p.exitcode)\n"
    )
    said = [
        subprocess.run(
            [sys.executable, "-c", script, *chosen],
            env={**os.environ, "PYTHONPATH": ROOT},
            capture_output=True,
            text=True,
            timeout=LIMIT,
            check=True,
        ).stdout.split()
        for chosen in ([], ["fork"], ["spawn"], ["forkserver"])
    ]
    assert said == [["fork", "0"], ["fork", "0"], ["spawn", "0"], ["spawn", "0"]]


def in_a_thread(work):
    done = []
    thread = threading.Thread(target=lambda: done.append(work()))
    thread.start()
    thread.join()
    return done[0]


def started(process):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        process.start()
    return [str(each.message) for each in caught]


def test_f41_a_daemon_outlives_the_thread_that_started_it():
    process = Process(target=waits, daemon=True)
    said = in_a_thread(lambda: started(process))
    assert not process.die_with_parent
    assert not wait(process.sentinel, 0.2)
    assert all("killed when that thread ends" not in text for text in said)
    process.kill()
    assert ended(process) == -signal.SIGKILL


def test_f41_who_wants_a_thread_s_child_to_die_with_it_is_warned():
    ready = Queue()
    process = Process(target=tells_and_waits, args=(ready,), die_with_parent=True)
    said = in_a_thread(lambda: (*started(process), ready.get(timeout=LIMIT)))
    assert any("killed when that thread ends" in text for text in said)
    assert ended(process) == -signal.SIGKILL


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_f25_a_daemon_dies_with_its_parent_however_it_was_started(method):
    script = (
        "import signal\n"
        "from supervisor.ipc import Process\n"
        "if __name__ == '__main__':\n"
        f"    p = Process(target=signal.pause, daemon=True, start_method={method!r})\n"
        "    p.start()\n"
        "    print(p.pid, flush=True)\n"
        "    signal.pause()\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": ROOT},
        stdout=subprocess.PIPE,
        text=True,
    )
    child = open_pidfd(int(parent.stdout.readline()))
    parent.kill()
    parent.communicate()
    assert wait(child, LIMIT)
    os.close(child)


def test_f12_terminate_reaches_the_program_that_the_child_has_become():
    process = Process(target=os.execvp, args=("sleep", ["sleep", "60"]))
    process.start()
    comm = Path(f"/proc/{process.pid}/comm")
    while comm.read_text(encoding="ascii") != "sleep\n":
        assert process.is_alive()
    process.terminate()
    assert ended(process) == -signal.SIGTERM


def test_f34_one_that_was_reaped_before_we_could_look_is_dead():
    pid = os.fork()
    if pid == 0:
        os._exit(3)
    os.waitpid(pid, 0)
    child = Child.of(pid)
    assert not child.is_alive()
    assert child.exitcode is None
    assert child.join(0)
    assert wait(child.sentinel, 0)
    child.kill()
    child.close()


def test_f34_of_many_who_ask_at_once_each_hears_the_exit_code():
    for _ in range(20):
        process = Process(target=os._exit, args=(5,))
        process.start()
        barrier, codes = threading.Barrier(4), []

        def asks(process=process, barrier=barrier, codes=codes):
            barrier.wait()
            wait(process.sentinel, LIMIT)
            codes.append(process.exitcode)

        threads = [threading.Thread(target=asks) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert codes == [5] * 4
        process.close()

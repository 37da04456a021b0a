"""The reader's child may hang, die or need too much: the caller hears of it, and lives."""

import os
import select
import signal
import subprocess
import sys
import textwrap

import pytest

from supervisor.config.plan import decode
from supervisor.config.reader import Limits, locate_apart, read_apart, schema_apart
from tests.config.written import by

LIMIT = 30.0


def children():
    with open(f"/proc/self/task/{os.getpid()}/children", encoding="ascii") as file:
        return file.read().split()


def test_a_plan_comes_through_the_pipe(folder):
    path = folder.write("name: shop\nservices: {web: {command: [sleep, 10], replicas: 2}}")
    read = read_apart(path, by())
    assert isinstance(read, str)
    assert decode(read) == folder.plan(
        "name: shop\nservices: {web: {command: [sleep, 10], replicas: 2}}"
    )
    assert locate_apart(path, by()).run_dir == "/run/keepd/shop"


def test_faults_come_through_the_pipe(folder):
    path = folder.write("services: {web: {comand: x}}")
    (fault,) = read_apart(path, by())
    assert fault == folder.read("services: {web: {comand: x}}")[0]
    assert fault.suggestion == "did you mean 'command'?"


def test_a_large_plan_comes_through_whole(folder):
    services = "\n".join(f"  s{n}: {{command: [x, '{'y' * 300}']}}" for n in range(500))
    read = read_apart(folder.write(f"services:\n{services}\n"), by())
    assert isinstance(read, str)
    assert len(decode(read).services) == 500


def test_the_caller_keeps_no_child_no_descriptor_and_no_yaml(folder):
    path = folder.write("services: {web: {command: x}}")
    script = textwrap.dedent("""
        import os, sys
        from supervisor.config.reader import locate_apart, read_apart
        before = os.listdir("/proc/self/fd")
        assert isinstance(read_apart(sys.argv[1]), str)
        assert not isinstance(locate_apart(sys.argv[1]), tuple)
        assert os.listdir("/proc/self/fd") == before
        assert not {"yaml", "msgspec"} & sys.modules.keys()
        try:
            os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            print("alone")
    """)
    run = subprocess.run(
        [sys.executable, "-c", script, path],
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    assert (run.stdout, run.stderr) == ("alone\n", "")


def test_a_caller_that_ignores_its_children_can_read_as_well(folder):
    path = folder.write("services: {web: {command: x}}")
    script = (
        "import signal, sys; from supervisor.config.reader import read_apart\n"
        "signal.signal(signal.SIGCHLD, signal.SIG_IGN)\n"
        "assert isinstance(read_apart(sys.argv[1]), str)\n"
        "assert signal.getsignal(signal.SIGCHLD) == signal.SIG_IGN\n"
    )
    run = subprocess.run([sys.executable, "-c", script, path], timeout=LIMIT, check=False)
    assert run.returncode == 0


def test_a_file_that_never_ends_its_reading_is_given_up(tmp_path):
    path = str(tmp_path / "fifo")
    os.mkfifo(path)  # nobody writes: its open never returns
    (fault,) = read_apart(path, by(), Limits(seconds=0.2))
    assert str(fault) == f"{path}: cannot read {path}: took longer than 0.2 s"
    assert not children()


def test_f78_whatever_needs_too_much_memory_is_given_up(folder):
    path = folder.write("services: {}\nx: [" + "{a: b}," * 60_000 + "]\n")
    (fault,) = read_apart(path, by(), Limits(memory=24 * 2**20))
    assert fault.message == f"cannot read {path}: needed more than 24 MiB of memory"
    assert not children()


def test_a_reader_that_is_killed_is_a_fault(tmp_path):
    path = str(tmp_path / "fifo")
    os.mkfifo(path)
    script = (
        "import sys; from supervisor.config.reader import read_apart\n"
        "print(*read_apart(sys.argv[1]))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, path], stdout=subprocess.PIPE, text=True
    ) as caller:
        child = until_born(caller.pid)
        os.kill(child, signal.SIGKILL)
        told, _ = caller.communicate(timeout=LIMIT)
    assert told == f"{path}: cannot read {path}: its reader was killed by SIGKILL\n"


def until_born(pid):
    """Return the child of a process, which is about to fork it."""
    for _ in range(int(LIMIT * 100)):
        with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
            found = file.read().split()
        if found:
            return int(found[0])
        select.poll().poll(10)
    pytest.fail("no child was born")


@pytest.mark.parametrize("text", ["", "\0", "[[[[", "services: {a: !x {command: x}}", "&a [*a]"])
def test_whatever_is_in_the_file_there_is_an_answer(folder, text):
    read = read_apart(folder.write(text), by())
    assert isinstance(read, tuple)
    assert all(fault.message for fault in read)


def test_the_schema_is_told_without_any_config():
    assert '"$schema"' in schema_apart()


def test_a_thousand_services_are_read_within_a_second_and_a_half_of_cpu(folder):
    services = "\n".join(
        f"""  s{n}: {{command: [sleep, "{n}"], env: {{A: "{n}"}}, restart: on-failure,
          ready: {{tcp: "127.0.0.1:80", timeout: 5s}}, depends_on: [s{max(n - 1, 0)}x]}}
  s{n}x: {{command: x}}"""
        for n in range(500)
    )
    path = folder.write(f"defaults: {{backoff: {{first: 1s}}}}\nservices:\n{services}\n")
    before = os.times()
    read = read_apart(path, by())
    after = os.times()
    assert isinstance(read, str)
    spent = after.children_user + after.children_system
    spent -= before.children_user + before.children_system
    assert spent < 1.5 * 4  # a busy machine, or one under a debugger, may be slower

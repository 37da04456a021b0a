"""Zygotes: what they bear is ours, what hangs hurts only itself, and they may be killed."""

import os
import signal
import sys
import venv
from pathlib import Path

import pytest

from supervisor.core.events import Gone, Spawn, Spawned, SpawnFailed
from supervisor.ipc import pidfd
from supervisor.unix import kin, process, zygote
from supervisor.unix.birth import Birth, Stage
from supervisor.unix.nursery import Nursery
from tests.unix.world import LIMIT, World, status

zygoted = pytest.mark.parametrize("kind", ["set-up", "function"])


def zygote_of(world):
    return next(iter(world.processes._births.helpers()))


def test_a_function_gets_its_arguments_folder_and_environment(world, tmp_path):
    env = {**world.spec().env, "COLOUR": "blue"}
    args, kwargs = (1, "two", [3.5, None], {"a": True}), {"key": "ü"}
    spec = world.spec("function", python="callee:arguments", args=args, kwargs=kwargs)
    world.start(
        type(spec)(
            name="web", python=spec.python, args=args, kwargs=kwargs, env=env, cwd=str(tmp_path)
        )
    )
    assert world.gone() == Gone(1, 0)
    said = world.streams.said["web/0", 1].decode()
    assert said == f"{args} {kwargs} {tmp_path} blue\n"


def test_its_own_folder_comes_first_on_the_path(world, tmp_path):
    (tmp_path / "job.py").write_text("def main():\n    print('mine')\n", encoding="ascii")
    (tmp_path / "poller.py").write_text("print('not ours')\n", encoding="ascii")
    world.start(world.spec("function", python="job:main", args=(), cwd=str(tmp_path)))
    assert world.gone() == Gone(1, 0)
    assert world.streams.said["web/0", 1] == b"mine\n"


@pytest.mark.parametrize(
    ("python", "args", "code", "said"),
    [
        ("callee:returns", (), 0, ""),
        ("callee:leaves", (), 1, "TypeError"),
        ("callee:leaves", (None,), 0, ""),
        ("callee:leaves", (7,), 7, ""),
        ("callee:leaves", ("words",), 1, "words\n"),
        ("callee:raises", (), 1, "ValueError: as it must be\n"),
        ("callee:Deep.method", (), 0, "found\n"),
    ],
)
def test_a_function_ends_as_multiprocessing_says(world, python, args, code, said):
    world.start(world.spec("function", python=python, args=args))
    assert world.gone() == Gone(1, code)
    text = world.streams.said.get(("web/0", 1), b"").decode()
    assert said in text
    assert "zygote" not in text
    assert text.startswith("Traceback") == (python == "callee:raises")


def test_f10_what_it_has_not_flushed_and_what_it_left_to_the_end_is_done_once(world):
    world.start(world.spec("function", python="callee:leaves_loose_ends", args=()))
    assert world.gone() == Gone(1, 0)
    said = world.streams.said["web/0", 1].decode()
    assert sorted(["threads are joined", "exit handlers are run"]) == sorted(
        said.replace("not yet flushed", "").split("\n")[:2]
    )
    assert said.count("not yet flushed") == 1


def test_f62_what_it_prints_is_there_at_once(world):
    world.started(world.spec("function", python="callee:prints_and_waits", args=()))
    world.said("this too\n")
    assert world.streams.read("web/0", 1) == "at once, and not in blocks\nthis too\n"


@pytest.mark.parametrize(
    ("python", "words"),
    [
        (
            "nonesuch:main",
            "cannot import 'nonesuch': ModuleNotFoundError: No module named 'nonesuch'",
        ),
        ("broken:main", "cannot import 'broken': RuntimeError: not today"),
        ("callee:nonesuch", "no function 'nonesuch' in module 'callee'"),
        ("callee:NOT_A_FUNCTION", "'NOT_A_FUNCTION' in module 'callee' is not callable"),
    ],
)
def test_f38_a_function_that_cannot_be_had_is_told_in_words(world, python, words):
    assert world.start(world.spec("function", python=python)) == SpawnFailed(1, words)
    said = world.streams.said.get(("web/0", 1), b"").decode()
    assert ("Traceback" in said) == python.startswith("broken")
    assert world.left() == []


def test_an_argument_that_cannot_be_handed_over_is_told_in_words(world):
    report = world.start(world.spec("function", args=(object(),)))
    assert report == SpawnFailed(1, "unmarshallable object")


@pytest.mark.parametrize("kind", ["set-up", "function"])
def test_an_order_larger_than_a_sockets_buffer_is_heard(world, kind):
    env = {**world.spec().env, **{f"V{n}": "x" * 100_000 for n in range(10)}}
    world.start(world.spec(kind, "echo ${#V9}", env=env))
    assert world.gone() == Gone(1, 0)
    assert world.streams.said["web/0", 1] == b"100000\n"


def test_an_interpreter_that_is_none_is_told_in_words(world):
    spec = world.spec("function", interpreter="/no/python")
    assert world.start(spec) == SpawnFailed(1, "interpreter: no such file: '/no/python'")
    spec = world.spec("function", interpreter="/bin/false")
    report = world.start(spec, run=2)
    assert report == SpawnFailed(2, "the zygote that bears it ended (exit code 1)")


def test_another_environments_interpreter_has_its_own_packages(world, tmp_path):
    venv.create(tmp_path / "env", symlinks=True)
    python = tmp_path / "env" / "bin" / "python"
    site = next((tmp_path / "env" / "lib").iterdir()) / "site-packages"
    (site / "its_own.py").write_text("def main():\n    print('found')\n", encoding="ascii")
    world.start(world.spec("function", python="its_own:main", args=(), interpreter=str(python)))
    assert world.gone() == Gone(1, 0)
    assert world.streams.said["web/0", 1] == b"found\n"


@zygoted
def test_what_a_zygote_bears_survives_it(world, kind):
    pid = world.started(world.spec(kind))
    os.kill(zygote_of(world), signal.SIGKILL)
    world.turn(0.1)
    assert world.processes.pid("web/0") == pid
    os.kill(pid, signal.SIGTERM)
    assert world.gone() == Gone(1, -15)


@zygoted
def test_a_killed_zygote_is_started_again_when_it_is_needed(world, kind):
    world.started(world.spec(kind))
    first = zygote_of(world)
    os.kill(first, signal.SIGKILL)
    world.until(lambda: kin.stat(first) is None)
    world.started(world.spec(kind), id="web/1")
    assert zygote_of(world) != first


@zygoted
def test_a_zygote_killed_in_the_middle_leaves_no_half_born(world, kind):
    world.started(world.spec(kind), id="first/0")
    for turn in range(1, 6):
        names = [f"web/{n}" for n in range(10)]
        for name in names:
            world.processes.perform(name, world.spec(kind), Spawn(turn))
        world.poller.wait(0.005 * turn)
        os.kill(zygote_of(world), signal.SIGKILL)
        world.until(lambda: all(world.last(n, turn) for n in names))  # noqa: B023
        for name in names:
            if world.last(name, turn) == Spawned(turn):
                world.kill(name, turn)
            else:
                assert world.last(name, turn).error.startswith("the zygote that bears it ended")
        world.until(lambda: all(world.over(n, turn) for n in names))  # noqa: B023
        world.until(lambda: len(world.left()) == 1)
        world.started(world.spec(kind), id="next/0", run=turn)
        world.kill("next/0", turn)
        world.gone("next/0", turn)


@zygoted
def test_births_of_a_stopped_zygote_can_be_given_up(world, kind):
    world.started(world.spec(kind), id="first/0")
    os.kill(zygote_of(world), signal.SIGSTOP)
    world.processes.perform("web/0", world.spec(kind), Spawn(1))
    world.turn(0.1)
    world.kill()
    assert world.gone() == SpawnFailed(1, "stopped before its birth was over")
    os.kill(zygote_of(world), signal.SIGCONT)
    world.started(world.spec(kind), id="web/1")
    world.until(lambda: len(world.left()) == 2)


def test_f39_an_import_that_hangs_blocks_nobody(world):
    hanging = world.spec("function", python="hanging:main", args=())
    world.processes.perform("slow/0", hanging, Spawn(1))
    world.started(world.spec("function"))
    world.started(world.spec("set-up"), id="web/1")
    assert world.of("slow/0") == []
    world.terminate("slow/0")
    assert world.gone("slow/0") == SpawnFailed(1, "stopped before its birth was over")


def test_f39_a_birth_that_hangs_before_exec_blocks_nobody(plain, tmp_path):
    os.makedirs(tmp_path / "gate")
    os.mkfifo(
        tmp_path / "gate" / "cgroup.procs"
    )  # to open it for writing hangs, as a dead network's file would
    nursery = Nursery(plain.poller)
    null = os.open(os.devnull, os.O_RDWR)

    def order(group):
        env = {"PATH": os.environ["PATH"]}
        return {"argv": ("true",), "env": env, "cwd": "/", "nofile": 256, "group": group}

    births = [
        Birth(plain.poller, order(group), lambda: None)
        for group in (str(tmp_path / "gate"), None, None)
    ]
    for birth in births:
        nursery.bear(None, birth, null)
    plain.until(lambda: [b.stage for b in births] == [Stage.BORN, Stage.ALIVE, Stage.ALIVE])
    pidfd.send_signal(births[0].pidfd, signal.SIGKILL)
    plain.until(lambda: births[0].stage is Stage.FAILED)
    assert births[0].error == "killed before its program was executed"
    nursery.close()
    for birth in births:
        assert pidfd.wait(birth.pidfd, LIMIT)
        os.close(birth.pidfd)
    os.close(null)


def test_a_sandbox_without_clone3_gets_two_forks(plain, monkeypatch):
    monkeypatch.setattr(
        "supervisor.unix.nursery._ZYGOTE",
        Path(zygote.__file__).read_bytes().replace(b"= 435", b"= 4350"),
    )
    pid = plain.started(plain.spec("set-up"))
    assert status(pid, "PPid") == str(os.getpid())
    os.kill(pid, signal.SIGKILL)
    assert plain.gone() == Gone(1, -9)


def test_titles_name_the_zygotes_and_the_functions(world):
    world.started(world.spec("function", python="callee:hangs", args=()))
    world.started(world.spec("set-up"), id="web/1")

    def titles():
        files = [Path(f"/proc/{pid}/cmdline") for pid in process.children()]
        return {file.read_text(encoding="utf-8").rstrip("\0 ") for file in files}

    world.until(lambda: "web/0 callee:hangs" in titles())
    assert {"keepd: zygote", f"keepd: zygote of {sys.executable}"} <= titles()


def test_a_master_that_is_killed_leaves_no_zygote_and_no_half_born(tmp_path):
    ready, tell = os.pipe()

    def master():
        world = World(groups=False)
        world.started(world.spec("set-up"))
        os.write(tell, f"{zygote_of(world)} {world.processes.pid('web/0')}".encode())
        signal.pause()
        return 0

    process.subreaper()
    pid = process.fork("test master", master, keep=(tell,))
    os.close(tell)
    bearer, service = map(int, os.read(ready, 100).split())
    os.close(ready)
    fds = {p: os.pidfd_open(p) for p in (bearer, service)}
    os.kill(pid, signal.SIGKILL)
    assert pidfd.wait(fds[bearer], LIMIT)
    assert not pidfd.wait(fds[service], 0)
    os.kill(service, signal.SIGKILL)
    for fd in fds.values():
        assert pidfd.wait(fd, LIMIT)
        os.close(fd)
    for child in (pid, bearer, service):
        os.waitpid(child, 0)

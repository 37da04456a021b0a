"""What is set up between birth and exec, seen from inside; and that nothing less is ever run."""

import os
import resource
import shutil
import signal
import stat
import sys
import tempfile
from pathlib import Path

import pytest

from supervisor.core.events import BecameReady, Gone, Spawn, Spawned, SpawnFailed
from supervisor.core.spec import Identity, Limit, Ready
from supervisor.records import replace
from supervisor.unix import setup
from tests.unix.world import ENV, PROGRAMS, status

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
zygoted = pytest.mark.parametrize("kind", ["set-up", "function"])
WHO = Identity(54321, 54322, (54322, 54323))


def for_all(path):
    """Return whether every user may get to a file."""
    return all(above.stat().st_mode & 0o001 for above in (path, *path.parents))


@pytest.fixture(scope="module")
def service():
    """A maker of services that are one function of ours, as a program or called by the zygote.

    Every user may use what they consist of, wherever we have been checked out and are run.
    """
    folder = tempfile.mkdtemp(prefix="kt", dir="/tmp")
    os.chmod(folder, 0o755)
    shutil.copy(Path(PROGRAMS) / "callee.py", folder)
    own = Path(sys.executable).resolve()
    python = str(own if for_all(own) else "/usr/bin/python3")
    env = {**ENV, "PYTHONPATH": folder}

    def make(world, kind, function="set_up", **more):
        if kind == "function":
            what = {"python": f"callee:{function}", "args": (), "interpreter": python}
        else:
            what = {"command": (python, "-IS", f"{folder}/callee.py", function)}
        return world.spec(kind, **{"env": env, **what, **more})

    yield make
    shutil.rmtree(folder)


@as_root
@zygoted
def test_s08_s10_all_that_is_asked_is_set_up_and_cannot_be_had_back(world, kind, service):
    limits = {"nofile": Limit(300, 400), "core": Limit(0, 0)}
    spec = service(
        world, kind, identity=WHO, umask="027", nice=7, limits=limits, cwd="/proc/self/fd"
    )
    world.start(spec)
    assert world.gone() == Gone(1, 0)
    first, *rest = world.streams.said["web/0", 1].decode().splitlines()
    uids, gids = (WHO.uid,) * 3, (WHO.gid,) * 3
    assert first.startswith(f"{uids} {gids} {list(WHO.groups)} /proc/")
    assert rest == ["0o27 7", "NOFILE 300 400", "CORE 0 0", *["denied"] * 4, "and again"]


@zygoted
def test_what_is_not_asked_stays_as_it_is(world, kind, service):
    core = resource.getrlimit(resource.RLIMIT_CORE)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    world.start(service(world, kind, umask="077"))
    assert world.gone() == Gone(1, 0)
    first, *rest = world.streams.said["web/0", 1].decode().splitlines()
    assert first.startswith(f"{os.getresuid()} {os.getresgid()} {sorted(os.getgroups())} ")
    assert rest[:3] == ["0o77 0", f"NOFILE 512 {hard}", f"CORE {core[0]} {core[1]}"]


@pytest.mark.parametrize(
    ("limit", "said"),
    [
        (Limit(soft=100), "100 {hard}"),
        (Limit(hard=400), "400 400"),
        (Limit(hard=600), "512 600"),
    ],
)
def test_half_a_limit_leaves_the_other_half(plain, limit, said, service):
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    plain.start(service(plain, "set-up", limits={"nofile": limit}))
    assert plain.gone() == Gone(1, 0)
    assert f"NOFILE {said.format(hard=hard)}\n" in plain.streams.said["web/0", 1].decode()


@as_root
@zygoted
def test_a_user_is_heard_at_its_notify_socket_and_nobody_else(world, kind, service):
    ready = service(world, kind, "ready", identity=WHO, ready=Ready(notify=True))
    world.started(ready)
    (path,) = Path(f"{world.dir}+notify").iterdir()
    seen = path.stat()
    assert (seen.st_uid, stat.S_IMODE(seen.st_mode)) == (WHO.uid, 0o600)
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o711
    assert stat.S_IMODE(os.stat(world.dir).st_mode) == 0o700
    world.until(lambda: world.of("web/0", BecameReady))
    assert world.processes.words("web/0") == "it is me"
    env = {**ready.env, "NOTIFY_SOCKET": str(path)}
    other = replace(ready, identity=Identity(54329, 54329, (54329,)), env=env)
    world.started(replace(other, ready=Ready(notify=True)), id="web/1")
    world.until(lambda: world.of("web/1", BecameReady))
    for name in ("web/0", "web/1"):
        os.kill(world.processes.pid(name), 9)
        world.gone(name)
    assert not list(path.parent.iterdir())


@as_root
def test_a_notify_socket_that_cannot_be_reached_is_told_in_words(plain, service):
    os.mkdir(f"{plain.dir}/deep", 0o700)
    plain.processes._births._place = replace(plain.processes.place, run_dir=f"{plain.dir}/deep/run")
    report = plain.start(service(plain, "set-up", "ready", identity=WHO, ready=Ready(notify=True)))
    path = f"{plain.dir}/deep/run+notify/web+0.1"
    words = f"user: it may not pass to {path!r}, where it is to tell that it is ready"
    assert report == SpawnFailed(1, words)


@as_root
def test_a_folder_for_notify_sockets_that_others_may_write_is_refused(plain, service):
    os.mkdir(f"{plain.dir}+notify")
    os.chmod(f"{plain.dir}+notify", 0o777)
    report = plain.start(service(plain, "set-up", "ready", identity=WHO, ready=Ready(notify=True)))
    assert report == SpawnFailed(1, "it is not ours alone to write")


@as_root
@zygoted
@pytest.mark.parametrize(
    ("more", "words"),
    [
        (
            {"limits": {"nofile": Limit(2**40, 2**40)}},
            "limits: nofile: not allowed to raise maximum limit",
        ),
        ({"limits": {"core": Limit(soft=1), "cpu": Limit(2, 1)}}, "limits: cpu: "),
        ({"identity": Identity(1, 1, (2**32 - 1,))}, "user: setgroups: Invalid argument"),
        ({"identity": Identity(1, 2**32 - 1, (1,))}, "user: "),
        ({"identity": WHO, "cwd": "/root"}, "cwd: permission denied: '/root'"),
    ],
)
def test_s09_a_step_that_fails_is_named_and_nothing_is_run(world, kind, more, words, service):
    report = world.start(service(world, kind, **more))
    assert isinstance(report, SpawnFailed)
    assert report.error.startswith(words)
    assert not world.streams.said.get(("web/0", 1))
    assert world.left() == []


@as_root
@pytest.mark.parametrize(
    ("right", "wrong", "words"),
    [
        (b"_called(os.setresuid, [uid] * 3)", b"pass", "user: asked for 54321, 54322, "),
        (b"_called(call, ids)", b"pass", "user: asked for 54321, 54322, "),
        (b"(os.setgroups, (groups,))", b"(os.setgroups, ([0],))", "user: asked for 54321, "),
        (
            b"[uid] * 3)",
            b"(uid, uid, 0))\n    uids = os.getresuid()\n    os.getresuid = lambda: (uid,) * 3",
            "user: it could become root again",
        ),
    ],
)
def test_s09_s10_a_drop_that_did_not_happen_is_noticed(plain, monkeypatch, right, wrong, words):
    source = Path(setup.__file__).read_bytes()
    assert source.count(right) == 1
    monkeypatch.setattr("supervisor.unix.nursery._SETUP", source.replace(right, wrong))
    report = plain.start(plain.spec("set-up", identity=WHO))
    assert isinstance(report, SpawnFailed)
    assert report.error.startswith(words)
    assert plain.left() == []


@as_root
def test_a_program_that_the_user_may_not_execute_is_told_in_words(plain, tmp_path):
    program = tmp_path / "mine"
    program.write_text("#!/bin/sh\n", encoding="ascii")
    program.chmod(0o700)
    report = plain.start(plain.spec("set-up", command=(str(program),), identity=WHO))
    assert report == SpawnFailed(1, f"permission denied: {str(program)!r}")


@as_root
def test_s16_the_output_of_a_user_is_its_own_and_dev_null_stays_everybodys(plain):
    before = os.stat(os.devnull)
    plain.streams.open = lambda *_: os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    plain.streams.end = lambda *_: None
    plain.start(plain.spec("set-up", "true", identity=WHO))
    plain.gone()
    assert os.stat(os.devnull).st_uid == before.st_uid


def test_a_folder_alone_needs_no_zygote(world):
    pid = world.started(world.spec(cwd="/"))
    assert os.readlink(f"/proc/{pid}/cwd") == "/"
    assert not world.processes._births.helpers()


@as_root
def test_processes_of_a_user_are_limited_by_their_number(plain):
    spec = plain.spec("set-up", "true & true & true & wait", limits={"nproc": Limit(1, 1)})
    plain.start(replace(spec, identity=WHO))
    assert plain.gone().code != 0
    assert "fork" in plain.streams.said["web/0", 1].decode().lower()


@zygoted
def test_f21_births_survive_a_storm_of_stops_and_signals(plain, kind):
    plain.started(plain.spec(kind, "true"), id="first/0")
    (zygote,) = plain.processes._births.helpers()
    names = [f"web/{number}" for number in range(20)]
    for name in names:
        plain.processes.perform(name, plain.spec(kind, "true"), Spawn(1))
        for number in (signal.SIGSTOP, signal.SIGCONT, signal.SIGWINCH, signal.SIGCHLD):
            os.kill(zygote, number)
        os.kill(os.getpid(), signal.SIGCHLD)
        plain.poller.wait(0.001)
    plain.until(lambda: all(plain.last(name, 1) == Spawned(1) for name in names))


@zygoted
def test_a_lowered_priority_is_that_of_the_service_alone(world, kind):
    pid = world.started(world.spec(kind, nice=3))
    assert os.getpriority(os.PRIO_PROCESS, pid) == 3
    (zygote,) = world.processes._births.helpers()
    assert os.getpriority(os.PRIO_PROCESS, zygote) == os.getpriority(os.PRIO_PROCESS, 0)
    assert status(zygote, "Umask") == status(os.getpid(), "Umask")

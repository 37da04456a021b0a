"""How services are born, in each of the three ways: with a clean slate, or the reason in words."""

import contextlib
import os
import resource
import signal
import stat
import subprocess
import sys

import pytest

from supervisor.core.events import BecameReady, Gone, Spawned, SpawnFailed
from supervisor.core.spec import Ready
from supervisor.records import replace
from supervisor.unix import limits
from tests.unix.world import ENV, KINDS, status

every_kind = pytest.mark.parametrize("kind", KINDS)
commands = pytest.mark.parametrize("kind", ["spawn", "set-up"])


@every_kind
def test_a_service_is_born_once_and_its_death_is_told_once(world, kind):
    pid = world.started(world.spec(kind))
    assert world.processes.pid("web/0") == pid
    os.kill(pid, signal.SIGKILL)
    assert world.gone() == Gone(1, -9)
    assert world.of("web/0") == [Spawned(1), Gone(1, -9)]
    assert world.processes.pid("web/0") is None
    assert not os.path.exists(f"/proc/{pid}")


@every_kind
def test_it_leads_a_session_of_its_own_and_is_our_child(world, kind):
    pid = world.started(world.spec(kind))
    assert os.getsid(pid) == os.getpgid(pid) == pid
    assert status(pid, "PPid") == str(os.getpid())


@every_kind
def test_it_is_in_its_own_group_and_nothing_else_is(world, kind):
    pid = world.started(world.spec(kind))
    tree = world.processes.place.tree
    if tree is None:
        assert world.processes.place.groups is False
        return
    with open(f"/proc/{pid}/cgroup", encoding="ascii") as file:
        assert file.read().rstrip().endswith("/services/web.0")
    assert tree.group("web/0").procs() == [pid]
    assert os.getpid() in tree.leaf.procs()


@every_kind
def test_f16_f17_f24_no_signal_state_is_inherited(world, kind, signals_kept):
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGUSR1])
    pid = world.started(world.spec(kind, "exec sleep 1000"))
    world.until(lambda: status(pid, "Name") == "sleep")
    own = 3 << 31  # the C library's own two signals, which its posix_spawn ignores
    assert int(status(pid, "SigBlk"), 16) == 0
    ignored = int(status(pid, "SigIgn"), 16) & ~own
    python = kind == "function"  # CPython ignores two, and its function has executed the shell
    pipes = 1 << signal.SIGPIPE - 1 | 1 << signal.SIGXFSZ - 1
    assert ignored == (pipes if python else 0)
    world.terminate()
    assert world.gone() == Gone(1, -15)


@commands
def test_f20_a_pipeline_ends_by_sigpipe(world, kind):
    world.start(world.spec(kind, "yes | head -n 1; echo over"))
    assert world.gone() == Gone(1, 0)
    assert world.streams.said["web/0", 1] == b"y\nover\n"


@every_kind
def test_f65_the_old_soft_limit_of_descriptors_is_given_back(world, kind):
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    limits.raise_nofile()
    try:
        world.started(world.spec(kind, "ulimit -Sn; exec sleep 1000"))
        assert world.said("\n") == "512\n"
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == before[1]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def descriptors(pid):
    """Return where each descriptor leads; one that was closed meanwhile leads nowhere."""
    found = {}
    for fd in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(FileNotFoundError):
            found[fd] = os.readlink(f"/proc/{pid}/fd/{fd}")
    return found


@every_kind
def test_f67_no_descriptor_is_inherited(world, kind, tmp_path):
    with open(tmp_path / "secret", "w", encoding="ascii") as file:
        os.set_inheritable(file.fileno(), True)
        os.set_inheritable(file.fileno(), False)
        pid = world.started(world.spec(kind))
        world.until(lambda: status(pid, "Name") == "sleep")
        fifo = f"{world.dir}/fifo/web/0.1"
        expected = {"0": "/dev/null", "1": fifo, "2": fifo}
        world.until(lambda: descriptors(pid) == expected)  # its libraries are loaded


def test_f67_a_function_has_no_descriptor_of_ours(world):
    spec = world.spec("function", python="callee:descriptors", args=())
    assert world.start(spec) == Spawned(1)
    assert world.gone() == Gone(1, 0)
    lines = world.streams.said["web/0", 1].decode().splitlines()
    fifo = f"{world.dir}/fifo/web/0.1"
    assert lines == ["0 /dev/null", f"1 {fifo}", f"2 {fifo}", "end"]


@every_kind
def test_s12_f82_the_environment_is_what_the_spec_says(world, kind, monkeypatch):
    monkeypatch.setenv("SECRET", "hidden")
    env = {**ENV, "COLOUR": "blue", "NOTIFY_SOCKET": "/ours", "WATCHDOG_USEC": "1"}
    env |= {"LISTEN_FDS": "1", "LISTEN_PID": "1", "LISTEN_FDNAMES": "x", "WATCHDOG_PID": "1"}
    world.start(world.spec(kind, "env; echo done", env=env))
    said = set(world.said("done\n").splitlines())
    world.gone()
    assert {"COLOUR=blue", "KEEPD_REPLICA=0", "KEEPD_SERVICE=web"} <= said
    assert f"KEEPD_RUN={world.dir}:web/0:1" in said
    names = {line.partition("=")[0] for line in said}
    assert not names & {"SECRET", "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"}
    assert not any(name.startswith("LISTEN_") for name in names)


@commands
@pytest.mark.parametrize(
    ("make", "words"),
    [
        (None, "no such file: 'nonesuch'"),
        ("text", "not an executable format: 'nonesuch'"),
        ("plain", "permission denied: 'nonesuch'"),
        ("orphan", "no such interpreter (the #! line, or the loader): 'nonesuch'"),
    ],
)
def test_f38_an_exec_that_fails_is_told_in_words(world, kind, make, words, tmp_path):
    text = {"orphan": "#!/no/such/interpreter\n"}.get(make, "no program\n")
    if make:
        (tmp_path / "nonesuch").write_text(text, encoding="ascii")
        (tmp_path / "nonesuch").chmod(0o644 if make == "plain" else 0o755)
    spec = world.spec(kind, command=("nonesuch",), env={"PATH": f"{tmp_path}:/bin"})
    assert world.start(spec) == SpawnFailed(1, words)
    assert world.of("web/0") == [SpawnFailed(1, words)]
    assert world.left() == []


@commands
def test_f38_a_program_that_is_being_written_is_told_in_words(world, kind, tmp_path):
    program = tmp_path / "program"
    program.write_bytes(b"#!/bin/sh\n")
    program.chmod(0o755)
    with open(program, "ab"):
        spec = world.spec(kind, command=(str(program),))
        assert world.start(spec) == SpawnFailed(1, f"the file is being written: {str(program)!r}")


@commands
def test_a_directory_is_no_program(world, kind, tmp_path):
    spec = world.spec(kind, command=(str(tmp_path),))
    assert world.start(spec) == SpawnFailed(1, f"is a directory: {str(tmp_path)!r}")


@pytest.mark.parametrize("kind", ["set-up", "function"])
def test_the_step_that_fails_is_named(world, kind, tmp_path):
    spec = world.spec(kind, cwd="/no/such/folder")
    assert world.start(spec) == SpawnFailed(1, "cwd: no such directory: '/no/such/folder'")
    (tmp_path / "file").touch()
    spec = world.spec(kind, cwd=str(tmp_path / "file"))
    words = f"cwd: not a directory: {str(tmp_path / 'file')!r}"
    assert world.start(spec, run=2) == SpawnFailed(2, words)


@commands
def test_a_zero_byte_is_refused_in_words(world, kind):
    report = world.start(world.spec(kind, command=("sh", "-c", "a\0b")))
    assert isinstance(report, SpawnFailed)
    assert "null" in report.error


@commands
def test_a_program_is_looked_up_in_the_services_own_path_and_folder(world, kind, tmp_path):
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "its-own"
    program.write_text("#!/bin/sh\necho here\n", encoding="ascii")
    program.chmod(0o755)
    env = {"PATH": str(tmp_path / "bin")}
    world.start(world.spec(kind, command=("its-own",), env=env))
    world.gone()
    assert world.streams.said["web/0", 1] == b"here\n"


def test_a_relative_path_starts_from_the_services_folder(world, tmp_path):
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "its-own"
    program.write_text("#!/bin/sh\npwd\n", encoding="ascii")
    program.chmod(0o755)
    for run, (name, path) in enumerate([("bin/its-own", "/bin"), ("its-own", "bin:/bin")], 1):
        spec = world.spec("set-up", command=(name,), cwd=str(tmp_path), env={"PATH": path})
        assert world.start(spec, run=run) == Spawned(run)
        world.gone(run=run)
        assert world.streams.said["web/0", run].decode() == f"{tmp_path}\n"


@commands
def test_shell_true_runs_one_line(world, kind):
    world.start(world.spec(kind, command=("echo one && echo two",), shell=True))
    world.gone()
    assert world.streams.said["web/0", 1] == b"one\ntwo\n"


@every_kind
def test_readiness_is_told_by_the_service(world, kind):
    script = (
        "python3 -c 'import os,socket; s=socket.socket(socket.AF_UNIX,socket.SOCK_DGRAM);"
        's.sendto(b"MAINPID=1\\nSTATUS=warm\\nREADY=1\\n", os.environ["NOTIFY_SOCKET"])\';'
        "exec sleep 1000"
    )
    world.started(world.spec(kind, script, ready=Ready(notify=True)))
    path = f"{world.dir}/notify/web/0.1"
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    world.until(lambda: world.of("web/0", BecameReady))
    assert world.of("web/0", BecameReady) == [BecameReady(1)]
    assert world.processes.words("web/0") == "warm"
    world.kill()
    world.gone()
    assert not os.path.exists(path)


def test_readiness_is_told_by_a_command_that_has_gone_when_it_is_heard(plain):
    plain.started(plain.spec("spawn", "exec sleep 1000", ready=Ready(notify=True)))
    script = (
        "import sys, socket; s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM);"
        's.sendto(b"READY=1", sys.argv[1])'
    )
    subprocess.run([sys.executable, "-c", script, f"{plain.dir}/notify/web/0.1"], check=True)
    plain.until(lambda: plain.of("web/0", BecameReady))


def test_a_notify_path_that_is_too_long_is_told_in_words(plain):
    place = replace(plain.processes.place, run_dir=f"{plain.dir}/{'x' * 100}")
    plain.processes._births._place = place
    report = plain.start(plain.spec(ready=Ready(notify=True)))
    assert isinstance(report, SpawnFailed)
    assert "give a shorter runtime_dir" in report.error


@every_kind
def test_a_second_run_is_refused_while_the_first_is_not_over(world, kind):
    world.started(world.spec(kind))
    assert world.start(world.spec(kind), run=2) == SpawnFailed(2, "the run before it is not over")
    assert len(world.left()) == 1


@every_kind
def test_f66_no_descriptor_is_lost_by_a_hundred_births(world, kind):
    def lives(first):
        for run in range(first, first + 50):
            world.start(world.spec(kind, "exit 3"), run=run)
            assert world.gone(run=run) == Gone(run, 3)
        return len(os.listdir("/proc/self/fd"))

    assert lives(1) == lives(51)

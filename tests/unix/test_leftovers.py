"""What is left when all of keepd is killed is ended before anything is started: never two."""

import os
import signal
import sys
from pathlib import Path

import pytest

from supervisor.ipc import pidfd
from supervisor.processes import Place
from supervisor.processes import sweep_leftovers as sweep_lines
from supervisor.unix import cgroup, kin, process
from supervisor.unix.leftovers import sweep_leftovers
from tests.unix.world import KINDS, LIMIT, World

every_kind = pytest.mark.parametrize("kind", KINDS)
groups = pytest.mark.parametrize("with_groups", [True, False], ids=["groups", "no groups"])
ROOT = Path(__file__).parents[2]
SCRIPT = "trap '' TERM; setsid sh -c 'setsid sleep 1000 & echo away' & sleep 1000 & wait"


def killed_master(kind, with_groups):
    """Start a master with one service in a process of its own, kill it; return its folder."""
    ready, tell = os.pipe()

    def main():
        world = World(groups=with_groups)
        world.started(world.spec(kind, SCRIPT))
        world.said("away\n")
        os.write(tell, world.dir.encode())
        signal.pause()
        return 0

    process.subreaper()
    pid = process.fork("test master", main, keep=(tell,))
    os.close(tell)
    folder = os.read(ready, 1000).decode()
    os.close(ready)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return folder


def reap():
    """Reap whatever has come to us."""
    while process.children():
        for pid in process.children():
            fd = os.pidfd_open(pid)
            assert pidfd.wait(fd, LIMIT), f"{pid} is left"
            os.close(fd)
            os.waitpid(pid, 0)


@every_kind
@groups
def test_what_a_killed_keepd_left_is_found_and_ended(kind, with_groups):
    folder = killed_master(kind, with_groups)
    tree = cgroup.settle("test", folder)[0] if with_groups else None
    left = sweep_leftovers(folder, tree)
    assert all(each.gone for each in left)
    services = [each for each in left if each.what.startswith("web/0")]
    assert len(services) >= 3
    assert sweep_leftovers(folder, tree) == []
    reap()
    if tree:
        tree.remove()
        assert not os.path.exists(tree.base)


def test_it_is_told_in_words():
    folder = killed_master("spawn", with_groups=False)
    lines = sweep_lines(folder, Place(folder, "test", "/", 512, groups=False))
    assert any(
        line.startswith("left over from an earlier keepd: web/0 run 1, pid ")
        and line.endswith(": killed")
        for line in lines
    )
    reap()


def test_nobody_else_is_touched(plain):
    mine = plain.started(plain.spec())
    other = World(groups=False)
    theirs = other.started(other.spec())
    assert [each.pid for each in sweep_leftovers(plain.dir, None)] == [mine]
    plain.gone()
    assert sweep_leftovers(f"{other.dir[:-1]}", None) == []
    assert kin.stat(theirs).state not in "ZX"
    other.kill()
    other.gone()
    other.close()


def test_who_asks_is_spared_though_it_carries_the_tag(monkeypatch, tmp_path):
    """A keepd that is started from within a service of the same name must not end itself."""

    def main():
        env = {**os.environ, "KEEPD_RUN": f"{tmp_path}:web/0:1"}
        program = (
            f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
            "from supervisor.unix.leftovers import sweep_leftovers\n"
            f"print(sweep_leftovers({str(tmp_path)!r}, None))\n"
        )
        os.execve(sys.executable, [sys.executable, "-c", program], env)
        return 1

    pid = process.fork("test", main)
    fd = os.pidfd_open(pid)
    assert pidfd.wait(fd, LIMIT)
    os.close(fd)
    assert os.waitpid(pid, 0)[1] == 0

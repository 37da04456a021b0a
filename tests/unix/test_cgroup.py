"""Our part of the cgroup tree: made, used, and removed; never anybody else's."""

import os
import signal

import pytest

from supervisor.ipc.pidfd import Child
from supervisor.unix import cgroup, process
from tests.unix.world import LIMIT


@pytest.fixture
def tree(tmp_path):
    found, why = cgroup.settle("a project/..", str(tmp_path))
    assert found, why
    yield found
    found.remove()
    assert not os.path.exists(found.base)


def own():
    with open("/proc/self/cgroup", encoding="ascii") as file:
        return next(line[3:].strip() for line in file if line.startswith("0::"))


def sleeper(group, name="test"):
    group.enter()
    try:
        return Child(process.fork(name, lambda: signal.pause() or 0))
    finally:
        group.go_home()


def test_we_move_into_a_leaf_and_come_back(tmp_path):
    before = own()
    tree, _ = cgroup.settle("shop", str(tmp_path))
    assert own() == f"{before.rstrip('/')}/{os.path.basename(tree.base)}/keepd"
    assert os.path.dirname(tree.base) == tree.outside.rstrip("/")
    tree.remove()
    assert own() == before
    assert not os.path.exists(tree.base)


def test_s28_no_name_leads_out_of_our_tree(tree):
    assert ".." not in tree.base.split("/")
    assert os.path.dirname(tree.base) == tree.outside.rstrip("/")


def test_replicas_names_are_never_the_same(tree):
    names = ["web/0", "web/00", "web.0/0", "web/1", "web.1/0", "keepd/0", "cgroup/0"]
    assert len({tree.group(name).path for name in names}) == len(names)


def test_what_is_born_in_a_group_is_killed_with_it(tree):
    group = tree.group("web/0")
    assert group.procs() == []
    assert not group.populated()
    child = sleeper(group)
    assert group.procs() == [child.pid]
    assert group.populated()
    group.kill()
    assert child.join(LIMIT)
    assert child.exitcode == -9
    assert not group.populated()
    group.kill()


def test_everybody_is_killed_where_the_kernel_cannot_do_it_at_once(tree):
    group = tree.group("web/0")
    inner = cgroup.Group(f"{group.path}/inner", group.home)
    children = [sleeper(group), sleeper(group), sleeper(inner)]
    group._kill_each()
    for child in children:
        assert child.join(LIMIT)
        assert child.exitcode == -9


def test_a_signal_reaches_everybody_in_it(tree):
    group = tree.group("web/0")
    children = [sleeper(group), sleeper(group)]
    group.signal(signal.SIGTERM)
    for child in children:
        assert child.join(LIMIT)
        assert child.exitcode == -15


def test_we_are_never_killed_ourselves(tree):
    group = tree.group("web/0")
    child = sleeper(group)
    group.enter()
    group.kill()
    assert child.join(LIMIT)
    assert os.getpid() in tree.leaf.procs()


def test_where_it_is_not_ours_we_do_without(monkeypatch, tmp_path):
    monkeypatch.setattr(cgroup, "_writable", lambda _: False)
    tree, why = cgroup.settle("shop", str(tmp_path))
    assert tree is None
    assert "is not ours to write" in why
    monkeypatch.setattr(cgroup, "_own_folder", lambda: None)
    assert cgroup.settle("shop", str(tmp_path)) == (
        None,
        "no cgroup v2 hierarchy shows the group that we are in",
    )


def test_a_tree_that_cannot_be_made_is_told_in_words(monkeypatch, tmp_path):
    gone = cgroup.Tree("/proc/no/such", "/proc")
    monkeypatch.setattr(cgroup, "_find", lambda *_: (gone, ""))
    tree, why = cgroup.settle("shop", str(tmp_path))
    assert tree is None
    assert why.startswith("cannot set up cgroups: ")

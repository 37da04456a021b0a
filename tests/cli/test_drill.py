"""The word `drill`: what it says before it begins, and what it refuses."""

import json

import pytest

from tests.cli.daemon import canned, keepd, replica, served, whole


def status(mode="detached", pid=4242):
    found = whole(replica("web/0"), replica("web/1"))
    found["daemon"] |= {"pid": pid, "mode": mode, "helpers": {"prober": [], "zygote": []}}
    return {"status": found}


def drill(run_dir, *typed):
    return keepd("drill", "--dry-run", "--seed", "7", *typed, "--runtime-dir", run_dir)


def test_it_says_before_what_it_will_do(run_dir, socket):
    with served(socket, canned(status())):
        done = drill(run_dir)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == (
        "for 30 s, every 1 s one process of keepd (pid 4242) is killed, or stopped for 1 s:\n"
        "  anchor, master, writer, prober, zygote\n"
        "  no service\n"
        "  Ctrl-C ends it; --seed 7 makes the same choices\n\n"
    )


def test_a_dry_run_hits_nobody_also_where_services_are_named(run_dir, socket, tmp_path):
    with served(socket, canned(status(), tmp_path / "noted")):
        done = drill(run_dir, "--replicas", "web", "--how", "kill", "--for", "5s")
    assert "for 5 s, every 1 s one process of keepd (pid 4242) is killed (SIGKILL):" in done.stdout
    assert "prober, zygote, replica\n  of the services: web/0, web/1\n" in done.stdout
    asked = [json.loads(line) for line in (tmp_path / "noted").read_text().splitlines()]
    assert asked == [["status", {"names": ["web"]}], ["status", {}]]


@pytest.mark.parametrize(
    ("mode", "pid", "why"),
    [
        ("foreground", 4242, "keepd is in the foreground, where its death stops everything"),
        ("managed", 1, "it is pid 1 here: with it everything would end"),
    ],
)
def test_an_anchor_that_nobody_starts_again_is_spared(run_dir, socket, mode, pid, why):
    with served(socket, canned(status(mode, pid))):
        assert f"  not the anchor: {why}\n" in drill(run_dir).stdout
        refused = drill(run_dir, "--kind", "anchor")
    assert (refused.returncode, refused.stderr) == (2, f"cannot hit the anchor: {why}\n")


@pytest.mark.parametrize(
    ("typed", "why"),
    [
        (["--kind", "replica"], "cannot hit a replica: --replicas NAME says of which service"),
        (["--kind", "child"], "cannot hit a child: --replicas NAME says of which service"),
        (["--kind", "everything"], "cannot kill everything: only in a --self-test"),
        (["--every", "0s"], "cannot drill: --for and --every are more than 0s"),
        (["--for", "0"], "cannot drill: --for and --every are more than 0s"),
        (["--self-test", "--replicas", "web"], "cannot hit --replicas in a --self-test"),
        (["--kind", "nobody"], "cannot understand: argument --kind: invalid choice"),
    ],
)
def test_what_cannot_be_is_refused(run_dir, socket, typed, why):
    with served(socket, canned(status())):
        done = drill(run_dir, *typed)
    assert done.returncode == 2
    assert done.stderr.startswith(why)
    assert done.stdout == ""


def test_where_no_keepd_runs_a_self_test_is_proposed(run_dir):
    done = keepd("drill", "--runtime-dir", run_dir)
    assert done.returncode == 3
    assert "`keepd drill --self-test` needs none" in done.stderr


def test_an_older_keepd_is_left_alone(run_dir, socket):
    with served(socket, canned({"status": whole(replica("web/0"))})):
        done = drill(run_dir)
    assert (done.returncode, done.stdout) == (1, "")
    assert "older than this word" in done.stderr

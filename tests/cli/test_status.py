"""What a person sees: the table, its words, its exit code."""

import argparse
import json
import os
import pty
import select

import pytest

from supervisor.cli import show, status
from tests.cli.daemon import canned, environment, keepd, replica, served, whole

SHOP = whole(
    replica("redis/0", uptime=7500.0),
    replica("web/0", "STARTING", uptime=2.0, text="waiting for http: 503"),
    replica("web/1", restarts=7, uptime=3.4, text="last: killed by SIGKILL after 2 s, 3 s ago"),
    replica("mail/0", "BACKOFF", restarts=12, text="exited with 1 after 0.1 s; next start in 12 s"),
    replica("jobs/0", "STOPPED", text="waits for redis: ready"),
    replica("prepare/0", "EXITED", text="exited with 0 after 1 s, 2 h ago"),
    replica("typo/0", "FATAL", text="no such file: 'gunicron'"),
    replica("old/0", "STOPPED", wanted=False),
)

TABLE = """\
keepd 0.1.0, pid 4242, up 2h05m, /srv/shop/keepd.yaml
4 of 7 not as wanted

NAME       STATE     READY   PID  UPTIME  RESTARTS
redis/0    RUNNING   yes    4243   2h05m         0
web/0      STARTING  no     4243      2s         0  waiting for http: 503
web/1      RUNNING   yes    4243      3s         7  last: killed by SIGKILL after 2 s, 3 s ago
mail/0     BACKOFF   no        -       -        12  exited with 1 after 0.1 s; next start in 12 s
jobs/0     STOPPED   no        -       -         0  waits for redis: ready
prepare/0  EXITED    no        -       -         0  exited with 0 after 1 s, 2 h ago
typo/0     FATAL     no        -       -         0  no such file: 'gunicron'
old/0      STOPPED   no        -       -         0
"""


def test_the_table_is_aligned_and_says_why():
    assert status.table(SHOP, colours=False) == TABLE


def test_colours_change_nothing_but_the_colour():
    painted = status.table(SHOP, colours=True)
    assert painted != TABLE
    for code in ("1", "2", "31", "32", "33", "0"):
        painted = painted.replace(f"\x1b[{code}m", "")
    assert painted == TABLE


@pytest.mark.parametrize(
    ("replicas", "code"),
    [
        ([replica("a/0"), replica("a/1")], 0),
        ([replica("a/0"), replica("b/0", "EXITED")], 0),
        ([replica("a/0"), replica("b/0", "STOPPED", wanted=False)], 0),
        ([replica("a/0"), replica("b/0", "FATAL", wanted=False)], 0),
        ([replica("a/0", "RUNNING", wanted=False), replica("a/1", "BACKOFF")], 1),
        ([replica("a/0"), replica("b/0", "STARTING")], 1),
        ([replica("a/0"), replica("b/0", "STOPPED")], 1),
        ([replica("a/0"), replica("b/0", "FATAL")], 1),
        ([replica("a/0"), replica("b/0", "BACKOFF")], 1),
        ([replica("a/0", "STOPPING")], 1),
    ],
)
def test_the_exit_code_is_1_when_something_wanted_does_not_run(run_dir, socket, replicas, code):
    with served(socket, canned({"status": whole(*replicas)})):
        plain = keepd("--runtime-dir", run_dir, "status")
        as_json = keepd("--runtime-dir", run_dir, "status", "--json")
    assert (plain.returncode, as_json.returncode) == (code, code)
    assert ("as wanted" in plain.stdout) is True
    assert json.loads(as_json.stdout) == whole(*replicas)


def test_names_are_passed_on_and_an_unknown_one_is_code_4(run_dir, socket, tmp_path):
    noted = tmp_path / "noted"
    with served(socket, canned({"status": SHOP}, noted)):
        keepd("--runtime-dir", run_dir, "status", "web", "re*")
    assert json.loads(noted.read_text()) == ["status", {"names": ["web", "re*"]}]


def seen_on_a_terminal(run_dir, **more):
    """Return what `status` writes to a terminal."""
    pid, terminal = pty.fork()
    if pid == 0:
        words = ["python", "-m", "supervisor", "--runtime-dir", str(run_dir), "status"]
        os.execve(os.sys.executable, words, environment(TERM="xterm", **more))
    data = b""
    try:
        while select.select([terminal], [], [], 60)[0]:
            data += os.read(terminal, 65536)
    except OSError:  # its end
        pass
    os.waitpid(pid, 0)
    os.close(terminal)
    return data.decode().replace("\r\n", "\n")


def test_a_terminal_gets_colours_unless_it_does_not_want_them(run_dir, socket):
    with served(socket, canned({"status": SHOP})):
        assert "\x1b[31mFATAL" in seen_on_a_terminal(run_dir)
        assert seen_on_a_terminal(run_dir, NO_COLOR="1") == TABLE
        assert keepd("--runtime-dir", run_dir, "status").stdout == TABLE


def test_words_of_a_service_cannot_steer_the_terminal(run_dir, socket):
    evil = whole(replica("a/0", text="\x1b]52;c;eA==\x07\x1b[2J\nweb/0 RUNNING \x9b31m"))
    with served(socket, canned({"status": evil})):
        shown = keepd("--runtime-dir", run_dir, "status").stdout
    assert shown.splitlines()[-1].endswith("\\x1b]52;c;eA==\\x07\\x1b[2J\\nweb/0 RUNNING \\x9b31m")


@pytest.mark.parametrize(
    ("span", "text"),
    [
        (None, "-"),
        (0.2, "0s"),
        (59.9, "59s"),
        (60, "1m00s"),
        (3599, "59m59s"),
        (3600, "1h00m"),
        (86399, "23h59m"),
        (86400, "1d00h"),
        (1e7, "115d17h"),
        (-1, "0s"),
    ],
)
def test_a_duration_is_short_in_its_column(span, text):
    assert show.short(span) == text


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30", 30),
        ("30s", 30),
        ("1.5s", 1.5),
        ("500ms", 0.5),
        ("2m", 120),
        ("2min", 120),
        ("1 h", 3600),
    ],
)
def test_a_duration_is_understood(text, seconds):
    assert show.seconds(text) == seconds


@pytest.mark.parametrize("text", ["", "s", "-1", "1d2", "1e9", "inf", "½s", "1s2"])
def test_what_is_no_duration_is_refused(text):
    with pytest.raises(argparse.ArgumentTypeError, match="is no duration"):
        show.seconds(text)

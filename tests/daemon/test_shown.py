"""What people get to see of logs: read back, followed, and on the terminal of an `up`."""

import contextlib
import json
import os
import re
import select
import subprocess
import time

from tests.daemon.harness import LIMIT, program, until
from tests.daemon.logged import STAMP, Gate, completed, drains, numbered, paths, whole
from tests.daemon.screens import Screen


def test_keepds_own_events_are_one_more_log(keepd):
    one = keepd(
        """
        defaults: {backoff: {first: 10ms, jitter: 0}}
        services:
          web: {command: [sleep, "1000"]}
          job: {command: ["true"], restart: never}
          off: {command: "exit 3", shell: true, start_limit: {starts: 2, within: 1h}}
          bad: {command: [gunicron], start_limit: {starts: 1, within: 1h}}
        """
    ).up(ready=False)
    one.becomes("web/0", "RUNNING")
    for text in (
        f"keepd 0.1.0 is up (pid {one.process.pid}, {one.config})",
        f"web/0 started (pid {one.pid('web/0')})",
        "job/0 exited with 0 after",
        "off/0 exited with 3 after",
        "s; not started again",
        "cannot start bad/0: no such file: 'gunicron'",
    ):
        one.tells(text)
    assert "None" not in one.log("keepd")
    pid = one.kill("web")
    one.tells(" web/0 killed by SIGKILL after ")
    one.becomes("web/0", "RUNNING", run=2)
    assert one.pid("web") != pid
    shown = one.run("logs", "-n", "all", "keepd").stdout
    assert shown == one.log("keepd")
    assert STAMP.match(shown.encode())
    one.run("down")
    assert one.lines("keepd")[-1] == "keepd leaves with exit code 0"
    assert [line for line in one.lines("keepd") if line.startswith("web/0 stop")] == [
        "web/0 stopping",
        one.lines("keepd")[-2],
    ]


def test_logs_are_read_back_by_number_pattern_and_as_they_come(keepd):
    config = f"""
        defaults: {{command: {program("prints", "lines", "3000")}, restart: never}}
        services:
          one: {{log: {{max_size: 16KiB, max_files: 99}}}}
          other: {{log: {{format: raw}}, cwd: /}}
    """  # the other one has no gate where it is
    one = keepd(config)
    with Gate(one) as gate:
        one.up()
        gate.open(1)
        until(lambda: whole(one, "one/0").count(b"\n") == 500)
        with following(one, "logs", "-f", "-n", "1", "one", "--grep", "line [0-9]*7 ") as follower:
            follower.until(len)  # it is there, and where it begins is known
            gate.open(5)
            until(lambda: completed(one) and not drains(one, "one/0"))
            wanted = [line for line in numbered("one/0", 3000).splitlines() if b"7 x" in line]
            last = follower.until(lambda lines: lines and lines[-1].endswith(wanted[-1]))
        assert [STAMP.sub(b"", line) for line in last] == wanted[49:]  # from line 497 on
    tail = numbered("one/0", 3000).decode().splitlines()[-3:]
    assert bare(one.run("logs", "-n", "3", "one/0").stdout) == tail
    assert one.run("logs", "-n", "1", "other").stdout == f"other{tail[-1].removeprefix('one')}\n"
    found = one.run("logs", "--grep", "line 1[0-9]*7 ", "one", "other").stdout.splitlines()
    assert len(found) == 2 * sum(b" line 1" in line and b"7 x" in line for line in wanted)
    objects = [json.loads(x) for x in one.run("logs", "--json", "-n", "2").stdout.splitlines()]
    assert {each["id"] for each in objects} == {"one/0", "other/0", "keepd"}
    assert one.run("logs", "nobody").returncode == 4


def bare(text):
    return [line.split(" ", 1)[1] for line in text.splitlines()]


class Follower:
    """A `keepd logs -f`, and what it has shown so far."""

    def __init__(self, process):
        self.process = process
        self.shown = b""

    def until(self, condition):
        """Return the lines shown as soon as they are as wanted."""
        end = time.monotonic() + LIMIT
        while not condition(self.shown.splitlines()):
            left = end - time.monotonic()
            assert left > 0, self.shown[-1000:]
            if select.select([self.process.stdout], [], [], left)[0]:
                self.shown += os.read(self.process.stdout.fileno(), 1 << 16)
        return self.shown.splitlines()


@contextlib.contextmanager
def following(one, *words):
    with subprocess.Popen(one.command(*words), stdout=subprocess.PIPE, cwd=one.root) as process:
        try:
            yield Follower(process)
        finally:
            process.kill()


CTRL_S, CTRL_Q = b"\x13", b"\x11"


def test_a_terminal_shows_coloured_prefixed_lines(keepd):
    with Screen() as screen:
        one = keepd(
            """
            services:
              web: {command: "printf 'hello\\nw\\x1b[2Jrld\\n'; sleep 1000", shell: true,
                    replicas: 2}
              longer-name: {command: "echo hi; sleep 1000", shell: true}
            """,
            stdout=screen.slave,
            env={**os.environ, "TERM": "xterm"},
        ).up()
        for key in (b"web/0", b"web/1", b"longer-name/0", b"keepd"):
            line = rb"^\x1b\[\d+m%s +\|\x1b\[0m \S.*\r$" % key
            until(lambda line=line: re.search(line, screen.look(), re.MULTILINE))
        until(lambda: screen.look().count(b"\x1b[0m w\\x1b[2Jrld\r\n") == 2)
        assert one.stop() == 0
        assert b"keepd leaves with exit code 0\r\n" in screen.look()


def test_ctrl_s_on_the_terminal_stops_no_service_and_no_log(keepd):
    with Screen() as screen:
        one = keepd(
            """
            services:
              busy: {command: "while :; do echo busy busy busy busy busy; done", shell: true,
                     log: {max_size: 1MB}}
              web: {command: [sleep, "1000"], backoff: {first: 0s}}
            """,
            stdout=screen.slave,
        ).up()
        until(lambda: b"busy busy" in screen.look())
        screen.press(CTRL_S)
        terminal = one.titles()["terminal"]
        before = rotations(one)
        until(lambda: rotations(one) > before + 6)  # more than any buffer on the way could hold
        one.kill("web")
        one.becomes("web/0", "RUNNING", run=2)
        assert one.replica("busy/0")["run"] == 1
        shown = len(screen.look())
        assert b"web/0 killed" not in screen.shown[shown:]
        one.call("stop", {"names": ["busy"]})
        one.becomes("busy/0", "STOPPED")
        screen.press(CTRL_Q)
        until(lambda: b"lines skipped" in screen.look())
        until(lambda: b"web/0 started" in screen.look())
        assert one.titles()["terminal"] == terminal
        screen.press(CTRL_S)
        assert one.stop() == 0  # not even the end waits for somebody to press Ctrl-Q


def test_lines_whose_files_are_gone_before_they_could_be_shown_are_told_of(keepd):
    with Screen() as screen:
        one = keepd(
            """
            services:
              busy: {command: "while :; do echo busy busy busy busy busy; done", shell: true,
                     log: {max_size: 200KB, max_files: 3}}
            """,
            stdout=screen.slave,
        ).up()
        until(lambda: b"busy busy" in screen.look())
        screen.press(CTRL_S)
        before = rotations(one)
        until(lambda: rotations(one) > before + 6)
        screen.press(CTRL_Q)
        until(lambda: re.search(rb"lines skipped: \d+ of the log's files are gone", screen.look()))
        assert one.stop() == 0


def rotations(one):
    """Return the number of the last rotated file of the busy service."""
    numbers = [
        path.name.split(".")[1] for path in paths(one, "busy/0") if path.name.count(".") == 2
    ]
    return int(numbers[-1]) if numbers else 0

"""What services print, from their write() to the files: each line once, whole and in its place."""

import os
import random
import re
import select
import signal
import stat
import subprocess

import pytest

from supervisor.logs.formats import CONTINUES, UNFINISHED
from tests.daemon.harness import LIMIT, kill, program, read, until
from tests.daemon.logged import STAMP, Gate, completed, drains, numbered, paths, unstamped, whole

MARK = UNFINISHED.decode().removesuffix("\n")


def test_f54_a_rotation_under_load_parts_no_line_and_loses_none(keepd):
    config = f"""
        defaults: {{restart: never, log: {{max_size: 64KiB, max_files: 99}}}}
        services:
          load: {{command: {program("prints", "lines", "5000")}, replicas: 4}}
    """
    one = keepd(config).up()
    until(lambda: completed(one))
    for number in range(4):
        key = f"load/{number}"
        until(lambda key=key: not drains(one, key))
        files = paths(one, key)
        assert len(files) > 5
        assert [path.name for path in files[:2]] == [f"{number}.00000{n}.log" for n in (1, 2)]
        for path in files:
            assert path.read_bytes().endswith(b"\n"), path
            assert path.stat().st_size <= 65_536, path
        assert unstamped(one, key) == numbered(key, 5000)
    shown = one.run("logs", "-n", "all", "load/0").stdout.encode()
    assert STAMP.sub(b"", shown) == numbered("load/0", 5000)


@pytest.mark.soak
def test_f54_a_million_lines_of_fifty_services_while_the_writer_is_killed(keepd):
    """Each time 100 ms after it is back, through rotations at 1 MB."""
    assert under_fire(keepd, Fire(50, 20_000, "1MB", bursts=40), lambda _: 0.1) >= 50


def test_f54_lines_of_many_services_while_the_writer_is_killed_again_and_again(keepd):
    kills = under_fire(keepd, Fire(20, 3_000, "100KB", bursts=6), lambda dice: dice.random() / 50)
    assert kills >= 10


class Fire:
    """So many services that print so many lines, and steps they may take between two kills."""

    def __init__(self, services, lines, max_size, bursts):
        self.services, self.lines, self.bursts = services, lines, bursts
        self.config = f"""
            defaults: {{restart: never, log: {{max_size: {max_size}, max_files: 999}}}}
            services:
              load: {{command: {program("prints", "lines", str(lines))}, replicas: {services}}}
        """


def under_fire(keepd, fire, pause):
    """Kill the writer pause(dice) seconds after it is back; return how often it was killed."""
    one = keepd(fire.config)
    dice, kills = random.Random(1), 0
    with Gate(one) as gate:
        one.up()
        last = None
        while not completed(one):
            last = until(lambda last=last: new_writer(one, last))
            gate.open(fire.bursts)
            select.select([], [], [], pause(dice))
            kill(last)
            kills += 1
    for number in range(fire.services):
        key = f"load/{number}"
        until(lambda key=key: not drains(one, key))
        assert unstamped(one, key) == numbered(key, fire.lines), key
        assert len(paths(one, key)) > 1
    assert "trouble" not in one.log("keepd")
    assert all(replica["run"] == 1 for replica in one.replicas())
    return kills


def new_writer(one, last):
    pid = one.call("status", {"names": ["load/0"]})["daemon"]["log_writer_pid"]
    return pid if pid != last else None


def test_f56_a_line_of_50_mb_costs_no_memory_and_nobody_elses_log_waits(keepd):
    portions, size = 10, 5_000_000
    one = keepd(
        f"""
        services:
          endless: {{command: {program("prints", "blob", str(portions), str(size))},
                    restart: never}}
          hears: {{command: {program("hears")}, ready: {{log: listens}}}}
        """
    )
    with Gate(one) as gate:
        one.up()
        writer = one.status()["daemon"]["log_writer_pid"]
        before = memory(writer)
        for portion in range(1, portions + 1):
            gate.open(1)
            one.call("signal", {"names": ["hears"], "signal": "USR1"})
            until(lambda portion=portion: one.lines("hears/0").count("SIGUSR1") == portion)
        one.becomes("endless/0", "EXITED")
        until(lambda: not drains(one, "endless/0"))
    assert memory(writer) - before < 12 << 20
    assert one.status()["daemon"]["log_writer_pid"] == writer
    text = unstamped(one, "endless/0")
    assert text.endswith(UNFINISHED)
    pieces = text.removesuffix(UNFINISHED).split(CONTINUES)
    assert len(pieces) == -(-portions * size // 65_536)
    assert {len(piece) for piece in pieces[:-1]} == {65_536}
    assert sum(map(len, pieces)) == portions * size == text.count(b"x")


def memory(pid):
    """Return the most memory in bytes that a process has ever had."""
    return int(re.search(r"^VmHWM:\s+(\d+) kB$", read(pid, "status"), re.MULTILINE)[1]) << 10


@pytest.mark.parametrize("how", ["3", "kill"])
def test_f57_last_words_are_kept_and_are_a_line_of_their_own(keepd, how):
    """Of a service that prints without a newline, or much, and dies in the same moment."""
    one = keepd(
        f"""
        defaults: {{backoff: {{first: 0s, limit: 0s, jitter: 0}},
                   start_limit: {{starts: 5, within: 1h, then: fail}}}}
        services:
          few: {{command: {program("prints", "dies", how, "0")}}}
          much: {{command: {program("prints", "dies", how, "50000")}}}
        """
    ).up(ready=False)
    for name, count in (("few", 1), ("much", 500)):
        one.becomes(f"{name}/0", "FATAL", run=5)
        until(lambda name=name: not drains(one, f"{name}/0"))
        lines = one.lines(f"{name}/0")
        for run in range(5):
            begin = run * (count + 1)
            assert lines[begin : begin + count] == ["y" * 99] * count
            assert lines[begin + count] == f"last words of run {run + 1}{MARK}"


def test_f58_bytes_that_are_no_text_go_through_and_hurt_nobody(keepd):
    one = keepd(
        f"""
        defaults: {{command: {program("prints", "junk")}}}
        services:
          text: {{}}
          raw: {{log: {{format: raw}}}}
        """
    ).up()
    end = b"\n\xff\xfe\0\n\r\n\x1b]52;c;eA==\x07\x1b[2J\n"
    expected = bytes(range(256)) * 40 + random.Random(1).randbytes(200_000) + end
    titles = one.titles()
    until(lambda: whole(one, "raw/0").endswith(end))
    assert whole(one, "raw/0") == expected
    until(lambda: whole(one, "text/0").endswith(b"[2J\n"))
    assert unstamped(one, "text/0") == expected
    for words in (("logs",), ("logs", "--json"), ("logs", "-n", "all", "text", "raw")):
        done = subprocess.run(
            one.command(*words), capture_output=True, timeout=LIMIT, check=False, cwd=one.root
        )
        assert (done.returncode, done.stderr) == (0, b"")
    until(lambda: "\\x1b]52;c;eA==\\x07\\x1b[2J" in (one.folder / "out").read_text())
    assert "\x1b" not in (one.folder / "out").read_text()
    assert one.titles() == titles
    assert all(replica["run"] == 1 for replica in one.replicas())


@pytest.mark.parametrize("writer", ["goes on", "is stopped meanwhile"])
def test_f61_what_a_child_says_late_stands_with_its_own_run(keepd, writer):
    one = keepd(f"services: {{family: {{command: {program('prints', 'family')}}}}}").up()
    until((one.folder / "said.1").exists)
    if writer != "goes on":
        kill(one.titles()["log writer"], number=signal.SIGSTOP)
    for run in (2, 3):
        assert one.run("restart", "family").returncode == 0
        until((one.folder / f"said.{run}").exists)
    kill(one.titles()["log writer"], number=signal.SIGCONT)
    one.call("stop", {"names": ["family"]})
    expected = []
    for run in (1, 2, 3):
        expected += [f"parent of run {run}", f"child of run {run}", f"its last words{MARK}"]
    one.becomes("family/0", "STOPPED")
    until(lambda: not drains(one, "family/0"))
    assert one.lines("family/0") == expected


def test_a_log_to_none_is_written_nowhere(keepd):
    one = keepd(
        """
        services:
          none: {command: "echo hello; echo hello >&2; touch said; sleep 1000", shell: true,
                 log: {to: none}}
        """
    ).up()
    until((one.folder / "said").exists)
    for fd in (1, 2):
        assert os.readlink(f"/proc/{one.pid('none')}/fd/{fd}") == os.devnull
    one.tells("none/0 started")
    assert {path.name for path in one.log_dir.iterdir()} == {"keepd.log"}
    assert not list(one.run_dir.glob("fifo/none/*"))
    assert one.run("logs", "none").stdout == ""


def test_raw_is_as_it_came_and_both_outputs_keep_their_order(keepd):
    words = "for n in 1 2 3; do echo out $n; echo err $n >&2; done; printf end; sleep 1000"
    one = keepd(
        f"""
        services:
          raw: {{command: '{words}', shell: true, log: {{format: raw}}}}
          text: {{command: '{words}', shell: true}}
        """
    ).up()
    lines = [f"{word} {n}" for n in (1, 2, 3) for word in ("out", "err")]
    until(lambda: one.log("raw/0") == "\n".join([*lines, "end"]))
    until(lambda: one.lines("text/0") == [*lines, "end"])
    mode = stat.S_IMODE((one.log_dir / "raw" / "0.log").stat().st_mode)
    assert mode == 0o640

"""Signals: none is lost, none breaks anything, none reaches a service that was not meant for it."""

import fcntl
import os
import pty
import signal
import subprocess
import termios

import pytest

from tests.daemon.harness import children, kill, program, read, tagged, until

SLEEPER = """
    defaults: {backoff: {first: 10ms, factor: 1}}
    services:
      web: {command: [sleep, "1000"]}
"""
MEANINGLESS = (
    *(signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM, signal.SIGVTALRM, signal.SIGPROF),
    *(signal.SIGPIPE, signal.SIGURG, signal.SIGWINCH, signal.SIGIO, signal.SIGCHLD),
)


def test_f13_no_signal_is_lost_between_two_waits(keepd):
    one = keepd(SLEEPER).up_detached()
    main = one.status()["daemon"]["pid"]
    for count in range(1, 11):  # each is a reload
        kill(main, number=signal.SIGHUP)
        until(lambda n=count: one.log("keepd").count("nothing has changed") == n, every=0.002)
    kill(main, number=signal.SIGTERM)
    until(lambda: not read(main, "stat"))
    assert tagged(one.run_dir) == []


@pytest.mark.parametrize("title", ["anchor", "master"])
def test_f15_a_storm_of_signals_breaks_nothing(keepd, title):
    one = keepd(SLEEPER).up_detached()
    target = one.titles()[title]
    others = one.titles()
    for run in range(2, 5):
        for _ in range(300):
            for number in (*MEANINGLESS, signal.SIGHUP):
                os.kill(target, number)
        one.kill("web")
        for _ in range(300):
            os.kill(target, signal.SIGCHLD)
            os.kill(target, signal.SIGHUP)
        one.becomes("web", "RUNNING", run=run)
    until(lambda: one.titles() == others)  # the reader of the last reload has gone
    assert one.run("down").returncode == 0


def test_f17_started_by_a_shell_in_the_background_it_still_hears(keepd, tmp_path):
    one = keepd(SLEEPER)
    line = " ".join(one.command("up", "-d"))
    done = subprocess.run(
        ["sh", "-c", f"nohup {line} & wait $!"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=one.root,
        timeout=20,
        check=True,
    )
    assert done.returncode == 0
    ignored = read(one.pid("web"), "status").partition("SigIgn:")[2].split()[0]
    assert int(ignored, 16) & 0x7FFFFFFF == 0
    main = one.status()["daemon"]["pid"]
    kill(main, number=signal.SIGINT)
    until(lambda: not read(main, "stat"))
    assert tagged(one.run_dir) == []


class Terminal:
    """A terminal with keepd in its foreground."""

    def __init__(self, keepd, config):
        self.ours, theirs = pty.openpty()

        def control():
            fcntl.ioctl(theirs, termios.TIOCSCTTY, 0)

        self.keepd = keepd(config, preexec_fn=control)
        self.keepd.up()
        os.close(theirs)

    def types(self, keys):
        os.write(self.ours, keys)

    def hangs_up(self):
        os.close(self.ours)
        self.ours = -1


@pytest.fixture
def terminal(keepd):
    made = []

    def make(config):
        made.append(Terminal(keepd, config))
        return made[-1]

    yield make
    for one in made:
        if one.ours >= 0:
            one.hangs_up()


HEARING = f"""
    services:
      first: {{command: {program("hears")}, ready: {{log: listens}}}}
      second: {{command: {program("hears")}, ready: {{log: listens}}, depends_on: [first]}}
"""


def test_f18_ctrl_c_reaches_services_only_as_the_ordered_stop(terminal):
    shown = terminal(HEARING)
    one = shown.keepd
    shown.types(b"\x03")
    assert one.process.wait(20) == 0
    for name in ("first", "second"):
        assert one.lines(f"{name}/0") == ["listens", "SIGTERM"]
    words = one.log("keepd")
    assert words.index("second/0 stopped") < words.index("first/0 stopping")
    assert tagged(one.run_dir) == []


def test_f19_a_terminal_that_closes_is_an_ordered_stop(terminal):
    shown = terminal(HEARING)
    one = shown.keepd
    shown.hangs_up()
    assert one.process.wait(20) == 0
    for name in ("first", "second"):
        assert one.lines(f"{name}/0") == ["listens", "SIGTERM"]
    assert tagged(one.run_dir) == []


def test_f24_whoever_is_signalled_while_it_is_born_dies_of_it_and_is_born_again(keepd):
    one = keepd(
        """
        defaults: {backoff: {first: 0s}}
        services:
          spawned: {command: [sleep, "1000"], replicas: 10}
          prepared: {command: [sleep, "1000"], umask: "022", replicas: 20}
        """
    ).up()
    titles = one.titles()
    master, ours = titles["master"], {*titles.values()}
    struck = 0
    one.call("restart")
    while struck < 200:
        for pid in {*children(master)} - ours:
            kill(pid, number=(signal.SIGTERM, signal.SIGINT, signal.SIGHUP)[struck % 3])
            struck += 1
    until(lambda: all(replica["ready"] for replica in one.replicas()))
    for replica in one.replicas():
        status = read(replica["pid"], "status")
        assert "SigBlk:\t0000000000000000" in status
        assert one.log(replica["id"]) == ""
        if replica["last_exit"]["signal"] is None:
            assert replica["last_exit"]["text"].startswith("killed before its "), replica
    assert one.titles() == titles


FAKE_CLOCK = r"""
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static long shift(void) {
    long seconds = 0;
    FILE *file = fopen(getenv("CLOCK_SHIFT"), "re");
    if (file) { if (fscanf(file, "%ld", &seconds) != 1) seconds = 0; fclose(file); }
    return seconds;
}
int clock_gettime(clockid_t clock, struct timespec *at) {
    long result = syscall(SYS_clock_gettime, clock, at);
    if (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE) at->tv_sec += shift();
    return result;
}
int gettimeofday(struct timeval *restrict at, void *restrict zone) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    at->tv_sec = now.tv_sec; at->tv_usec = now.tv_nsec / 1000;
    return 0;
}
time_t time(time_t *at) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (at) *at = now.tv_sec;
    return now.tv_sec;
}
"""


@pytest.fixture(scope="session")
def fake_clock(tmp_path_factory):
    """A library that moves the wall clock of a process, and no other, while it runs."""
    folder = tmp_path_factory.mktemp("clock")
    (folder / "clock.c").write_text(FAKE_CLOCK)
    command = ["gcc", "-shared", "-fPIC", "-O1", "-o", folder / "clock.so", folder / "clock.c"]
    subprocess.run(command, check=True, timeout=60)
    return folder / "clock.so"


@pytest.mark.parametrize("jump", [-86_400, 86_400 * 365])
def test_f68_a_jump_of_the_wall_clock_moves_no_deadline(keepd, fake_clock, tmp_path, jump):
    shift = tmp_path / "shift"
    env = {**os.environ, "LD_PRELOAD": str(fake_clock), "CLOCK_SHIFT": str(shift)}
    one = keepd(
        f"""
        services:
          web: {{command: [sleep, "1000"], backoff: {{first: 200ms}}}}
          slow: {{command: [sleep, "1000"], ready: {{after: 50m, timeout: 1h}}}}
          deaf: {{command: {program("alone", "deaf")}, ready: {{notify: true}},
                  stop: {{timeout: 1h}}}}
          off: {{command: ["false"], backoff: {{first: 1m, jitter: 0}}}}
        """,
        env=env,
    ).up("web", "deaf")
    one.call("start", {"names": ["slow", "off"]})
    one.becomes("off", "BACKOFF")
    one.call("stop", {"names": ["deaf"]})
    before = one.becomes("deaf", "STOPPING")
    year = one.log("keepd")[:4]
    shift.write_text(str(jump))
    one.kill("web")
    web = one.becomes("web", "RUNNING", run=2)
    assert web["restarts"] == 1
    line = next(x for x in one.log("keepd").splitlines() if "web/0 killed by SIGKILL" in x)
    if jump > 0:
        assert int(line[:4]) == int(year) + 1  # the clock has jumped indeed, for keepd
    after = one.status()["services"]
    states = {name: found["replicas"][0]["state"] for name, found in after.items()}
    assert states == {"web": "RUNNING", "slow": "STARTING", "deaf": "STOPPING", "off": "BACKOFF"}
    assert after["deaf"]["replicas"][0]["pid"] == before["pid"]
    assert 0 < after["off"]["replicas"][0]["next_start_in"] <= 60
    assert after["slow"]["replicas"][0]["uptime"] < 60
    for number in (signal.SIGTERM, signal.SIGTERM):
        one.process.send_signal(number)
        one.tells("slow/0 stopped")
    assert one.process.wait(20) == 0

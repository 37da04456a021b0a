"""keepd is killed between each pair of steps: at its Nth system call, for every N that there is.

Here a few of them, spread over all; `make soak` takes each.
"""

import contextlib
import itertools
import socket
import time
from functools import partial

import pytest

from tests.daemon.harness import (
    PROGRAMS,
    WITHOUT_GROUPS,
    children,
    kill,
    program,
    read,
    until,
)
from tests.daemon.killed.fire import AWAY, Fire
from tests.daemon.killed.tracing import Tracer, ask
from tests.daemon.logged import Gate, numbered, paths, unstamped

FEW = 6
SOAK = [pytest.mark.soak, pytest.mark.timeout(1800)]


def cases(names, few):
    """Return (name, with cgroups, stride): those of `few` by the way, and all of each in soaks."""
    every = [(name, groups, 1) for name in names for groups in (True, False)]
    return [*few, *(pytest.param(*case, marks=SOAK) for case in every)]


@pytest.fixture
def fire(keepd, tmp_path):
    """A maker of keepds with one replica of each of these kinds."""

    def make(*names, groups=False, detached=False):
        folder = str(tmp_path)
        function = f"python: 'witness:live', env: {{PYTHONPATH: '{PROGRAMS}'}}, args: ['{folder}']"
        kinds = {
            "plain": f"command: {program('witness', folder)}",
            "prepared": f'command: {program("witness", folder)}, umask: "022"',
            "function": function,
        }
        lines = "\n".join(f"      {name}: {{{kinds[name]}}}" for name in names)
        pace = "defaults: {backoff: {first: 20ms, factor: 1, limit: 20ms}}"
        under = () if groups else WITHOUT_GROUPS
        one = keepd(f"    {pace}\n    services:\n{lines}", under=under)
        found = Fire(one, seed=1, detached=detached)
        found.up()
        until(lambda: len(found.journal()) == len(names))
        return found

    return make


def is_answered(client):
    """Tell whether it was promised: then it must come true without being asked for again."""
    try:
        return b'"result"' in client._sock.recv(65_536, socket.MSG_DONTWAIT)
    except (BlockingIOError, ConnectionError):
        return False


def insist(found, word, key, state):
    """Ask until it is so."""

    def look():
        with contextlib.suppress(*AWAY):
            if found.one.replica(key)["state"] == state:
                return True
            found.one.call(word, {"names": [key]})
        return False

    until(look)


def zygotes(master):
    return [pid for pid in children(master) if read(pid, "cmdline").startswith("keepd: zygote")]


def last_word(found, key):
    words = [words[2] for words in found.journal() if words[0] == key]
    return words[-1] if words else ""


# What is asked for: the state, the last word in the journal, and how many runs more there may be: a
# birth that was cut short is followed by another.
WANTED = {
    "stop": ("STOPPED", "term", {0}),
    "start": ("RUNNING", "start", {1, 2}),
    "restart": ("RUNNING", "start", {0, 1, 2}),
}


def kill_in(found, word, key, number):
    """Ask the master for something, and kill it at a call; tell whether there was such a call."""
    state, said, runs = WANTED[word]
    before = found.one.status(key)["daemon"]["master_pid"]
    run = found.one.replica(key)["run"]
    if word != "start":
        found.asked[key] += 1
        found.asks.append((key, time.monotonic()))

    def done():
        return last_word(found, key) == said

    with Tracer() as tracer:
        tracer.seize(before, births=True)
        for pid in zygotes(before):
            tracer.seize(pid, births=True)
        with ask(found.one, word, key) as client:
            killed = tracer.kills(before, number, done)
            answered = is_answered(client)
    if killed:
        until(lambda: found.daemon()["master_pid"] != before)
    if not answered:
        insist(found, word if word != "restart" else "start", key, state)
    found.one.becomes(key, state)
    until(done)
    assert not answered or word != "restart" or found.one.replica(key)["run"] > run
    assert found.one.replica(key)["run"] - run in runs
    return killed


def over(found, count):
    found.ends()
    found.judge()
    print(f"{count} kills")


def each(stride, steps):
    """Take steps that kill, as long as there are any: by name, a function of N each."""
    count, going = 0, dict(steps)
    for number in itertools.count(1) if stride == 1 else range(9, 9 + FEW * stride, stride):
        for name, step in steps.items():
            killed = step(number)
            count += killed
            if not killed and going.pop(name, None):
                print(f"{name}: {number - 1} steps")
        if not going:
            break
    print(f"{count} kills")
    assert count


FEW_STARTS = [("plain", True, 27), ("prepared", False, 27), ("function", True, 41)]


@pytest.mark.parametrize(
    ("kind", "groups", "stride"), cases(["plain", "prepared", "function"], FEW_STARTS)
)
def test_f25_f26_at_each_step_of_a_start_or_a_stop_the_master_may_be_killed(
    fire, kind, groups, stride
):
    found = fire(kind, groups=groups)
    words = ("stop", "start", "restart") if stride == 1 else ("restart",)
    each(stride, {word: partial(kill_in, found, word, f"{kind}/0") for word in words})
    found.ends()
    found.judge()


def kill_successor(found, title, before, number):
    """Kill who is `title`, and the next one at a call; tell whether there was such a call."""
    with Tracer() as tracer:
        tracer.seize(found.daemon()["pid"], counts=False, births=True)
        before()
        kill(until(lambda: helper(found, title)))
        killed = tracer.kills(None, number)
    until(lambda: helper(found, title) not in {None, *tracer.born} or not killed)
    until(found.answers)
    return killed


def helper(found, title):
    return dict(found.helpers(found.one.process.pid)).get(title)


@pytest.mark.parametrize(("_", "groups", "stride"), cases("_", [("_", True, 71)]))
def test_f25_f26_at_each_step_of_an_adoption_the_master_may_be_killed(fire, _, groups, stride):
    found = fire("plain", "prepared", "function", groups=groups)
    before = {replica["id"]: (replica["pid"], replica["run"]) for replica in found.one.replicas()}
    each(stride, {"adoption": lambda number: kill_successor(found, "master", lambda: None, number)})
    after = {replica["id"]: (replica["pid"], replica["run"]) for replica in found.one.replicas()}
    assert after == before
    found.ends()
    found.judge()


def stops(found, key):
    found.asked[key] += 1
    found.asks.append((key, time.monotonic()))
    insist(found, "stop", key, "STOPPED")


def kill_zygote(found, key, number):
    """Start one, and kill who bears it at a call of either; it must be born after all."""
    daemon = found.daemon()
    stops(found, key)
    if not zygotes(daemon["master_pid"]):
        insist(found, "start", key, "RUNNING")
        until(lambda: last_word(found, key) == "start")
        stops(found, key)
    (zygote,) = zygotes(daemon["master_pid"])
    runs = sum(words[2] == "start" for words in found.journal())
    with Tracer() as tracer:
        tracer.seize(zygote, births=True)
        with ask(found.one, "start", key):
            killed = tracer.kills(zygote, number, lambda: last_word(found, key) == "start")
    until(lambda: last_word(found, key) == "start")
    found.one.becomes(key, "RUNNING")
    assert sum(words[2] == "start" for words in found.journal()) == runs + 1
    assert found.daemon()["master_pid"] == daemon["master_pid"]
    return killed


@pytest.mark.parametrize(
    ("kind", "groups", "stride"), cases(["prepared", "function"], [("prepared", False, 7)])
)
def test_at_each_step_of_a_birth_its_zygote_may_be_killed(fire, kind, groups, stride):
    found = fire(kind, groups=groups)
    each(stride, {"birth": partial(kill_zygote, found, f"{kind}/0")})
    found.ends()
    found.judge()


def kill_anchor(found, title, number):
    """Kill a helper, and the anchor at a call while it replaces that."""
    anchor = found.daemon()["pid"]
    victim = dict(found.helpers(anchor))[title]
    with Tracer() as tracer:
        tracer.seize(anchor)
        since = time.monotonic()
        kill(victim)
        killed = tracer.kills(anchor, number)
    if killed:
        with contextlib.suppress(AssertionError):  # refused: the master is the anchor now
            found.up()
        found.gone.append((since, time.monotonic()))
    until(lambda: (now := found.answers()) and (now["daemon"]["pid"] != anchor) == killed)
    until(lambda: dict(found.helpers(found.daemon()["pid"])).get(title) not in {None, victim})
    return killed


@pytest.mark.parametrize(
    ("title", "groups", "stride"), cases(["master", "log writer"], [("master", False, 50)])
)
def test_at_each_step_of_replacing_a_helper_the_anchor_may_be_killed(fire, title, groups, stride):
    found = fire("plain", "prepared", "function", groups=groups, detached=True)
    before = {replica["id"]: (replica["pid"], replica["run"]) for replica in found.one.replicas()}
    each(stride, {title: partial(kill_anchor, found, title)})
    after = {replica["id"]: (replica["pid"], replica["run"]) for replica in found.one.replicas()}
    assert after == before
    found.ends()
    found.judge()


@pytest.fixture
def printing(keepd):
    """A keepd with a service that prints when it is let go on, into files of some hundred lines."""
    one = keepd(f"""
        services:
          web: {{command: {program("prints", "lines", "1000000")},
                log: {{max_size: 20KB, max_files: 10000, compress: false}}}}
    """)
    with Gate(one) as gate:
        found = Fire(one, seed=1)
        found.up()
        yield found, gate


@pytest.mark.parametrize("stride", [31, pytest.param(1, marks=SOAK)])
def test_f52_at_each_step_of_a_commit_or_a_rotation_the_log_writer_may_be_killed(printing, stride):
    found, gate = printing
    printed = itertools.count()

    def prints():
        next(printed)
        gate.open(1)

    def kill_writer(number):
        writer = until(lambda: helper(found, "log writer"))
        with Tracer() as tracer:
            tracer.seize(writer)
            prints()
            killed = tracer.kills(writer, number, partial(is_written, found.one, printed))
        until(lambda: helper(found, "log writer") not in {None, writer} or not killed)
        return killed

    each(
        stride,
        {
            "commit and rotation": kill_writer,
            "taking over": partial(kill_successor, found, "log writer", prints),
        },
    )
    until(partial(is_written, found.one, printed))
    count = so_far(printed)
    assert unstamped(found.one, "web/0") == numbered("web/0", 500 * count)
    assert len(paths(found.one, "web/0")) > count


def so_far(counter):
    return counter.__reduce__()[1][0]


def is_written(one, printed):
    return unstamped(one, "web/0").count(b"\n") == 500 * so_far(printed)

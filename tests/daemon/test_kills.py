"""keepd may be killed at will: any process of it, at any instant, and nobody else notices."""

import time

import pytest

from tests.daemon.fire import Fire, services
from tests.daemon.harness import alive, until


@pytest.fixture
def fire(either, tmp_path):
    """A maker of keepds under fire, with services of all kinds that have come up."""

    def make(*, times=1, detached=False, seed=1):
        found = Fire(either(services(tmp_path, times=times)), seed, detached=detached)
        found.up()
        until(lambda: len({words[0] for words in found.journal()}) == 10 * times)
        return found

    return make


def over(found):
    """End it, and judge what was seen."""
    found.settles()
    found.ends()
    found.judge()
    print(found.told())


def kill_masters(found, kills):
    """Kill the master, again and again; one in three before it has answered anything."""
    anchor = found.daemon()["pid"]
    for _ in range(kills):
        found.stir()
        found.pause(0.2)
        master = until(lambda: found.master(anchor))
        since = found.hit(master)
        if found.dice.random() < 1 / 3:
            continue
        found.recovers(since, lambda daemon, gone=master: daemon["master_pid"] != gone)


def kill_writers(found, kills):
    anchor = found.daemon()["pid"]
    for _ in range(kills):
        found.stir()
        found.pause(0.2)
        writer = until(lambda: dict(found.helpers(anchor)).get("log writer"))
        since = found.hit(writer)
        found.recovers(since, lambda d, gone=writer: d["log_writer_pid"] not in {None, gone})


def kill_anchors(found, kills):
    """Kill the anchor: the master takes its place, with its own pid."""
    for _ in range(kills):
        found.stir()
        found.pause(0.2)
        anchor = found.daemon()["pid"]
        since = found.hit(anchor)
        found.recovers(since, lambda d, gone=anchor: gone not in {d["pid"], d["master_pid"]})


def kill_both(found, kills):
    """Kill anchor and master in the same instant, and start keepd again."""
    for _ in range(kills):
        found.stir()
        found.pause(0.2)
        daemon = found.daemon()
        gone = (daemon["pid"], daemon["master_pid"])
        since = found.hit(*gone)
        until(lambda gone=gone: not any(map(alive, gone)))
        found.up()
        found.gone.append((since, time.monotonic()))


def kill_all(found, kills):
    """Kill every process of keepd, and start it again."""
    for _ in range(kills):
        found.stir()
        found.pause(0.2)
        pids = [pid for _, pid in found.helpers(found.daemon()["pid"])]
        since = found.hit(*pids)
        until(lambda pids=pids: not any(map(alive, pids)))
        found.up()
        found.gone.append((since, time.monotonic()))


KINDS = {
    "master": (kill_masters, False),
    "log writer": (kill_writers, False),
    "anchor": (kill_anchors, True),
    "anchor and master": (kill_both, True),
    "all": (kill_all, True),
}
FEW = {"master": 8, "log writer": 6, "anchor": 4, "anchor and master": 2, "all": 2}
MANY = {"master": 1000, "log writer": 1000, "anchor": 1000, "anchor and master": 300, "all": 300}


@pytest.mark.parametrize("kind", KINDS)
def test_f25_f26_f27_whatever_is_killed_no_service_notices(fire, kind):
    kill, detached = KINDS[kind]
    found = fire(detached=detached)
    kill(found, FEW[kind])
    over(found)


@pytest.mark.soak
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("kind", KINDS)
def test_f25_f26_f27_a_thousand_kills_under_fifty_services(fire, kind):
    kill, detached = KINDS[kind]
    found = fire(times=5, detached=detached)
    kill(found, MANY[kind])
    over(found)
    assert max(found.times, default=0) < 1

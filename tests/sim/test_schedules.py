"""Thousands of schedules in which all goes wrong, and every promise holds after each step."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from .schedule import EVENTS, BrokenPromiseError, Schedule, replay

ROOT = Path(__file__).parents[2]
SCHEDULES = 6_000
WORKERS = 2
LIMIT = 900  # seconds; it takes about 30 on two idle cores


def sim(*words, **env):
    command = [sys.executable, "-m", "tests.sim", *words]
    return subprocess.Popen(
        command, cwd=ROOT, env={**os.environ, **env}, stdout=subprocess.PIPE, text=True
    )


@pytest.mark.timeout(LIMIT + 20)
def test_six_thousand_schedules_keep_every_promise():
    share = SCHEDULES // WORKERS
    workers = [sim(f"{n * share}:{(n + 1) * share}") for n in range(WORKERS)]
    try:
        said = [worker.communicate(timeout=LIMIT)[0] for worker in workers]
    finally:
        for worker in workers:
            worker.kill()
    assert [worker.returncode for worker in workers] == [0] * WORKERS, "\n".join(said)
    assert all(text.startswith(f"{share} schedules, ") for text in said), said


@pytest.mark.parametrize("seed", range(0, 100, 7))
def test_a_schedule_has_services_with_dependencies_and_enough_events(seed):
    schedule = Schedule(seed)
    needs = schedule.supervisor.graph.needs
    assert len(needs) >= 3
    assert any(needs.values())
    assert replay(seed) >= EVENTS


def test_the_same_seed_is_the_same_story_in_every_process():
    stories = [sim("7", PYTHONHASHSEED=seed) for seed in ("1", "2")]
    first, second = (story.communicate(timeout=LIMIT)[0] for story in stories)
    assert first == second
    assert len(first.splitlines()) > EVENTS


def test_a_broken_promise_is_told_with_the_seed_that_replays_it(monkeypatch):
    monkeypatch.setattr("tests.sim.world.World.perform", lambda *_: 1 / 0)
    with pytest.raises(BrokenPromiseError) as broken:
        replay(3)
    assert str(broken.value) == "seed 3: division by zero\nreplay it: python -m tests.sim 3"

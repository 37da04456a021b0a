"""How a master begins: with what an earlier one has left, and with what the launch wants."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from typing import Protocol

from supervisor import __version__
from supervisor.config.plan import Plan
from supervisor.core.events import Input, PlanWanted, Recalled, ShutdownWanted, StartWanted
from supervisor.core.service import Service, State
from supervisor.core.supervisor import Supervisor
from supervisor.kept import Keeping
from supervisor.launch import Launch
from supervisor.logs.relay import LogRelay
from supervisor.params import match
from supervisor.processes import Processes, sweep_leftovers
from supervisor.readiness import Readiness
from supervisor.runfiles import RunFile
from supervisor.succession import Notes
from supervisor.superiors import Anchored


class Master(Protocol):
    """Who begins."""

    launch: Launch
    plan: Plan
    file: RunFile
    notes: Notes
    keeping: Keeping
    relay: LogRelay
    supervisor: Supervisor
    processes: Processes
    readiness: Readiness

    def handle(self, event: Input) -> None:
        """Tell the core, and carry out what it answers."""

    def say(self, text: str) -> None:
        """Tell it to keepd's own log."""


def take_over(master: Master, anchored: Anchored) -> None:
    """Go on where an earlier master has ended; whoever is left of others is ended."""
    past, services = master.file.past, master.supervisor.services
    with contextlib.suppress(OSError):  # before anything is born: without it no note counts
        master.file.begun(past.begun, past.code)
    if master.file.damaged:
        master.say("the run file is damaged: what it cannot vouch for is ended, and begins anew")
    runs = master.relay.recover({key: each.spec.log for key, each in services.items()})
    if not past.notes:
        for line in sweep_leftovers(master.processes.place, anchored.orphans):
            master.say(line)
    master.handle(Recalled(past.notes))
    if anchored.beat.stopping():
        master.supervisor.exit_code = past.code
        master.handle(ShutdownWanted())
    else:
        master.handle(PlanWanted(master.plan.services))
    master.keeping.only(anchored.names)
    lives = [service for service in services.values() if not service.at_rest]
    if past.notes:
        count = f"{len(lives)} of {len(services)} replicas"
        master.say(f"a new master takes over {count} as they are")
    _end_logs(master.relay, runs, lives)
    _count_on(services, [*runs, *(past.runs or {}).items()])
    for service in lives:
        if service.state is State.RUNNING:
            master.readiness.changed(service.id, service.state)


def begin(master: Master, anchored: Anchored) -> None:
    """Want up what the launch names, unless an earlier master has begun with that."""
    names, past = list(master.launch.names), master.file.past
    if not past.notes:
        master.say(f"keepd {__version__} is up (pid {anchored.pid}, {master.plan.config})")
    if anchored.beat.stopping():
        return
    if not past.begun or (names and anchored.first):
        master.handle(StartWanted(match(master.supervisor.replicas, names)))
    master.notes.rest()
    with contextlib.suppress(OSError):  # then the next master begins with that again
        master.file.begun(True)


def _end_logs(relay: LogRelay, runs: Iterable[tuple[str, int]], lives: Iterable[Service]) -> None:
    """Let those FIFOs be read to their end into which nobody can write any more."""
    live = {(service.id, service.run) for service in lives}
    for key, run in runs:
        if (key, run) not in live:
            relay.end(key, run)


def _count_on(services: Mapping[str, Service], runs: Iterable[tuple[str, int]]) -> None:
    """Let no run have the number of one whose log may not be written to the end yet."""
    for key, run in runs:
        if key in services:
            services[key].run = max(services[key].run, run)

"""Who is asked whether it is ready, from its birth until it is or is not waited for any more.

It decides nothing: what is found out is reported to the core as any other news, and why somebody
is not ready yet is kept in words, for people.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from supervisor.core.events import BecameReady, Report
from supervisor.core.service import Service, State
from supervisor.logs.relay import LogRelay
from supervisor.probes import Probes
from supervisor.unix.poller import Poller


class Readiness:
    """The probes of all replicas; `report(id, report)` is called from inside the poller's wait."""

    def __init__(
        self,
        poller: Poller,
        relay: LogRelay,
        services: Mapping[str, Service],
        report: Callable[[str, Report], None],
    ) -> None:
        self._relay = relay
        self._services = services
        self._report = report
        self._notes: dict[str, str] = {}
        self._probes = Probes(poller, self._ready, self._noted)
        relay.opened = self._log_opened

    @property
    def pid(self) -> int | None:
        """The prober's, while there is one."""
        return self._probes.pid

    def note(self, key: str) -> str:
        """Return why a replica is, or was, not ready; or nothing."""
        return self._notes.get(key, "")

    def born(self, key: str, run: int) -> None:
        """Ask from now on whether the run is ready, if it is to be asked and can be."""
        service = self._services.get(key)
        ready = service.spec.ready if service else None
        if service is None or ready is None or ready.notify or ready.after is not None:
            return
        if service.run != run or service.state is not State.STARTING or not service.born:
            return
        position = self._relay.position(key, run)
        if ready.log is None:
            self._probes.start(key, run, ready)
        elif position is not None:  # else it is asked when the log writer has said where it begins
            self._probes.start(key, run, ready, (self._relay.path(key), *position))

    def changed(self, key: str, before: str, after: str) -> None:
        """Hear that a replica has come into another state."""
        service = self._services[key]
        if before == State.STARTING and service.spec.ready:
            self._probes.stop(key, service.run)
        if after != State.STARTING and service.cause != "overdue":
            self._notes.pop(key, None)

    def forget(self, key: str) -> None:
        """Hear that there is no such replica any more."""
        self._probes.drop(key)
        self._notes.pop(key, None)

    def close(self) -> None:
        """Ask nobody any more."""
        self._probes.close()

    def _log_opened(self, key: str, run: int, _position: tuple[int, int]) -> None:
        if key in self._services:
            self.born(key, run)

    def _ready(self, key: str, run: int) -> None:
        self._report(key, BecameReady(run))

    def _noted(self, key: str, run: int, text: str) -> None:
        service = self._services.get(key)
        if service is not None and service.run == run:
            self._notes[key] = text

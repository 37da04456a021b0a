"""Who is to stop, and whom that holds: dependents leave before what they depend on.

It only keeps the order; who leaves and what they are told is not decided here.
"""

from __future__ import annotations

from .graph import Graph


class Departures:
    """The replicas that are to leave, by service, and the services that wait for others' rest."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._leaving: dict[str, set[str]] = {name: set() for name in graph.needs}
        self._held: dict[str, dict[str, None]] = {}
        self._clear: set[str] = set()  # services of which, and above which, none is leaving

    def rearrange(self, graph: Graph) -> None:
        """Go by other dependencies from now on; who waits is to be looked at anew."""
        self._graph = graph
        self._leaving = {name: self._leaving.get(name, set()) for name in graph.needs}
        self._held.clear()
        self._clear.clear()

    def waiting(self) -> list[str]:
        """Return the services of which replicas are to leave."""
        return [name for name, keys in self._leaving.items() if keys]

    def add(self, name: str, key: str) -> None:
        """Note that a replica is to leave, which is not at rest."""
        self._leaving[name].add(key)
        self._clear.clear()

    def done(self, name: str, key: str) -> tuple[str, ...]:
        """Note that a replica is at rest, or stays; return the services that it may have held."""
        self._leaving[name].discard(key)
        if name in self._held and not self._leaving[name]:
            return tuple(self._held.pop(name))
        return ()

    def free(self, name: str) -> list[str]:
        """Return the leaving replicas of a service; none while anything that needs it leaves."""
        walked = []
        for dependent in self._graph.above(name, self._clear):
            if self._leaving[dependent]:
                self._held.setdefault(dependent, {})[name] = None
                return []
            walked.append(dependent)
        self._clear.update(walked)
        return sorted(self._leaving[name])

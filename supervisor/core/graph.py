"""Who depends on whom: cycles, the closure of a start, and the order among services."""

from __future__ import annotations

import graphlib
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping

from .spec import Condition


class Graph:
    """The dependencies between services, by name."""

    __slots__ = ("dependents", "needs", "order")

    def __init__(self, needs: Mapping[str, Mapping[str, Condition]]) -> None:
        """Take `needs`: for each service, what it depends on and what that must have reached.

        Raises `graphlib.CycleError` where they go round; `cycle` tells where before.
        """
        self.needs = needs
        self.order = tuple(graphlib.TopologicalSorter(needs).static_order())
        self.dependents: dict[str, list[str]] = {name: [] for name in needs}
        for name, wanted in needs.items():
            for other in wanted:
                self.dependents[other].append(name)

    def closure(self, names: Iterable[str]) -> list[str]:
        """Return `names` and everything they depend on, what is depended on first."""
        found: set[str] = set()
        ahead = list(names)
        while ahead:
            name = ahead.pop()
            if name not in found:
                found.add(name)
                ahead.extend(self.needs[name])
        return [name for name in self.order if name in found]

    def above(self, name: str, known: Collection[str] = ()) -> Iterator[str]:
        """Yield whatever depends on `name`, the nearest first, each once; not beyond `known`."""
        seen = {name}
        ahead = deque((name,))
        while ahead:
            for other in self.dependents[ahead.popleft()]:
                if other not in seen and other not in known:
                    seen.add(other)
                    ahead.append(other)
                    yield other


def cycle(needs: Mapping[str, Iterable[str]]) -> list[str]:
    """Return the names along one cycle, each needing the next, the first again at the end."""
    try:
        graphlib.TopologicalSorter(needs).prepare()
    except graphlib.CycleError as error:
        return list(reversed(error.args[1]))
    return []

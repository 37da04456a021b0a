"""Objects to bytes and back, as multiprocessing's ForkingPickler does it, at a third of its price.

ForkingPickler builds a table of reducers for every message. Here is one table, which looks up both
of its sources when it is asked, so that a reducer registered later is honoured as well.
"""

from __future__ import annotations

import copyreg
import pickle
from collections.abc import Callable
from multiprocessing.reduction import ForkingPickler
from typing import Any, TypeAlias

Reducer: TypeAlias = Callable[[Any], Any]

_PLAIN = frozenset({str, int, float, bool, type(None)})  # no reducer is ever asked for these

loads = pickle.loads


class _Reducers(dict[type, Reducer]):
    """Always empty: whatever is looked up is looked up in the sources."""

    def __missing__(self, kind: type) -> Reducer:
        extra: dict[type, Reducer] = ForkingPickler._extra_reducers  # type: ignore[attr-defined]  # noqa: SLF001
        reducer = extra.get(kind) or copyreg.dispatch_table.get(kind)
        if reducer is None:
            raise KeyError(kind)
        return reducer


class _Dumper:
    """A pickler that is used again and again: to make one costs more than most messages."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self.write = self._pieces.append  # what the pickler calls, with more or less of a message
        self._pickler = pickle.Pickler(self, pickle.HIGHEST_PROTOCOL)
        self._pickler.dispatch_table = _REDUCERS

    def dump(self, obj: object) -> bytes:
        pieces = self._pieces
        try:
            self._pickler.dump(obj)
            return pieces[0] if len(pieces) == 1 else b"".join(pieces)
        finally:
            pieces.clear()
            self._pickler.clear_memo()  # which holds on to what has been pickled


_REDUCERS = _Reducers()
_IDLE: list[_Dumper] = []  # each is used by one call at a time: by threads, or from within another


def dumps(obj: object) -> bytes:
    """Return the pickle of an object; whatever its pickling raises is raised here."""
    if type(obj) in _PLAIN:
        return pickle.dumps(obj, pickle.HIGHEST_PROTOCOL)
    try:
        dumper = _IDLE.pop()
    except IndexError:
        dumper = _Dumper()
    data = dumper.dump(obj)
    _IDLE.append(dumper)
    return data

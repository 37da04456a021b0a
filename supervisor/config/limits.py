"""The kernel's limits of a process (rlimits), as a config names them.

As everywhere, a number stands without its unit only where it counts things: bytes and times have
one, and 0 needs none.
"""

from __future__ import annotations

import resource
from typing import Final

from supervisor.core.spec import Limit

from . import units
from .faults import Faults, meant
from .leaves import BAD
from .nodes import Entry, Mapping, Node, Scalar, shortened, told

NAMES: Final = tuple(
    sorted(name[7:].lower() for name in dir(resource) if name.startswith("RLIMIT_"))
)
_BYTES: Final = frozenset("as core data fsize memlock msgqueue rss stack".split())  # noqa: SIM905
_PER_SECOND: Final = {"cpu": 1, "rttime": 1_000_000}
_MOST: Final = 2**63 - 1
UNLIMITED: Final = -1


def read(entry: Entry, name: str, key: str, faults: Faults) -> object:
    """Return the Limit that stands under a name, or BAD with a fault told."""
    if name not in NAMES:
        advice = faults.like(name.lower().removeprefix("rlimit_"), NAMES)
        faults.add(entry.key.at, key, "there is no such limit", advice or _known())
        return BAD
    if isinstance(entry.value, Mapping):
        return _limit(name, entry.value, key, faults)
    both = _bound(name, entry.value, key, faults)
    return BAD if both is None else Limit(both, both)


def _known() -> str:
    return f"there are {', '.join(NAMES)}"


def _limit(name: str, node: Mapping, key: str, faults: Faults) -> object:
    bounds: dict[str, int | None] = {}
    for word, entry in node.entries.items():
        path = f"{key}.{shortened(word)}"
        if word not in {"soft", "hard"}:
            faults.add(entry.key.at, path, "unknown key", faults.like(word, ("soft", "hard")))
        else:
            bounds[word] = _bound(name, entry.value, path, faults)
    if not node.entries:
        faults.add(node.at, key, "nothing is limited", "give soft or hard, or both")
    soft, hard = bounds.get("soft"), bounds.get("hard")
    if soft is not None and hard is not None and hard != UNLIMITED and not 0 <= soft <= hard:
        faults.add(node.at, key, "the soft limit must not be above the hard one")
    return Limit(soft, hard)


def _bound(name: str, node: Node, key: str, faults: Faults) -> int | None:
    """Return one bound; None with a fault told."""
    text = node.text if isinstance(node, Scalar) else ""
    if text == "unlimited":
        return UNLIMITED
    value, wanted, likely = _valued(name, text)
    if value is not None and value <= _MOST and isinstance(node, Scalar):
        return value
    if "${" in text:
        likely = None
    elif text.lower() in {"infinity", "inf", "none", "-1"}:
        likely = "unlimited"
    what = f"{wanted} or unlimited is wanted here, not {told(node)}"
    faults.add(node.at, key, what, likely and meant(likely))
    return None


def _valued(name: str, text: str) -> tuple[int | None, str, str | None]:
    """Return what a text means for a limit, what is wanted there, and what was probably meant."""
    plain = int(text) if text.isascii() and text.isdigit() and len(text) < 20 else None
    zero = 0 if plain == 0 else None
    if name in _BYTES:
        size = units.size(text)
        return (zero if size is None else size), "a size (64KiB, 2GB)", units.like_size(text)
    if name in _PER_SECOND:
        time = units.seconds(text)
        count = zero if time is None else round(time * _PER_SECOND[name])
        return count, "a duration (30s, 1h)", units.like_duration(text)
    return plain, "a whole number", None

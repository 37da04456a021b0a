"""What a request says: read out of what a client has sent, or refused in words.

Nothing here knows the master. Whatever JSON may bring is looked at, and cheaply: a client must not
be able to keep the master from its work.
"""

from __future__ import annotations

import contextlib
import fnmatch
from typing import Any

from supervisor.unix import signals

Params = dict[str, Any]
MOST_NAMES = 1000
LONGEST_NAME = 200  # characters; to look for a pattern takes the square of its length
LONGEST_WAIT = 1e9  # seconds


class BadParams(Exception):  # noqa: N818 (it names what is wrong, as all words here do)
    """The request is not understood: `kind` is stable, the message is for people."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


def names_of(params: Params) -> list[str]:
    """Return the names that a request is about, none for all. Raises BadParams."""
    names = params.get("names") or []
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise BadParams("bad-params", "cannot understand names: it is a list of strings")
    if len(names) > MOST_NAMES:
        raise BadParams("bad-params", f"cannot look for more than {MOST_NAMES} names at a time")
    if long := next((name for name in names if len(name) > LONGEST_NAME), None):
        what = f"{long[:LONGEST_NAME]!r}...: no service or replica is called that"
        raise BadParams("no-such-service", f"cannot find {what}")
    return names


def match(replicas: dict[str, tuple[str, ...]], names: list[str]) -> tuple[str, ...]:
    """Return the ids that `names` mean: a service, a replica, or a glob of either.

    Raises BadParams (no-such-service) for a name that means nothing.
    """
    if not names:
        return tuple(key for keys in replicas.values() for key in keys)
    wanted: set[str] = set()
    for name in dict.fromkeys(names):
        found = _meant(replicas, name)
        if not found:
            raise BadParams(
                "no-such-service", f"cannot find {name!r}: no service or replica is called that"
            )
        wanted.update(found)
    return tuple(key for keys in replicas.values() for key in keys if key in wanted)


def _meant(replicas: dict[str, tuple[str, ...]], name: str) -> list[str]:
    if name in replicas:
        return list(replicas[name])
    service, slash, _ = name.partition("/")
    if slash and name in replicas.get(service, ()):
        return [name]
    if not any(sign in name for sign in "*?["):
        return []
    return [
        key
        for one, keys in replicas.items()
        for key in keys
        if fnmatch.fnmatchcase(one, name) or fnmatch.fnmatchcase(key, name)
    ]


def is_time(thing: object) -> bool:
    """Return whether it is a number of seconds; 1e999 and NaN, which JSON may bring, are none."""
    return type(thing) in {int, float} and 0 <= thing <= LONGEST_WAIT  # type: ignore[operator]


def number_of(name: object) -> int:
    """Return the number of a signal, given by name or number. Raises BadParams."""
    try:
        return signals.number(str(name))
    except ValueError as error:
        raise BadParams("bad-params", f"cannot send it: {error}") from None


def is_environment(thing: object) -> bool:
    """Return whether it is an object of texts that may be an environment."""
    pairs = thing.items() if isinstance(thing, dict) else [(None, None)]
    return all(_can_be_given(text) for pair in pairs for text in pair)


def _can_be_given(thing: object) -> bool:
    """Return whether a program can be given it: bytes end at a zero, and half a pair is no text."""
    if not isinstance(thing, str) or "\0" in thing:
        return False
    with contextlib.suppress(UnicodeEncodeError):
        thing.encode("utf-8", "surrogateescape")
        return True
    return False

r"""Records that services send, one JSON object a line on a FIFO of their own, read without trust.

    {"message":"…","level":"ERROR","logger":"shop.jobs","exception":"Traceback …","fields":{…}}

Only the message must be there. Whatever is not exactly such an object, and no longer than LONGEST,
is a text, as if it had been printed: nothing is refused, nothing left out. Pure, as all that
decides what is written; so how deep an object may be does not hang on the stack of whoever reads.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from json.encoder import encode_basestring
from typing import Any

from supervisor.records import record

LONGEST = 65_536  # bytes of a record
_DEEPEST = 32  # objects and lists in one another
_TEXTS = ("level", "logger", "exception")
MORE = (*_TEXTS, "fields")  # what a record may have beside its message
_KNOWN = frozenset({"message", "fields", *_TEXTS})


@record(frozen=True)
class Feed:
    """What has come of a record that is not whole yet."""

    half: int = 0  # of the file it lies in
    size: int = 0  # bytes
    broken: bool = False  # it is the rest of a line of which the beginning was written or lost


@record(frozen=True)
class Told:
    """One record: as a text, and as what stands in an object behind the time and whose it is."""

    text: bytes
    members: bytes


Unit = bytes | Told  # a line that is no record, or a record


def read(data: bytes, feed: Feed) -> tuple[list[Unit], Feed]:
    """Return the lines of data as records, or as they are; and what is left for later.

    A line is not waited for longer than LONGEST: its parts are given as they come then.
    """
    *lines, rest = data.split(b"\n")
    found: list[Unit] = []
    broken = feed.broken
    for line in lines:
        if line:
            found.append(line if broken else told(line) or line)
        broken = False
    if len(rest) > LONGEST:
        found.append(rest)
        rest, broken = b"", True
    return found, Feed(1 - feed.half, len(rest), broken)


def told(line: bytes) -> Told | None:
    """Return the record in a line, None if it is none."""
    if not line.startswith(b"{") or len(line) > LONGEST:
        return None
    try:
        found = json.loads(line.decode(), parse_constant=_refuse)
        if not is_record(found):
            return None
        text = as_text(found).encode()
        members = {key: found[key] for key in MORE if key in found}
        message = encode_basestring(found["message"]).encode()
        more = _dumped(members)[1:].encode() if members else b"}"
        return Told(text, message + (b"," if members else b"") + more)
    except (ValueError, RecursionError):  # UnicodeError is a ValueError
        return None


def as_text(found: Mapping[str, Any]) -> str:
    """Return a record in the words that people read; several lines if it has an exception."""
    who = " ".join(found[key] for key in ("level", "logger") if found.get(key))
    fields = "".join(f" {_name(k)}={_dumped(v)}" for k, v in found.get("fields", {}).items())
    trace = "\n" + found["exception"] if found.get("exception") else ""
    return f"{who}: {found['message']}{fields}{trace}" if who else found["message"] + fields + trace


def _name(key: str) -> str:
    return key if key.isidentifier() else _dumped(key)


def _dumped(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _refuse(name: str) -> None:
    raise ValueError(name)


def is_record(found: object) -> bool:
    """Tell whether an object is a record."""
    return (
        isinstance(found, dict)
        and found.keys() <= _KNOWN
        and isinstance(found.get("message"), str)
        and all(isinstance(found.get(key, ""), str) for key in _TEXTS)
        and isinstance(found.get("fields", {}), dict)
        and _is_flat(found)
    )


def _is_flat(value: object) -> bool:
    """Tell whether nothing in it is deeper than it may be."""
    level = [value]
    for _ in range(_DEEPEST):
        inner: list[object] = []
        for each in level:
            if isinstance(each, dict):
                inner += each.values()
            elif isinstance(each, list):
                inner += each
        if not inner:
            return True
        level = inner
    return False

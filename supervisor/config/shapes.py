"""The options of keepd as the schema sees them, read from the records that define them.

Nothing is listed here but what a type cannot say: the bounds of numbers, and the keys that are
designed but not built yet.
"""

from __future__ import annotations

import enum
import types
import typing
from collections.abc import Mapping
from typing import Annotated, Any, Final

from msgspec import Meta

from supervisor import records
from supervisor.core.spec import (
    Backoff,
    Health,
    Limit,
    Log,
    On,
    Ready,
    ServiceSpec,
    StartLimit,
    Stop,
)
from supervisor.records import record

from .document import Document

PARTS: Final = (Backoff, StartLimit, Stop, Ready, Health, On, Log)


class Kind(enum.Enum):
    """What may stand under a key."""

    TEXT = "a text"
    FLAG = "true or false"
    WHOLE = "a whole number"
    NUMBER = "a number"
    DURATION = "a duration"
    SIZE = "a size"
    CHOICE = "one of"  # of an enum
    PART = "a mapping"  # of a record's own keys
    TEXTS = "a text or a list of texts"  # a single one stands for a list of one
    TEXT_MAP = "a mapping of texts"
    CHOICE_MAP = "a mapping of choices"
    LIMITS = "a mapping of limits"
    ANY_LIST = "a list"
    ANY_MAP = "a mapping of anything"
    SERVICES = "a mapping of services"


@record(frozen=True)
class Field:
    """One option: `of` is the enum, the record or the bounded type that its value is of."""

    name: str
    kind: Kind
    of: Any
    optional: bool  # null is a value
    help: str
    default: Any  # records.MISSING where there is none
    later: frozenset[str]  # words that are designed but not built yet


# What the numbers of a part must keep to; seconds and bytes are bounded in their own units.
_BOUNDS: Final[Mapping[tuple[type, str], Meta]] = {
    (Document, "version"): Meta(ge=1, le=1),
    (ServiceSpec, "replicas"): Meta(ge=0, le=10_000),
    (ServiceSpec, "nice"): Meta(ge=-20, le=19),
    (Backoff, "factor"): Meta(ge=1, le=1_000),  # its 64th power must still be a float
    (Backoff, "jitter"): Meta(ge=0, le=1),
    (StartLimit, "starts"): Meta(ge=1, le=1_000_000),
    (StartLimit, "within"): Meta(ge=0.001),
    (Ready, "timeout"): Meta(ge=0.001),
    (Ready, "every"): Meta(ge=0.01),
    (ServiceSpec, "watchdog"): Meta(ge=0.1),
    (Health, "every"): Meta(ge=0.1),
    (Health, "timeout"): Meta(ge=0.01),
    (Health, "failures"): Meta(ge=1, le=1_000),
    (On, "timeout"): Meta(ge=0.01),
    (Log, "max_files"): Meta(ge=1, le=100_000),
    (Log, "max_size"): Meta(ge=1_000),
    (Log, "rate"): Meta(ge=1, le=1_000_000_000),
    (Log, "max_line"): Meta(ge=16, le=16 * 2**20),
}

LATER_KEYS: Final[Mapping[type, frozenset[str]]] = {
    Document: frozenset(),
    ServiceSpec: frozenset(
        "listen preload".split()  # noqa: SIM905
    ),
    Log: frozenset({"stderr"}),
}
LATER_WORDS: Final[Mapping[tuple[type, str], frozenset[str]]] = {
    (Log, "to"): frozenset({"stdout", "journal", "syslog"}),
}
NOT_BUILT: Final = "is part of keepd's design but not built yet"

_PLAIN: Final = {str: Kind.TEXT, bool: Kind.FLAG, int: Kind.WHOLE, float: Kind.NUMBER}
_MAPS: Final = {Any: Kind.ANY_MAP, Limit: Kind.LIMITS, str: Kind.TEXT_MAP}
_MARKED: Final = {"duration": Kind.DURATION, "size": Kind.SIZE}


def _kind(hint: Any) -> tuple[Kind, Any]:  # noqa: ANN401 - a table of types
    """Return what may stand for a type, and the type of the value or of its members."""
    if typing.get_origin(hint) is Annotated:
        return _MARKED[hint.__metadata__[0]], hint.__origin__
    match typing.get_origin(hint), typing.get_args(hint):
        case builtins, (member, *_) if builtins is tuple:
            return (Kind.ANY_LIST if member is Any else Kind.TEXTS), member
        case abstract, (_, member) if abstract is Mapping:
            kind = Kind.SERVICES if records.is_record(member) else Kind.CHOICE_MAP
            return _MAPS.get(member, kind), member
        case _:
            pass
    if hint in _PLAIN:
        return _PLAIN[hint], hint
    return (Kind.CHOICE if issubclass(hint, enum.Enum) else Kind.PART), hint


def _field(owner: type, field: records.Field[Any], hint: Any) -> Field:  # noqa: ANN401
    parts = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    if typing.get_origin(hint) is typing.Union:  # of an Annotated and None
        parts = typing.get_args(hint)
    kind, of = _kind(next(part for part in parts if part is not types.NoneType))
    if (owner, field.name) in _BOUNDS:
        of = Annotated[of, _BOUNDS[owner, field.name]]
    make = field.default_factory
    default = field.default if make is records.MISSING else make()
    optional = types.NoneType in parts
    later = LATER_WORDS.get((owner, field.name), frozenset())
    return Field(field.name, kind, of, optional, field.metadata.get("help", ""), default, later)


def _fields(owner: type) -> dict[str, Field]:
    hints = typing.get_type_hints(owner, include_extras=True)
    return {
        field.name: _field(owner, field, hints[field.name])
        for field in records.fields(owner)
        if "help" in field.metadata
    }


SHAPES: Final[Mapping[type, Mapping[str, Field]]] = {
    owner: _fields(owner) for owner in (Document, ServiceSpec, *PARTS)
}
_HOW_LONG: Final = {"timeout", "every", "failures"}
# Of these parts exactly one kind is to be given.
KINDS: Final[Mapping[str, tuple[str, ...]]] = {
    part.__name__.lower(): tuple(name for name in SHAPES[part] if name not in _HOW_LONG)
    for part in (Ready, Health)
}

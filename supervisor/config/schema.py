"""Checks nodes against the records of the core and makes their values, field by field.

It reads every key and tells every fault; a field with a fault is left out, so that its default
stands in for the checks that follow. What concerns several fields at once is in rules.py.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from supervisor import records

from . import leaves, limits
from .faults import Faults, Mark
from .leaves import BAD
from .nodes import Mapping, Node, Scalar, Sequence, Text, shortened, told
from .shapes import LATER_KEYS, NOT_BUILT, SHAPES, Field, Kind


class Schema:
    """Reads values out of nodes; all faults go to one collection."""

    def __init__(self, faults: Faults) -> None:
        self._faults = faults

    def fields(self, node: Mapping, owner: type, key: str) -> dict[str, Any]:
        """Return the values of the keys that are given and without fault, by field of `owner`."""
        shape = SHAPES[owner]
        values: dict[str, Any] = {}
        for name, entry in node.entries.items():
            field = shape.get(name)
            if field is None:
                self.unknown(entry.key, joined(key, name), owner, shape)
                continue
            value = self._value(entry.value, field, joined(key, name))
            if value is not BAD:
                values[name] = value
        return values

    def unknown(self, name: Scalar, key: str, owner: type, known: Iterable[str]) -> None:
        """Tell of a key that is not known, or not yet."""
        if name.text in LATER_KEYS.get(owner, ()):
            self._faults.add(name.at, key, NOT_BUILT, "leave it out")
        else:
            self._faults.add(name.at, key, "unknown key", self._faults.like(name.text, known))

    def mapping(self, node: Node, key: str) -> Mapping:
        """Return a node as a mapping; nothing at all is an empty one, and so is a fault."""
        if isinstance(node, Mapping):
            return node
        if not (isinstance(node, Scalar) and node.null):
            self._faults.add(node.at, key, f"a mapping is wanted here, not {told(node)}")
        return Mapping(node.at, {})

    def _value(self, node: Node, field: Field, key: str) -> object:
        if field.optional and isinstance(node, Scalar) and node.null:
            return None
        match field.kind:
            case Kind.PART:
                return self._part(node, field, key)
            case Kind.TEXTS:
                return self._texts(node, field, key)
            case Kind.TEXT_MAP | Kind.CHOICE_MAP | Kind.LIMITS:
                return self._map(node, field, key)
            case Kind.ANY_LIST | Kind.ANY_MAP:
                return self._container(node, field, key)
            case _:
                return leaves.read(node, field, key, self._faults)

    def _part(self, node: Node, field: Field, key: str) -> object:
        if not isinstance(node, Mapping):
            what = f"a mapping is wanted here, not {told(node)}"
            likely = None
            if isinstance(node, Scalar):
                likely = self._faults.like(node.text, SHAPES[field.of])
            keys = f"its keys are {', '.join(SHAPES[field.of])}"
            self._faults.add(node.at, key, what, likely or keys)
            return BAD
        values = self.fields(node, field.of, key)
        missing = [
            name
            for name, part in SHAPES[field.of].items()
            if part.default is records.MISSING and name not in node.entries
        ]
        for name in missing:
            self._faults.add(node.at, key, f"the key '{name}' is missing")
        if any(
            part.default is records.MISSING and name not in values
            for name, part in SHAPES[field.of].items()
        ):
            return BAD
        return field.of(**values)

    def _texts(self, node: Node, field: Field, key: str) -> object:
        if _word(node):
            return leaves.text(node, key, self._faults)
        if not isinstance(node, Sequence):
            self._faults.add(node.at, key, f"{field.kind.value} is wanted here, not {told(node)}")
            return BAD
        found = [
            leaves.text(item, f"{key}[{i}]", self._faults) for i, item in enumerate(node.items)
        ]
        texts = tuple(text for text in found if text is not None)
        return texts if len(texts) == len(found) else BAD

    def _map(self, node: Node, field: Field, key: str) -> object:
        if not isinstance(node, Mapping):
            if isinstance(node, Scalar) and node.null:
                return {}
            self._faults.add(node.at, key, f"a mapping is wanted here, not {told(node)}")
            return BAD
        member = records.replace(
            field, kind=Kind.TEXT if field.kind is Kind.TEXT_MAP else Kind.CHOICE
        )
        values = {}
        for name, entry in node.entries.items():
            path = joined(key, name)
            if field.kind is Kind.LIMITS:
                value = limits.read(entry, name, path, self._faults)
            else:
                value = leaves.read(entry.value, member, path, self._faults)
            if value is not BAD:
                values[Text.of(name, entry.key, path)] = value
        return values

    def _container(self, node: Node, field: Field, key: str) -> object:
        if isinstance(node, Scalar) and node.null:
            return () if field.kind is Kind.ANY_LIST else {}
        if isinstance(node, Sequence if field.kind is Kind.ANY_LIST else Mapping):
            value = self._anything(node, key)
            return tuple(value) if isinstance(value, list) else value
        self._faults.add(node.at, key, f"{field.kind.value} is wanted here, not {told(node)}")
        return BAD

    def _anything(self, node: Node, key: str) -> object:
        """Return lists and dicts of what JSON knows; the depth was bounded by the loader."""
        match node:
            case Sequence(items=items):
                return [self._anything(item, f"{key}[{i}]") for i, item in enumerate(items)]
            case Mapping(entries=entries):
                return {
                    name: self._anything(entry.value, joined(key, name))
                    for name, entry in entries.items()
                }
            case _:
                return leaves.anything(node, key, self._faults)


def joined(key: str, name: str) -> str:
    """Return the path of a key below another: "services.web" and "env" are "services.web.env"."""
    return f"{key}.{shortened(name)}" if key else shortened(name)


def place(node: Mapping, *names: str) -> Mark:
    """Return where the first of these keys stands that is given, else where the mapping begins."""
    for name in names:
        if name in node.entries:
            return node.entries[name].key.at
    return node.at


def _word(node: Node) -> bool:
    return isinstance(node, Scalar) and not node.null

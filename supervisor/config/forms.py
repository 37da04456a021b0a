"""The forms in which an operator may write the same thing, brought to the one form of the schema.

Works on nodes, before anything is checked: a list in `depends_on` becomes a mapping, a bare word in
`ready` a kind of readiness; and the defaults are laid under a service, key by key.
"""

from __future__ import annotations

from typing import Final

from .nodes import Entry, Mapping, Node, Scalar, Sequence
from .shapes import KINDS

# Ways of saying what runs: who takes one leaves the other way's defaults alone.
_WAYS: Final = {
    "command": ("python", "args", "kwargs", "interpreter"),
    "python": ("command", "shell"),
}


def normalized(service: Mapping) -> Mapping:
    """Return the keys of a service (or of defaults) with short forms written out."""
    entries = dict(service.entries)
    for name, short in (("depends_on", _depends_on), ("ready", _ready)):
        if name in entries:
            entries[name] = Entry(entries[name].key, short(entries[name].value))
    return Mapping(service.at, entries)


def _depends_on(node: Node) -> Node:
    """Write a list of services as a mapping; what is no list of words is left to the schema."""
    items: tuple[Node, ...] = (node,) if isinstance(node, Scalar) and not node.null else ()
    items = node.items if isinstance(node, Sequence) else items
    names = [item for item in items if isinstance(item, Scalar)]
    if not items or len(names) < len(items):
        return Mapping(node.at, {}) if node == Sequence(node.at, ()) else node
    return Mapping(
        node.at,
        {name.text: Entry(name, Scalar(name.at, "ready")) for name in names},
    )


def _ready(node: Node) -> Node:
    """Write `ready: notify` as a mapping; other single words are left to the schema."""
    if isinstance(node, Scalar) and node.text == "notify":
        return Mapping(node.at, {"notify": Entry(node, Scalar(node.at, "true"))})
    return node


def over(defaults: Mapping, own: Mapping) -> Mapping:
    """Return defaults with `own` over them; both normalized. Mappings merge key by key."""
    entries = dict(own.entries)
    for name, entry in defaults.entries.items():
        mine = own.get(name)
        if mine is None:
            entries[name] = entry
        elif isinstance(mine, Mapping) and isinstance(entry.value, Mapping):
            entries[name] = Entry(own.entries[name].key, _laid(entry.value, mine, name))
    return Mapping(own.at, entries)


def applied(defaults: Mapping, own: Mapping) -> Mapping:
    """Return a service with those of the defaults under it that concern it; both normalized."""
    under = dict(defaults.entries)
    for way, others in _WAYS.items():
        if way in own.entries:
            under = {name: entry for name, entry in under.items() if name not in others}
    for name in KINDS:
        part = under.get(name)
        if part and name not in own.entries and not _says_how(part.value, name):
            del under[name]
    return over(Mapping(defaults.at, under), own)


def _laid(under: Mapping, own: Mapping, name: str) -> Mapping:
    """Merge one mapping; of the kinds of a check a service's own replaces the default one."""
    entries = dict(under.entries)
    if name in KINDS and _says_how(own, name):
        entries = {key: entry for key, entry in entries.items() if key not in KINDS[name]}
    return Mapping(own.at, entries | own.entries)


def _says_how(part: Node, name: str) -> bool:
    """Return whether it names a kind of check; time limits alone check nothing."""
    return not isinstance(part, Mapping) or any(kind in part.entries for kind in KINDS[name])

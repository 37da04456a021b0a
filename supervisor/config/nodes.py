"""The tree that YAML is read into: every scalar is still a string, every node knows its place.

What a scalar means (a number, a truth, a duration) is decided by the schema alone.
"""

from __future__ import annotations

from supervisor.records import record

from .faults import Mark


@record(frozen=True)
class Scalar:
    """A text as written; `quoted` also for block scalars; it begins `lead` columns after `at`."""

    at: Mark
    text: str
    quoted: bool = False
    lead: int | None = None  # None: with escapes or over several lines

    @property
    def null(self) -> bool:
        """Return whether this is YAML's null: nothing at all, `~` or `null`."""
        return not self.quoted and self.text in {"", "~", "null", "Null", "NULL"}


@record(frozen=True)
class Entry:
    """One key of a mapping and what it stands for."""

    key: Scalar
    value: Node


@record(frozen=True)
class Mapping:
    """Keys in their order; `weight` counts all nodes below, `height` the levels."""

    at: Mark
    entries: dict[str, Entry]
    weight: int = 1
    height: int = 1

    def get(self, key: str) -> Node | None:
        """Return what stands under `key`."""
        entry = self.entries.get(key)
        return entry.value if entry else None


@record(frozen=True)
class Sequence:
    """Nodes in their order."""

    at: Mark
    items: tuple[Node, ...]
    weight: int = 1
    height: int = 1


Node = Scalar | Mapping | Sequence


class Text(str):
    """A string of the config that still knows where it stands, for faults found later."""

    __slots__ = ("key", "lead", "mark")
    mark: Mark
    key: str
    lead: int | None

    @classmethod
    def of(cls, text: str, node: Scalar, key: str) -> Text:
        """Return `text`, which was written at `node` under the path `key`."""
        made = cls(text)
        made.mark, made.key = node.at, key
        made.lead = node.lead if text == node.text else None
        return made

    def part(self, text: str) -> Text:
        """Return another text that was written at the same place, such as a word of it."""
        made = Text(text)
        made.mark, made.key, made.lead = self.mark, self.key, None
        return made

    def at(self, offset: int = 0) -> Mark:
        """Return the place of its character number `offset`, as well as that is known."""
        if self.lead is None:
            return self.mark
        return Mark(self.mark.file, self.mark.line, self.mark.column + self.lead + offset)


def told(node: Node) -> str:
    """Return in words what a node is: for messages that say what stands there instead."""
    match node:
        case Mapping():
            return "a mapping"
        case Sequence():
            return "a list"
        case Scalar() if node.null:
            return "nothing"
        case _:
            return f"'{shortened(node.text)}'"


def shortened(text: str, limit: int = 60) -> str:
    """Return `text` on one line, at most `limit` characters of it."""
    line = " ".join(text.split())
    return line if len(line) <= limit else line[: limit - 1] + "…"

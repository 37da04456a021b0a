"""YAML text in, a tree of nodes with their places out. Our own loader, on PyYAML's events.

It constructs no objects, resolves no types, follows no tags, and bounds size, depth and the number
of nodes with all aliases counted as often as they are used. It raises nothing: what is wrong with
a text is told as faults.
"""

from __future__ import annotations

import re
import resource
from typing import Any, Final

import yaml

from supervisor.records import record

from .faults import Faults, Mark
from .nodes import Entry, Mapping, Node, Scalar, Sequence, shortened, told

Parser = type[yaml.SafeLoader] | type["yaml.cyaml.CSafeLoader"]
PURE: Final[Parser] = yaml.SafeLoader
PARSER: Final[Parser] = getattr(yaml, "CSafeLoader", PURE)

_UNPRINTABLE: Final = yaml.reader.Reader.NON_PRINTABLE  # compiled already, which costs a while
_UNPASSABLE: Final = re.compile("[\0\ud800-\udfff]")  # by escapes; no program can be given these
_RESERVE: Final = 4 * 2**20  # bytes
_LOOK_EVERY: Final = 1000  # nodes
_STARTS: Final = {
    "\t": "indent with spaces, not with tabs",
    "@": "put quotes around a text that begins with @",
    "`": "put quotes around a text that begins with `",
    "%": "put quotes around a text that begins with %",
    "*": "put quotes around a text that begins with *",
    "&": "put quotes around a text that begins with &",
}


@record(frozen=True)
class Bounds:
    """How much one file may hold: bytes, levels, and nodes with aliases expanded."""

    size: int = 2**20
    depth: int = 64
    nodes: int = 200_000


def _keep_reserve() -> None:
    """Raise MemoryError while there is still room to handle one.

    CPython 3.11 turns in a circle for ever where it has none left for the number of a line.
    """
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    with open("/proc/self/statm", "rb") as file:
        used = int(file.read().split()[0]) * resource.getpagesize()
    if limit != resource.RLIM_INFINITY and used + _RESERVE > limit:
        raise MemoryError


class _Stopped(Exception):  # noqa: N818 - it ends the reading of a file, it never leaves this module
    """A fault after which the rest of the text means nothing."""


def load(
    text: str, file: str, faults: Faults, bounds: Bounds = Bounds(), parser: Parser = PARSER
) -> Node | None:
    """Return the tree of a YAML text, None where it is empty or cannot be read as YAML."""
    found = _UNPRINTABLE.search(text)
    if found:
        before = text[: found.start()]
        at = Mark(file, before.count("\n") + 1, found.start() - (before.rfind("\n") + 1) + 1)
        faults.add(at, "", f"the character U+{ord(found[0]):04X} is not allowed in YAML")
        return None
    events = parser(text)
    try:
        return _Builder(events, file, faults, bounds).document()
    except yaml.MarkedYAMLError as error:
        _tell(error, text, file, faults)
    except yaml.YAMLError as error:
        faults.add(Mark(file), "", f"cannot be read as YAML: {shortened(str(error))}")
    except _Stopped:
        pass
    finally:
        events.dispose()
    return None


def _tell(error: yaml.MarkedYAMLError, text: str, file: str, faults: Faults) -> None:
    """Tell a fault of syntax, with the likely reason."""
    mark = error.problem_mark or error.context_mark
    at = Mark(file, mark.line + 1, mark.column + 1) if mark else Mark(file)
    problem = error.problem or "it is not YAML"
    context = f" {error.context}" if error.context else ""
    advice = None
    if mark:
        rows = text.splitlines()
        row = rows[mark.line] if mark.line < len(rows) else ""
        sign = row[mark.column : mark.column + 1]
        advice = _STARTS.get(sign) or _STARTS.get(row[max(mark.column - 1, 0) : mark.column])
        if row.lstrip(" ").startswith("\t"):
            advice = _STARTS["\t"]
        if "${" in row and "flow" in context:
            advice = "inside { } and [ ] put quotes around a text with ${...}"
    if "mapping values are not allowed" in problem:
        advice = "check the indentation, and put quotes around a text that contains ': '"
    faults.add(at, "", f"cannot be read as YAML{context}: {problem}", advice)


class _Builder:
    """Builds the tree of one document, depth first; the depth is bounded, so it may recurse."""

    def __init__(self, events: Any, file: str, faults: Faults, bounds: Bounds) -> None:  # noqa: ANN401 - two parsers
        self._events = events
        self._file = file
        self._faults = faults
        self._bounds = bounds
        self._nodes = 0
        self._look_at = 0
        self._anchors: dict[str, Node | None] = {}  # None: it is still being built

    def document(self) -> Node | None:
        self._next()  # the start of the stream
        if isinstance(self._next(), yaml.StreamEndEvent):
            return None
        root = self._node(self._next(), 1)
        self._next()  # the end of the document
        event = self._next()
        if not isinstance(event, yaml.StreamEndEvent):
            self._add(event, "a second document begins here; a config is one document")
        return root

    def _next(self) -> Any:  # noqa: ANN401 - an event; PyYAML's are not typed
        return self._events.get_event()

    def _mark(self, event: Any) -> Mark:  # noqa: ANN401
        return Mark(self._file, event.start_mark.line + 1, event.start_mark.column + 1)

    def _add(self, event: Any, message: str, advice: str | None = None) -> None:  # noqa: ANN401
        self._faults.add(self._mark(event), "", message, advice)

    def _stop(self, event: Any, message: str) -> _Stopped:  # noqa: ANN401
        self._add(event, message)
        return _Stopped()

    def _node(self, event: Any, depth: int) -> Node:  # noqa: ANN401
        if isinstance(event, yaml.AliasEvent):
            return self._aliased(event, depth)
        self._count(event, 1, depth)
        if event.tag is not None:
            self._add(event, f"tags are not allowed: {shortened(event.tag)}", "leave the tag out")
        if event.anchor is not None:
            self._anchors[event.anchor] = None
        node: Node
        if isinstance(event, yaml.ScalarEvent):
            node = self._scalar(event)
        elif isinstance(event, yaml.SequenceStartEvent):
            node = self._sequence(event, depth)
        else:
            node = self._mapping(event, depth)
        if event.anchor is not None:
            self._anchors[event.anchor] = node
        return node

    def _count(self, event: Any, nodes: int, depth: int) -> None:  # noqa: ANN401
        self._nodes += nodes
        if self._nodes >= self._look_at:
            self._look_at = self._nodes + _LOOK_EVERY
            _keep_reserve()
        if self._nodes > self._bounds.nodes:
            message = f"more than {self._bounds.nodes:,} nodes, aliases counted wherever used"
            raise self._stop(event, message)
        if depth > self._bounds.depth:
            raise self._stop(event, f"nested deeper than {self._bounds.depth} levels")

    def _aliased(self, event: Any, depth: int) -> Node:  # noqa: ANN401
        if event.anchor not in self._anchors:
            raise self._stop(event, f"no anchor &{shortened(event.anchor)} stands above")
        node = self._anchors[event.anchor]
        if node is None:
            raise self._stop(event, f"*{shortened(event.anchor)} would contain itself")
        weight, height = (1, 1) if isinstance(node, Scalar) else (node.weight, node.height)
        self._count(event, weight, depth + height - 1)
        return node

    def _scalar(self, event: Any) -> Scalar:  # noqa: ANN401
        start, end, text = event.start_mark, event.end_mark, event.value
        quoted = event.style not in {None, ""}
        bad = _UNPASSABLE.search(text)
        if bad:
            self._add(event, f"the character U+{ord(bad[0]):04X} can be given to no program")
        lead = int(quoted)  # the quotation mark
        exact = start.line == end.line and end.column - start.column == len(text) + 2 * lead
        return Scalar(self._mark(event), text, quoted, lead if exact else None)

    def _sequence(self, event: Any, depth: int) -> Sequence:  # noqa: ANN401
        items: list[Node] = []
        while not isinstance(following := self._next(), yaml.SequenceEndEvent):
            items.append(self._node(following, depth + 1))
        return Sequence(self._mark(event), tuple(items), *_measured(items))

    def _mapping(self, event: Any, depth: int) -> Mapping:  # noqa: ANN401
        entries: dict[str, Entry] = {}
        merged: Entry | None = None
        while not isinstance(following := self._next(), yaml.MappingEndEvent):
            key = self._node(following, depth + 1)
            value = self._node(self._next(), depth + 1)
            if not isinstance(key, Scalar):
                self._add(following, f"a key must be a single word, not {told(key)}")
                continue
            merges = key.text == "<<" and not key.quoted
            first = merged if merges else entries.get(key.text)
            if first:
                message = f"the key '{shortened(key.text)}' stands here for the second time"
                self._faults.add(key.at, "", message, f"the first is in line {first.key.at.line}")
            elif merges:
                merged = Entry(key, value)
            else:
                entries[key.text] = Entry(key, value)
        if merged:
            entries = self._merged(merged) | entries
        below = [entry.value for entry in entries.values()]
        weight, height = _measured(below)
        return Mapping(self._mark(event), entries, weight + len(entries), height)

    def _merged(self, merge: Entry) -> dict[str, Entry]:
        """Return the entries that `<<` brings; of several mappings the first has precedence."""
        value = merge.value
        parts = value.items if isinstance(value, Sequence) else (value,)
        entries: dict[str, Entry] = {}
        for part in reversed(parts):
            if isinstance(part, Mapping):
                entries |= part.entries
            else:
                what = f"<< takes a mapping or a list of mappings, not {told(part)}"
                self._faults.add(merge.key.at, "", what)
        return entries


def _measured(below: list[Node]) -> tuple[int, int]:
    """Return weight and height of a node with these children."""
    weight, height = 1, 1
    for node in below:
        if isinstance(node, Scalar):
            weight, height = weight + 1, max(height, 2)
        else:
            weight, height = weight + node.weight, max(height, node.height + 1)
    return weight, height

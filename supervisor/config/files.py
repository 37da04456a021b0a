"""The files of a config: the main one and what it includes, each read once, as trees of nodes.

An included file holds services and further includes, and defaults for its own services, which lie
over those of the file that includes it. Relative paths are meant from the folder of the file that
they are written in.
"""

from __future__ import annotations

import glob
import os
from typing import Final

from supervisor.core.spec import ServiceSpec
from supervisor.records import record

from . import forms
from .document import INCLUDABLE, Document
from .faults import Faults, Mark
from .nodes import Entry, Mapping, Node, Scalar, Sequence, Text
from .schema import Schema
from .shapes import SHAPES
from .sources import tree

MOST_FILES: Final = 10_000


@record(frozen=True)
class Listed:
    """A service as a file lists it, with the defaults that hold for it, normalized."""

    entry: Entry
    defaults: Mapping


class Files:
    """Reads a config file and its includes; what they list is in `services` and `document`."""

    def __init__(self, faults: Faults) -> None:
        self.services: dict[str, Listed] = {}
        self.document = Mapping(Mark(""), {})  # the top level of the main file
        self._faults = faults
        self._schema = Schema(faults)
        self._seen: set[str] = set()

    def read(self, path: str) -> None:
        """Read the main file and all that it includes."""
        root = self._tree(path, Mark(path))
        if root is None:
            return
        self.document = root
        # Of the other keys, the deeper ones have readers of their own.
        kept = {k: v for k, v in root.entries.items() if k not in {"services", "defaults"}}
        self._schema.fields(Mapping(root.at, kept), Document, "")
        if "services" not in root.entries and "include" not in root.entries:
            self._faults.add(root.at, "", "there are no services", "list them under services:")
        self._listed(root, Mapping(root.at, {}))

    def _tree(self, path: str, at: Mark) -> Mapping | None:
        self._seen.add(os.path.realpath(path))
        return tree(path, at, self._faults)

    def _listed(self, root: Mapping, above: Mapping) -> None:
        """Note the services of a file; `above` are the defaults of the file that includes it."""
        given = root.get("defaults")
        own = forms.normalized(self._schema.mapping(given, "defaults") if given else above)
        self._schema.fields(own, ServiceSpec, "defaults")
        defaults = forms.over(above, own)
        node = root.get("services")
        if node is not None:
            for name, entry in self._schema.mapping(node, "services").entries.items():
                first = self.services.setdefault(name, Listed(entry, defaults))
                if first.entry is not entry:
                    at = first.entry.key.at
                    what = "a service of this name stands in another file already"
                    where = f"the first is at {at.file}:{at.line}:{at.column}"
                    self._faults.add(entry.key.at, f"services.{name}", what, where)
        include = root.get("include")
        for pattern in self._patterns(include) if include else ():
            for path in self._matching(pattern):
                self._included(path, pattern.at(), defaults)

    def _patterns(self, node: Node) -> list[Text]:
        items = node.items if isinstance(node, Sequence) else (node,)
        if isinstance(node, Scalar) and node.null:
            return []
        return [
            Text.of(item.text, item, "include")
            for item in items
            if isinstance(item, Scalar) and not item.null
        ]

    def _matching(self, pattern: Text) -> list[str]:
        """Return the files that a pattern means; a plain name means itself."""
        path = os.path.join(os.path.dirname(pattern.mark.file), pattern)
        if not glob.has_magic(pattern):
            return [path]
        # the folder is no pattern, whatever its name is
        folder = os.path.dirname(pattern.mark.file)
        found = sorted(glob.glob(pattern, root_dir=folder or "."))
        return [os.path.join(folder, name) for name in found]

    def _included(self, path: str, at: Mark, defaults: Mapping) -> None:
        if os.path.realpath(path) in self._seen:
            return  # two patterns, or a circle
        if len(self._seen) >= MOST_FILES:
            self._faults.add(at, "include", f"more than {MOST_FILES:,} files")
            return
        root = self._tree(path, at)
        if root is None:
            return
        for name in root.entries.keys() - set(INCLUDABLE):
            key = root.entries[name].key
            if name in SHAPES[Document]:
                what = "stands in the main file only, not in an included one"
                self._faults.add(key.at, name, what)
            else:
                self._schema.unknown(key, name, Document, INCLUDABLE)
        self._listed(root, defaults)

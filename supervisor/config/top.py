"""What the top level of a config says about the project: its name and its directories.

Kept apart from the schema, so that the words that speak to a running keepd find its socket quickly,
and also when a service in the file is wrong.
"""

from __future__ import annotations

import os

from . import places
from .faults import Fault, Faults, Mark
from .names import name_fault
from .nodes import Mapping, Scalar, told
from .places import Overrides, Places
from .sources import tree


def locate(path: str, overrides: Overrides | None = None) -> Places | tuple[Fault, ...]:
    """Return where a project keeps its files, whatever is wrong with its services."""
    faults = Faults()
    root = tree(path, Mark(path), faults)
    if root is None:
        return faults.all()
    faults = Faults()  # a doubled key or a tag among the services is not asked for
    return placed(path, root, overrides or Overrides(), faults) or faults.all()


def placed(path: str, root: Mapping, overrides: Overrides, faults: Faults) -> Places | None:
    """Return the places of a project, None where a fault has been told."""
    config = os.path.abspath(path)
    own = Faults()
    given = _text(root, "name", own)
    if given and (fault := name_fault(given.text)):
        own.add(given.at, "name", *fault)
    name = given.text if given else places.project(config)
    run_dir = places.runtime_dir(name, _path(root, "runtime_dir", own), overrides)
    logs = places.log_dir(name, _path(root, "log_dir", own), overrides)
    if run_dir is None:
        own.add(Mark(path), "", places.NO_RUNTIME_DIR, places.GIVE_RUNTIME_DIR)
    faults.take(own)
    if run_dir is None or own:
        return None
    return Places(name, config, os.path.dirname(config), run_dir, logs)


def _text(root: Mapping, key: str, faults: Faults) -> Scalar | None:
    """Return what stands under a key that may be left out."""
    node = root.get(key)
    if node is None or isinstance(node, Scalar):
        return None if node is None or node.null else node
    faults.add(node.at, key, f"a text is wanted here, not {told(node)}")
    return None


def _path(root: Mapping, key: str, faults: Faults) -> str | None:
    """Return a directory as absolute, from the folder of its file."""
    written = _text(root, key, faults)
    if written is None:
        return None
    if "${" in written.text or written.text.startswith("~") or not written.text:
        what = f"'{written.text}' is taken as it is: nothing is expanded here"
        faults.add(written.at, key, what, "write the path in full")
    return os.path.abspath(os.path.join(os.path.dirname(written.at.file), written.text))

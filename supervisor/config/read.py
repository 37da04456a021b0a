"""Reads a config in this process: files, schema, rules, templates, and the plan at the end.

Called by the reader's child, which is limited in memory and time; whoever cannot afford to lose its
process calls reader.py instead.
"""

from __future__ import annotations

import os

from . import rules
from .document import Document
from .faults import Faults, Fault, Mark
from .files import Files
from .nodes import Mapping, Text
from .places import GIVE_RUNTIME_DIR, NO_RUNTIME_DIR, Overrides, Places, log_dir, project, runtime_dir
from .plan import Plan
from .resolve import Resolver
from .schema import Schema
from .services import drafted


def read(path: str, overrides: Overrides | None = None) -> Plan | tuple[Fault, ...]:
    """Return the plan of a config, or everything that is wrong with it."""
    overrides = overrides or Overrides()
    faults = Faults()
    files = Files(faults)
    files.read(path)
    places = _places(path, files.document, overrides, faults)
    drafts = drafted(files.services, faults)
    resolver = Resolver(overrides.environ, faults)
    services = {name: resolver.replicas(draft) for name, draft in drafts.items()}
    if faults or places is None:
        return faults.all()
    return Plan(
        places.name, places.config, places.folder, places.run_dir, places.log_dir, services
    )


def locate(path: str, overrides: Overrides | None = None) -> Places | tuple[Fault, ...]:
    """Return where a project keeps its files, whatever is wrong with its services."""
    faults = Faults()
    root = Files(faults).tree(path, Mark(path))
    if root is None:
        return faults.all()
    faults = Faults()  # a doubled key or a tag among the services is not asked for
    return _places(path, root, overrides or Overrides(), faults) or faults.all()


def _places(path: str, root: Mapping, overrides: Overrides, faults: Faults) -> Places | None:
    """Return the places of a project, None where a fault has been told."""
    wanted = ("version", "name", "runtime_dir", "log_dir")
    node = Mapping(root.at, {k: v for k, v in root.entries.items() if k in wanted})
    values = Schema(faults).fields(node, Document, "")
    config = os.path.abspath(path)
    name = values.get("name") or project(config)
    if isinstance(name, Text) and (fault := rules.name_fault(name)):
        faults.add(name.at(), "name", *fault)
    run_dir = runtime_dir(name, _path(values.get("runtime_dir"), faults), overrides)
    logs = log_dir(name, _path(values.get("log_dir"), faults), overrides)
    if run_dir is None:
        faults.add(Mark(path), "", NO_RUNTIME_DIR, GIVE_RUNTIME_DIR)
    if faults or run_dir is None:
        return None
    return Places(str(name), config, os.path.dirname(config), run_dir, logs)


def _path(written: Text | None, faults: Faults) -> str | None:
    """Return a directory of the top level as absolute, from the folder of its file."""
    if written is None:
        return None
    if "${" in written or written.startswith("~") or not written:
        what = f"'{written}' is taken as it is: nothing is expanded here"
        faults.add(written.at(), written.key, what, "write the path in full")
    return os.path.abspath(os.path.join(os.path.dirname(written.mark.file), written))

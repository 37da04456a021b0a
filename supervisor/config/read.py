"""Reads a config in this process: files, schema, rules, templates, and the plan at the end.

Called by the reader's child, which is limited in memory and time; whoever cannot afford to lose its
process calls reader.py instead.
"""

from __future__ import annotations

from .faults import Fault, Faults
from .files import Files
from .places import Overrides
from .plan import Plan
from .resolve import Resolver
from .services import drafted
from .top import placed


def read(path: str, overrides: Overrides | None = None) -> Plan | tuple[Fault, ...]:
    """Return the plan of a config, or everything that is wrong with it."""
    overrides = overrides or Overrides()
    faults = Faults()
    files = Files(faults)
    files.read(path)
    places = placed(path, files.document, overrides, faults)
    drafts = drafted(files.services, faults)
    resolver = Resolver(overrides, faults)
    services = {name: resolver.replicas(draft) for name, draft in drafts.items()}
    if faults or places is None:
        return faults.all()
    return Plan(places.name, places.config, places.folder, places.run_dir, places.log_dir, services)

"""Reads a config in this process: files, schema, rules, templates, and the plan at the end.

Called by the reader's child, which is limited in memory and time; whoever cannot afford to lose its
process calls reader.py instead.
"""

from __future__ import annotations

import select
import time
from typing import Final

from .faults import Fault, Faults
from .files import Files
from .places import Overrides
from .plan import Plan
from .resolve import Resolver
from .services import drafted
from .top import placed

_TRIES: Final = 5


def read(path: str, overrides: Overrides | None = None) -> Plan | tuple[Fault, ...]:
    """Return the plan of a config, or everything that is wrong with it.

    Files that change while they are read are read again: a half of one may look like a whole.
    """
    overrides = overrides or Overrides()
    changed = None
    for _ in range(_TRIES):
        faults = Faults()
        result = _read(path, overrides, faults)
        _await_quiet(faults.newest() + overrides.quiet)
        changed = faults.changed()
        if changed is None:
            return result
    what = f"it was changed while it was read, {_TRIES} times"
    return (Fault(changed or path, 0, 0, "", what, "try again when it is written"),)


def _await_quiet(end: float) -> None:
    """Wait until `end`, by the clock of files, but not for long: that clock may be another's."""
    left = end - time.time()
    if 0 < left < 1:
        select.poll().poll(left * 1000)


def _read(path: str, overrides: Overrides, faults: Faults) -> Plan | tuple[Fault, ...]:
    files = Files(faults)
    files.read(path)
    places = placed(path, files.document, overrides, faults)
    drafts = drafted(files.services, faults)
    resolver = Resolver(overrides, faults)
    services = {name: resolver.replicas(draft) for name, draft in drafts.items()}
    if faults or places is None:
        return faults.all()
    return Plan(places.name, places.config, places.folder, places.run_dir, places.log_dir, services)

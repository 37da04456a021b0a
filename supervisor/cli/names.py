"""What the names on a command line mean in a plan, where no daemon is there to say it."""

from __future__ import annotations

import fnmatch

from .outcome import NO_SERVICE, Failure

TYPE_CHECKING = False  # see control/client.py
if TYPE_CHECKING:
    from collections.abc import Sequence

    from supervisor.config.plan import Plan


def meant(whole: Plan, names: Sequence[str]) -> list[str]:
    """Return the ids of the replicas that are named, in the plan's order; all for no names.

    Raises Failure (4) for a name that means nothing.
    """
    replicas = [(name, n) for name, specs in whole.services.items() for n in range(len(specs))]
    found = {name: [f"{s}/{n}" for s, n in replicas if _means(name, s, n)] for name in names}
    for name, ids in found.items():
        if not ids:
            text = f"cannot do that: no service in {whole.config} is called {name!r}"
            raise Failure(NO_SERVICE, "no-such-service", text)
    wanted = {key for ids in found.values() for key in ids}
    return [f"{s}/{n}" for s, n in replicas if not names or f"{s}/{n}" in wanted]


def _means(name: str, service: str, number: int) -> bool:
    key = f"{service}/{number}"
    if name in (service, key):
        return True
    return fnmatch.fnmatchcase(service, name) or fnmatch.fnmatchcase(key, name)

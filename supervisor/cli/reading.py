"""The config as the real reader has it, in a process of its own; its faults become a Failure."""

from __future__ import annotations

from supervisor.config import faults, plan, reader
from supervisor.config.places import Overrides

from .outcome import USAGE, Failure

TYPE_CHECKING = False  # see control/client.py
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


def plan_text(
    config: str, runtime_dir: str | None, meanwhile: Callable[[], object] | None = None
) -> str:
    """Return the plan of a config as JSON. Raises Failure (2) with all that is wrong with it."""
    read = reader.read_apart(config, Overrides(runtime_dir=runtime_dir), meanwhile=meanwhile)
    if isinstance(read, tuple):
        raise faulty(config, read)
    return read


def whole_plan(config: str, runtime_dir: str | None) -> plan.Plan:
    """Return the plan of a config. Raises Failure (2) with all that is wrong with it."""
    return plan.decode(plan_text(config, runtime_dir))


def run_dir(config: str, runtime_dir: str | None) -> str:
    """Return the runtime directory of a config, whatever is wrong with its services.

    Raises Failure (2) where it cannot be told.
    """
    places = reader.locate_apart(config, Overrides(runtime_dir=runtime_dir))
    if isinstance(places, tuple):
        raise faulty(config, places)
    return places.run_dir


def faulty(config: str, found: Sequence[faults.Fault]) -> Failure:
    """Return the failure that tells all faults of a config."""
    count = "1 fault" if len(found) == 1 else f"{len(found)} faults"
    message = f"cannot use {config}: {count}"
    data = {"faults": faults.as_json(found)}
    return Failure(USAGE, "bad-config", message, faults.lines(found), data)

"""What connects a master with those before and after it."""

from __future__ import annotations

from collections.abc import Mapping

from supervisor.inherited import Inherited
from supervisor.kept import Keeping
from supervisor.records import record
from supervisor.runfiles import RunFile


@record(frozen=True)
class Ties:
    """What connects us with the masters before and after us."""

    file: RunFile
    keeping: Keeping
    inherited: Inherited
    kept: Mapping[str, int]  # descriptors that an earlier one had kept, by name
    stores: bool = False  # systemd keeps descriptors beyond our common end

"""What stands in a config file beside the services: the keys of its top level.

As with core/spec.py, options are fields with defaults and a `help`, and are listed nowhere else.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from supervisor.core.spec import ServiceSpec
from supervisor.records import field, record

INCLUDABLE: Final = ("version", "services", "include", "defaults")  # keys of an included file


@record(frozen=True)
class Document:
    """The top level of a config file."""

    version: int = field(default=1, metadata={"help": "of this format"})
    name: str | None = field(
        default=None, metadata={"help": "the project (default: the folder's name and a short hash)"}
    )
    runtime_dir: str | None = field(
        default=None,
        metadata={
            "help": "socket, FIFOs, state (default: /run/keepd/NAME, "
            "or $XDG_RUNTIME_DIR/keepd/NAME for other users than root)"
        },
    )
    log_dir: str | None = field(
        default=None,
        metadata={
            "help": "log files (default: /var/log/keepd/NAME, "
            "or $XDG_STATE_HOME/keepd/NAME for other users than root)"
        },
    )
    include: tuple[str, ...] = field(
        default=(),
        metadata={"help": "more files of services; globs, from the folder of this file"},
    )
    defaults: Mapping[str, Any] = field(
        default_factory=dict,
        metadata={"help": "any key of a service; a service's own value wins, maps merge by key"},
    )
    services: Mapping[str, ServiceSpec] = field(
        default_factory=dict, metadata={"help": "what shall run, by name"}
    )

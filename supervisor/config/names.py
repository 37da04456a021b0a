"""Which names services, projects and variables may have, and which are kept for keepd itself.

A name becomes a folder, a file and a socket, so it can never be a path or a hidden file.
"""

from __future__ import annotations

import re
from typing import Final

from .faults import meant

RESERVED: Final = (
    *("KEEPD_RUN", "KEEPD_SERVICE", "KEEPD_REPLICA"),  # how we know our own again
    "KEEPD_RECORDS",
)
OURS: Final = re.compile(r"NOTIFY_SOCKET|LISTEN_.*|WATCHDOG_.*|KEEPD_.*")  # never handed on
NAME: Final = r"^[A-Za-z0-9][A-Za-z0-9_.@-]{0,63}$"
_NAME: Final = re.compile(NAME)
_KEEPDS_FILES: Final = re.compile(r"keepd(\.[0-9]+)?(\.log(\.gz)?)?")  # beside the services' logs


def name_fault(name: str) -> tuple[str, str | None] | None:
    """Return what is wrong with a name of a service or a project, and what to do."""
    if _NAME.fullmatch(name):
        return None
    signs = "letters, digits and _ . @ -, a letter or digit first, at most 64"
    likely = re.sub(r"[^A-Za-z0-9_.@-]+", "-", name).lstrip("_.@-").rstrip("-")[:64]
    return f"a name consists of {signs}", meant(likely) if likely else None


def reserved(name: str) -> bool:
    """Return whether a service of this name would be taken for keepd itself, or for its log."""
    return _KEEPDS_FILES.fullmatch(name) is not None

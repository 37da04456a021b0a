"""Where a project keeps its runtime files and its logs, and what the project is called.

Only the standard library; nothing is created here.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import re
import zlib
from collections.abc import Mapping

from supervisor.records import field, record


def _coerced() -> bool:
    """Return whether CPython has set LC_CTYPE, for itself and for whatever it starts."""
    if os.environ.get("LC_CTYPE") in {"C.UTF-8", "C.utf8", "UTF-8"}:
        with contextlib.suppress(OSError), open("/proc/self/environ", "rb") as file:
            return b"\0LC_CTYPE=" not in b"\0" + file.read()
    return False


# Looked at now: when we have a title, our first environment cannot be seen any more.
_COERCED = _coerced()


def as_given() -> dict[str, str]:
    """Return our environment as it was given to us."""
    environ = dict(os.environ)
    if _COERCED:
        environ.pop("LC_CTYPE", None)
    return environ


@record(frozen=True)
class Overrides:
    """What the caller says beside the file; by default what its own environment says."""

    runtime_dir: str | None = None  # --runtime-dir; relative to the working directory
    environ: Mapping[str, str] = field(default_factory=as_given)
    uid: int = field(default_factory=os.geteuid)
    variables: Mapping[str, str] | None = None  # what ${VAR} means; None: as in `environ`
    quiet: float = 0.0  # seconds since the last change of a file, before it is believed


@record(frozen=True)
class Places:
    """A project's name and its directories, all absolute."""

    name: str
    config: str
    folder: str
    run_dir: str
    log_dir: str


NO_RUNTIME_DIR = "cannot tell where the runtime directory is: XDG_RUNTIME_DIR is not set"
GIVE_RUNTIME_DIR = "give one by --runtime-dir, KEEPD_RUNTIME_DIR or the key runtime_dir"


def project(config: str) -> str:
    """Return the name of a project that has none: its folder's and a short hash of its path."""
    path = os.path.realpath(config)
    folder = re.sub(r"[^A-Za-z0-9_.@-]+", "-", os.path.basename(os.path.dirname(path)))
    digest = zlib.crc32(os.fsencode(path))
    return f"{folder.lstrip('_.@-')[:50] or 'root'}-{digest:08x}"


def runtime_dir(name: str, key: str | None, overrides: Overrides) -> str | None:
    """Return the runtime directory; `key` is the config's own, absolute. None: nobody says it."""
    given = overrides.runtime_dir or overrides.environ.get("KEEPD_RUNTIME_DIR")
    if given:
        return os.path.abspath(given)
    if key:
        return key
    if overrides.uid == 0:
        return f"/run/keepd/{name}"
    base = overrides.environ.get("XDG_RUNTIME_DIR", "")
    return os.path.join(base, "keepd", name) if os.path.isabs(base) else None


def log_dir(name: str, key: str | None, overrides: Overrides) -> str:
    """Return the directory of the log files; `key` is the config's own, absolute."""
    if key:
        return key
    if overrides.uid == 0:
        return f"/var/log/keepd/{name}"
    base = overrides.environ.get("XDG_STATE_HOME", "")
    if not os.path.isabs(base):
        base = os.path.join(_home(overrides), ".local", "state")
    return os.path.join(base, "keepd", name)


def _home(overrides: Overrides) -> str:
    home = overrides.environ.get("HOME", "")
    if os.path.isabs(home):
        return home
    try:
        return pwd.getpwuid(overrides.uid).pw_dir
    except KeyError:  # a user that only exists as a number, as in containers
        return "/"

"""The environment that a service is born with: complete, and nothing that it was not given.

The safe few, what `inherit_env` names, what speaks of the service's own user, the env files and
`env`, later ones winning. What belongs to
keepd itself or to its own manager (sd_notify, socket activation, watchdog) is never handed on.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Final

from supervisor.core.spec import ServiceSpec

from . import envfile
from .faults import Faults
from .names import OURS
from .nodes import Text
from .sources import content
from .template import Template

DEFAULT_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_OF_USER: Final = frozenset({"HOME", "USER", "LOGNAME", "SHELL"})
_SAFE: Final = frozenset("PATH HOME USER LOGNAME SHELL LANG TZ TERM TMPDIR".split())  # noqa: SIM905


class Environments:
    """Makes environments out of that of the caller; every env file is read once."""

    def __init__(self, environ: Mapping[str, str], faults: Faults) -> None:
        self._environ = {k: v for k, v in environ.items() if not OURS.fullmatch(k)}
        self._safe = {
            name: value
            for name, value in self._environ.items()
            if name in _SAFE or name.startswith("LC_")
        }
        self._faults = faults
        self._files: dict[str, dict[str, str]] = {}

    def of(
        self, spec: ServiceSpec, template: Template, of_user: Mapping[str, str]
    ) -> dict[str, str]:
        """Return the whole environment of one replica; `of_user` speaks of its own user, if any."""
        inherited = spec.inherit_env
        if inherited == "all":
            environment = dict(self._environ)
        else:
            environment = dict(self._safe)
            for name in inherited:
                if name in self._environ:
                    environment[str(name)] = self._environ[name]
        if of_user:  # and nothing is left of the one that has started us
            environment = {k: v for k, v in environment.items() if k not in _OF_USER} | {**of_user}
        for file in spec.env_file:
            environment |= self._file(file, template.expand(file))
        for name, value in spec.env.items():
            environment[str(name)] = template.expand(value)
        environment.setdefault("PATH", DEFAULT_PATH)
        return environment

    def _file(self, written: str, name: str) -> dict[str, str]:
        assert isinstance(written, Text)
        path = os.path.join(os.path.dirname(written.mark.file), name)
        if path not in self._files:
            # The bytes of a variable need not be UTF-8.
            text = content(path, written.at(), self._faults, "surrogateescape")
            self._files[path] = envfile.parse(text, path, self._faults) if text else {}
        return self._files[path]

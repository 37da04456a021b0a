"""`${VAR}`, `${VAR:-default}`, `${replica}` and `$$` in the texts of a config.

A bare `$` before anything else stays as it is, so that `$VAR` without braces is left to the shell
of a `shell: true`. What is put in is never split into words, and never expanded again.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from .faults import Faults
from .nodes import Text, shortened

_SIGN: Final = re.compile(r"\$(?:\$|\{([^{}]*)(\}?))")
_NAMED: Final = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(?::-(.*))?", re.DOTALL)
_REPLICA: Final = "replica"


class Template:
    """Expands texts with the variables of one environment and the number of one replica."""

    def __init__(self, variables: Mapping[str, str], faults: Faults) -> None:
        """Take the variables; faults are told where they stand in the text."""
        self._variables = variables
        self._faults = faults
        self.replica = 0
        self.replica_told = False  # whether any text so far has asked for its replica

    def expand(self, text: str) -> str:
        """Return the text with everything filled in; what cannot be is told and left out."""
        if "$" not in text:
            return str(text)
        return _SIGN.sub(lambda found: self._filled(text, found), text)

    def _filled(self, text: str, found: re.Match[str]) -> str:
        if found[0] == "$$":
            return "$"
        named = _NAMED.fullmatch(found[1])
        if not found[2]:
            # `${VAR:-a b}` of a command may have been split at its space: say what helps there too
            what = f"'{shortened(found[0])}' is not closed, or holds braces or words of its own"
            self._tell(text, found, what, "write $$ for a plain $, a command as a list")
        elif not named:
            what = f"'{shortened(found[0])}' is neither ${{VAR}} nor ${{VAR:-default}}"
            self._tell(text, found, what, "write $$ for a plain $")
        else:
            return self._value(text, found, named[1], named[2])
        return ""

    def _value(self, text: str, found: re.Match[str], name: str, default: str | None) -> str:
        if name == _REPLICA:
            self.replica_told = True
            return str(self.replica)
        value = self._variables.get(name)
        if value or (value is not None and default is None):
            return value
        if default is not None:
            return default
        likely = self._faults.like(name, [*self._variables, _REPLICA])
        advice = likely or f"set it, or write ${{{name}:-default}}, or $${{{name}}} for the shell"
        self._tell(text, found, f"the variable {name} is not set", advice)
        return ""

    def _tell(self, text: str, found: re.Match[str], what: str, advice: str) -> None:
        assert isinstance(text, Text)  # whatever else has a $ came from no file
        self._faults.add(text.at(found.start()), text.key, what, advice)

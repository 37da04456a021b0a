r"""Files of NAME=value lines: comments, `export `, and quotes, but nothing is expanded.

Single quotes keep everything; double quotes know \n \t \" \\ and \$; without quotes a value
ends at its line's end, less spaces and a comment after a space.
"""

from __future__ import annotations

import re
from typing import Final

from .faults import Faults, Mark
from .names import RESERVED

_LINE: Final = re.compile(r"\s*(?:export\s+)?([^\s=#'\"]+)\s*=[^\S\n]*(.*)", re.DOTALL)
_SINGLE: Final = re.compile(r"'([^']*)'\s*(?:#.*)?")
_DOUBLE: Final = re.compile(r'"((?:[^"\\]|\\.)*)"\s*(?:#.*)?')
_ESCAPE: Final = re.compile(r"\\(.)")
_MEANING: Final = {"n": "\n", "t": "\t", "r": "\r", '"': '"', "\\": "\\", "$": "$"}


def parse(text: str, file: str, faults: Faults) -> dict[str, str]:
    """Return the variables of an env file; a name that stands twice has its last value."""
    variables: dict[str, str] = {}
    for number, line in enumerate(text.split("\n"), 1):
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        at = Mark(file, number, len(line) - len(line.lstrip()) + 1)
        found = _LINE.fullmatch(line.rstrip())
        if not found:
            faults.add(at, "", "NAME=value is wanted here")
            continue
        name, value = found[1], _value(found[2])
        if value is None:
            faults.add(Mark(file, number, found.start(2) + 1), name, "the quotes are not closed")
        elif "\0" in value or "\0" in name:
            faults.add(at, "", "the character U+0000 can be given to no program")
        elif name in RESERVED:
            faults.add(at, name, f"{name} is set by keepd itself")
        else:
            variables[name] = value
    return variables


def _value(written: str) -> str | None:
    """Return what is meant by the right side of a line, None where its quotes do not match."""
    if written.startswith("'"):
        found = _SINGLE.fullmatch(written)
        return found[1] if found else None
    if written.startswith('"'):
        found = _DOUBLE.fullmatch(written)
        return _ESCAPE.sub(_unescaped, found[1]) if found else None
    if written.startswith("#"):
        return ""
    return re.split(r"\s#", written, maxsplit=1)[0].rstrip()


def _unescaped(found: re.Match[str]) -> str:
    return _MEANING.get(found[1], found[0])

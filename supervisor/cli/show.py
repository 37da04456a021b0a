"""Words and colours for a terminal. Nothing that a service made up gets there uncleaned."""

from __future__ import annotations

import argparse
import json
import os
import re
import sys

TYPE_CHECKING = False  # see control/client.py
if TYPE_CHECKING:
    from typing import TextIO

RED, GREEN, YELLOW, DIM, BOLD = "31", "32", "33", "2", "1"

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}


def coloured(stream: TextIO) -> bool:
    """Return whether colours are welcome there: a terminal, and NO_COLOR is not set."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def paint(text: str, colour: str, wanted: bool) -> str:
    """Return the text, in colour where it is wanted."""
    return f"\x1b[{colour}m{text}\x1b[0m" if wanted and colour else text


def clean(text: str) -> str:
    """Return the text with all that a terminal might obey made visible."""
    if text.isprintable():
        return text
    return "".join(sign if sign.isprintable() else _visible(sign) for sign in text)


def _visible(sign: str) -> str:
    return sign.encode("unicode_escape", "surrogatepass").decode("ascii")


def as_json(value: object) -> None:
    """Print plain data as one JSON document."""
    sys.stdout.write(json.dumps(value, indent=2) + "\n")


def seconds(text: str) -> float:
    """Return a duration of the command line: 30, 30s, 500ms, 2min, 1h. Raises ArgumentTypeError."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(ms|s|m|min|h|)", text)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no duration: 30s, 500ms, 2min and 1h are")
    return float(found[1]) * _UNITS[found[2] or "s"]


def short(span: float | None) -> str:
    """Return a duration as a column has it: 3s, 5m12s, 2h05m, 3d04h; - for none."""
    if span is None:
        return "-"
    whole = max(int(span), 0)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02}s"
    if whole < 86400:
        return f"{whole // 3600}h{whole % 3600 // 60:02}m"
    return f"{whole // 86400}d{whole % 86400 // 3600:02}h"

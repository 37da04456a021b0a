"""How a line of a log looks to people: whose it is, and nothing in it that steers a terminal."""

from __future__ import annotations

import json
import re

from . import objects, structured
from .formats import CONTINUES, UNFINISHED

_STAMP = re.compile(rb'(?:\{"time":")?(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z)[ "]')
_PREFIX = re.compile(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z ")
_CONTROLS = {
    code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160)) if chr(code) not in "\t\n"
}
_COLOURS = ("36", "33", "32", "35", "34", "96", "93", "92", "95", "94")
_KEEPD = "2"  # keepd's own events: faint
_WIDEST = 32


def stamp_of(line: bytes) -> bytes:
    """Return the time stamp of a line, RFC 3339; b"" if it has none."""
    found = _STAMP.match(line)
    return found[1] if found else b""


def text_of(line: bytes) -> bytes:
    """Return what a service printed, of a line of its log in whatever format.

    A record is in words; where it has an exception, in several lines.
    """
    if found := objects.parsed(line):
        record = {"message": found["text"]} | _more(found)
        if len(record) > 1 and structured.is_record(record):
            return structured.as_text(record).encode("utf-8", "backslashreplace")
        mark = CONTINUES if "continues" in found else UNFINISHED if "unfinished" in found else b"\n"
        return str(found["text"]).encode("utf-8", "backslashreplace") + mark[:-1]
    prefix = _PREFIX.match(line)
    return line[prefix.end() :] if prefix else line


def as_object(stream: str, line: bytes) -> bytes:
    """Return a line as a JSON object with its end: id, time (null: it has none), text.

    And what else a record has: level, logger, exception, fields.
    """
    time = stamp_of(line).decode() or None
    found = objects.parsed(line) or {}
    more = _more(found)
    text = str(found["text"]) if more else text_of(line).decode("utf-8", "backslashreplace")
    return json.dumps({"id": stream, "time": time, "text": text} | more).encode() + b"\n"


def _more(found: dict[str, object]) -> dict[str, object]:
    return {key: found[key] for key in structured.MORE if key in found}


def plain(line: bytes) -> str:
    """Return a line as text in which control characters, and what is not UTF-8, are spelled out.

    Tabs stay; so does the newline, which a line of a log does not contain.
    """
    text = line.removesuffix(b"\r").decode("utf-8", "backslashreplace")
    return text.translate(_CONTROLS)


class Painter:
    """Gives each stream a prefix of even width and, if wanted, a colour of its own."""

    def __init__(self, colour: bool) -> None:
        self._colour = colour
        self._prefixes: dict[str, str] = {}
        self._width = 8

    def meet(self, stream: str) -> None:
        """Know a stream, so that the prefixes before its first line are as wide as its own."""
        if len(stream) > self._width:
            self._width = min(len(stream), _WIDEST)
            self._prefixes.clear()

    def paint(self, stream: str, text: str) -> bytes:
        """Return the line to be printed, with its end."""
        prefix = self._prefixes.get(stream)
        if prefix is None:
            self.meet(stream)
            prefix = self._prefixes[stream] = self._prefix(stream)
        return f"{prefix}{text}\n".encode()

    def _prefix(self, stream: str) -> str:
        prefix = f"{stream:<{self._width}} |"
        if not self._colour:
            return f"{prefix} "
        colour = _KEEPD if "/" not in stream else _COLOURS[_sum(stream) % len(_COLOURS)]
        return f"\x1b[{colour}m{prefix}\x1b[0m "


def _sum(stream: str) -> int:
    """Return the same number for the same name in every process."""
    service, _, replica = stream.partition("/")
    return sum(service.encode()) * 7 + int(replica) if replica.isdecimal() else sum(stream.encode())

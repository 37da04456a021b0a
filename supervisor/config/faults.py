"""What is wrong with a config, in words and with its place.

Faults are values: they are collected, never raised, so that one reading tells all of them. This
module must stay light and free of third parties, for it is used on both sides of the reader's pipe.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Sequence

from supervisor.records import asdict, record

_MOST = 1_000  # faults kept; whoever has more mends these first
_GUESSES = 200  # a guess compares with every known word: a bound for hopeless files


@record(frozen=True)
class Mark:
    """A place in a file; line and column count from 1, line 0 means the file as a whole."""

    file: str
    line: int = 0
    column: int = 0


@record(frozen=True)
class Fault:
    """One mistake; `key` is the path of the key ("services.web.env.PORT") or empty."""

    file: str
    line: int
    column: int
    key: str
    message: str
    suggestion: str | None = None

    def __str__(self) -> str:
        """Return the fault as one line for people."""
        place = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        key = f" {self.key}:" if self.key else ""
        tail = f"; {self.suggestion}" if self.suggestion else ""
        return f"{place}:{key} {self.message}{tail}"


class Faults:
    """Collects faults; the same words at the same place are told once."""

    def __init__(self) -> None:
        """Begin with none."""
        self._found: dict[tuple[Mark, str], Fault] = {}
        self._files: dict[str, int] = {}
        self._guesses = _GUESSES
        self._stamps: dict[str, tuple[int, ...]] = {}

    def __bool__(self) -> bool:
        """Return whether there is any."""
        return bool(self._found)

    def file(self, name: str) -> None:
        """Note a file that is about to be read: faults are told in this order."""
        self._files.setdefault(name, len(self._files))

    def stamp(self, name: str, found: os.stat_result) -> None:
        """Note which file has been opened, and in what state: before it is read."""
        self._stamps[name] = _stamp(found)

    def changed(self) -> str | None:
        """Return a file that is not any more what it was when it was opened."""
        for name, stamp in self._stamps.items():
            try:
                if _stamp(os.stat(name)) != stamp:
                    return name
            except OSError:  # it was there
                return name
        return None

    def newest(self) -> float:
        """Return when the file was changed that was changed last, in seconds since 1970."""
        return max((stamp[-1] for stamp in self._stamps.values()), default=0) / 1e9

    def add(self, at: Mark, key: str, message: str, suggestion: str | None = None) -> None:
        """Note one fault."""
        if len(self._found) < _MOST:
            fault = Fault(at.file, at.line, at.column, key, message, suggestion)
            self._found.setdefault((at, message), fault)

    def take(self, others: Faults) -> None:
        """Note the faults of another collection."""
        self._found = others._found | self._found

    def like(self, word: str, words: Iterable[str]) -> str | None:
        """Return "did you mean 'command'?" where one of `words` resembles `word`."""
        if self._guesses <= 0 or len(word) > 100:
            return None
        self._guesses -= 1
        near = difflib.get_close_matches(word, list(words), n=1, cutoff=0.6)
        return meant(near[0]) if near else None

    def all(self) -> tuple[Fault, ...]:
        """Return all faults, in the order of the files and their lines."""
        last = len(self._files)
        return tuple(
            sorted(
                self._found.values(),
                key=lambda fault: (self._files.get(fault.file, last), fault.line, fault.column),
            )
        )


def _stamp(found: os.stat_result) -> tuple[int, ...]:
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def meant(word: str) -> str:
    """Return the words of a suggestion that replaces what was written."""
    return f"did you mean '{word}'?"


def lines(faults: Sequence[Fault]) -> list[str]:
    """Return the faults as lines for people: `FILE:LINE:COLUMN: KEY: MESSAGE; SUGGESTION`."""
    return [str(fault) for fault in faults]


def as_json(faults: Sequence[Fault]) -> list[dict[str, str | int | None]]:
    """Return the faults as plain objects for `--json`: file line column key message suggestion."""
    return [asdict(fault) for fault in faults]

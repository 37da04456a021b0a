"""What became of the lines of a witness: none may be lost, doubled or torn, nor change places."""

from __future__ import annotations

import os
import zlib

from supervisor.records import record

from .witness import COUNT

TYPE_CHECKING = False  # see control/client.py
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


@record()
class Lines:
    """What was found, added up."""

    written: int = 0
    lost: int = 0
    doubled: int = 0  # or late: one that stands behind a later one
    torn: int = 0

    def add(self, other: Lines) -> None:
        """Take what was found of another witness."""
        self.written += other.written
        self.lost += other.lost
        self.doubled += other.doubled
        self.torn += other.torn


def judged(name: str, lines: Iterable[bytes], counts: Mapping[int, int]) -> Lines:
    """Return what is to be said of the lines of one witness, which has noted these counts."""
    found, last = Lines(), dict.fromkeys(counts, 0)
    latest = 0
    for text in lines:
        place = _place(name, text)
        if place is None:
            found.torn += 1
            continue
        run, number = place
        before = last.get(run, 0)
        if number <= before or run < latest:
            found.doubled += 1
            continue
        found.written += 1
        found.lost += number - before - 1
        last[run], latest = number, run
    found.lost += sum(max(0, counts[run] - last[run]) for run in counts)
    return found


def of_folder(folder: str, log_dir: str) -> Lines:
    """Return what is to be said of all witnesses that have worked in a folder."""
    found = Lines()
    for entry in sorted(os.listdir(folder)):
        if entry.startswith("counts."):
            name = entry.removeprefix("counts.")
            service, _, replica = name.rpartition(".")
            with open(os.path.join(folder, entry), "rb") as file:
                counts = COUNT.iter_unpack(file.read())
            noted = {run: count for run, (count,) in enumerate(counts) if count}
            found.add(judged(name, _logged(os.path.join(log_dir, service), replica), noted))
    return found


def _logged(folder: str, replica: str) -> Iterable[bytes]:
    """Give the lines of a log and of its rotated files, the oldest first."""
    names = [name for name in os.listdir(folder) if name.split(".")[0] == replica]
    for name in sorted(names, key=lambda name: (name == f"{replica}.log", name)):
        with open(os.path.join(folder, name), "rb") as file:
            yield from file


def _place(name: str, text: bytes) -> tuple[int, int] | None:
    """Return run and number of a line; None if it is not whole."""
    mark, _, body = text.removesuffix(b"\n").partition(b" ")
    words = body.split(b" ")
    whole = text.endswith(b"\n") and len(words) == 4 and words[0] == name.encode()
    if not whole or mark != b"%08x" % zlib.crc32(body):
        return None
    return int(words[1]), int(words[2])

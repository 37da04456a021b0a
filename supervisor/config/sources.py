"""Opens the files of a config, each by one open and one read, and turns them into trees.

Whatever keeps a file from being read is a fault at the place that named the file; so is a file that
anybody could write, for whoever writes it commands keepd.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import stat
from collections.abc import Iterator

from . import loader
from .faults import Faults, Mark
from .nodes import Mapping, told


def content(path: str, at: Mark, faults: Faults, encoding_errors: str = "strict") -> str | None:
    """Return the text of a file; `at` is where a fault of opening it belongs."""
    bounds = loader.Bounds()
    try:
        with open(path, "rb") as file:
            found = os.fstat(file.fileno())
            faults.stamp(path, found)
            data = file.read(bounds.size + 1)
    except (OSError, ValueError) as error:
        reason = (isinstance(error, OSError) and error.strerror) or str(error)
        faults.add(at, "", f"cannot read {path}: {reason.lower()}")
        return None
    for where in _open_to_all(path, found):
        what = f"cannot trust {path}: anybody may write {where}"
        faults.add(at, "", what, f"`chmod o-w {where}` first")
    if len(data) > bounds.size:
        faults.add(Mark(path), "", f"cannot read {path}: more than {bounds.size:,} bytes")
        return None
    try:
        return data.decode("utf-8-sig", encoding_errors)
    except UnicodeDecodeError as error:
        before = data[: error.start]
        column = len(before[before.rfind(b"\n") + 1 :].decode(errors="replace")) + 1
        place = Mark(path, before.count(b"\n") + 1, column)
        faults.add(place, "", "not UTF-8", "save the file as UTF-8")
        return None


def _open_to_all(path: str, found: os.stat_result) -> Iterator[str]:
    """Yield the file, and the folders on the way to it, that any user may put another file into."""
    if stat.S_ISREG(found.st_mode) and found.st_mode & stat.S_IWOTH:
        yield path
    seen = set()
    for way in (os.path.abspath(path), os.path.realpath(path)):
        for folder in map(str, pathlib.PurePath(way).parents):
            with contextlib.suppress(OSError):  # that it has gone since is told as a change
                found = os.stat(folder)
                # In a sticky one, as /tmp is, nobody renames what is another's.
                if found.st_mode & stat.S_IWOTH and not found.st_mode & stat.S_ISVTX:
                    if (found.st_dev, found.st_ino) not in seen:
                        yield folder
                    seen.add((found.st_dev, found.st_ino))


def tree(path: str, at: Mark, faults: Faults) -> Mapping | None:
    """Return the top level of a config file, None with a fault told."""
    faults.file(path)
    text = content(path, at, faults)
    if text is None:
        return None
    found = Faults()
    root = loader.load(text, path, found)
    faults.take(found)
    if root is None and not found:
        return Mapping(Mark(path, 1, 1), {})
    if root is None or isinstance(root, Mapping):
        return root
    what = f"a config is a mapping of keys, not {told(root)}"
    faults.add(root.at, "", what, "begin with services:")
    return None

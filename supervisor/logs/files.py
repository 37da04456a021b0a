"""The log files of one stream: opened, rotated, counted, and the oldest removed.

Every path is walked below a directory descriptor and no symbolic link is followed, since a
service may own the directory its files are in. A rotation is one rename to the next number:
`0.log` becomes `0.000017.log`, and later perhaps `0.000017.log.gz`. A file is never truncated and
never written to after its rename.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable

from . import gzipped

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# O_NONBLOCK: what stands in the file's place may be a FIFO that nobody reads.
_APPEND = os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_SUFFIX = ".log"
_DIGITS = 6


def rotated_name(stem: str, number: int) -> str:
    """Return the name of a file that has been rotated."""
    return f"{stem}.{number:0{_DIGITS}d}{_SUFFIX}"


def rotated_number(name: str) -> tuple[str, int] | None:
    """Return stem and number in the name of a rotated file, plain or not; None if it is none."""
    name = name.removesuffix(gzipped.SUFFIX)
    if not name.endswith(_SUFFIX):
        return None
    stem, dot, digits = name[: -len(_SUFFIX)].rpartition(".")
    if not (dot and stem and len(digits) >= _DIGITS and digits.isascii() and digits.isdecimal()):
        return None
    return stem, int(digits)


def listed(directory: int | str) -> set[str]:
    """Return the names in a directory; one that is being compressed is among them. OSError.

    A look takes a while, in which a file may have moved from a name that was not reached yet to
    one behind.
    """
    return {*os.listdir(directory), *os.listdir(directory)}


def split_id(stream: str) -> tuple[str, str]:
    """Return the directory ("" for none) and the stem of a stream's files.

    ValueError for what could lead out of the log directory.
    """
    parts = stream.split("/")
    if len(parts) > 2 or not all(_is_safe(part) for part in parts):
        raise ValueError(f"cannot name log files after {stream!r}")
    return (parts[0], parts[1]) if len(parts) == 2 else ("", parts[0])


def _is_safe(part: str) -> bool:
    return part[:1].isalnum() and part.isascii() and part.isprintable()


class LogDirectory:
    """The log directory, and which numbers were found in it when it was first looked into.

    There is one writer, so that a look is needed once for a thousand replicas of a service.
    """

    def __init__(self, path: str, moved: Callable[[], None] = lambda: None) -> None:
        """Open the directory, making it if need be; OSError.

        moved() is called when somebody has put another one into its place, or removed it; what it
        raises keeps us from going on there.
        """
        self._path = path
        self._moved = moved
        self._fd = self._made()
        self._numbers: dict[str, dict[str, list[int]]] = {}
        self._plain: set[tuple[str, str]] = set()

    def fileno(self) -> int:
        """Return the directory's descriptor."""
        return self._fd

    def open(self, name: str, *, make: bool = True) -> int:
        """Return a new descriptor of a directory below, made if it may be; "" is the top."""
        if make:
            self._follow()
            with contextlib.suppress(FileExistsError):
                os.mkdir(name or ".", 0o755, dir_fd=self._fd)
        return os.open(name or ".", _DIRECTORY, dir_fd=self._fd)

    def _made(self) -> int:
        os.makedirs(self._path, 0o755, exist_ok=True)
        return os.open(self._path, _DIRECTORY & ~os.O_NOFOLLOW)

    def _follow(self) -> None:
        """Go on in the directory that has our path now, be it that we have to make it."""
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.stat(self._path), os.fstat(self._fd)):
                return
        fd = self._made()
        try:
            self._moved()
        except BaseException:
            os.close(fd)
            raise
        os.close(self._fd)
        self._fd = fd
        self._numbers.clear()  # they were of the other
        self._plain.clear()

    def take_numbers(self, name: str, stem: str, *, anew: bool = False) -> list[int]:
        """Return the numbers of a stream's rotated files in order; the caller keeps them now.

        `anew`: whatever was known of that directory, for it may be another. OSError.
        """
        self._follow()
        if anew or name not in self._numbers:
            self._look(name)
        return self._numbers[name].pop(stem, [])

    def keep_numbers(self, name: str, stem: str, numbers: list[int]) -> None:
        """Remember a stream's numbers for when it comes back."""
        self._numbers.setdefault(name, {})[stem] = numbers

    def has_plain(self, name: str, stem: str) -> bool:
        """Tell whether there were rotated files that are not compressed when it was looked."""
        return (name, stem) in self._plain

    def _look(self, name: str) -> None:
        found: dict[str, set[int]] = {}
        try:
            directory = self.open(name, make=False)
        except FileNotFoundError:
            self._numbers[name] = {}
            return
        try:
            for entry in listed(directory):
                if known := rotated_number(entry):
                    found.setdefault(known[0], set()).add(known[1])
                    if entry.endswith(_SUFFIX):
                        self._plain.add((name, known[0]))
        finally:
            os.close(directory)
        self._numbers[name] = {stem: sorted(numbers) for stem, numbers in found.items()}


class LogFiles:
    """The files of one stream; the current one is made when it is first written to."""

    def __init__(self, top: LogDirectory, stream: str) -> None:
        """Look which rotated files there are; OSError, or ValueError for a bad name."""
        self._top = top
        self._name, self._stem = split_id(stream)
        self._rotated = top.take_numbers(self._name, self._stem)
        self.has_plain = top.has_plain(self._name, self._stem)  # rotated, and not compressed
        self._fd = -1

    @property
    def next_number(self) -> int:
        """Return the number that the current file will get."""
        return self._rotated[-1] + 1 if self._rotated else 1

    def count_anew(self) -> None:
        """Look which rotated files there are now: it may be another directory. OSError."""
        self._rotated = self._top.take_numbers(self._name, self._stem, anew=True)

    def opened(self) -> int:
        """Return the descriptor of the current file, opened for appending if it was not yet.

        OSError; also where its place is taken by a link or anything but a file of its own.
        """
        if self._fd < 0:
            self._open(make=True)
        return self._fd

    def size(self) -> int:
        """Return the size of the current file, 0 if there is none yet; OSError."""
        if self._fd < 0:
            try:
                self._open(make=False)
            except FileNotFoundError:
                return 0
        return os.fstat(self._fd).st_size

    def _open(self, *, make: bool) -> None:
        directory = self._top.open(self._name, make=make)
        try:
            flags = _APPEND | os.O_CREAT if make else _APPEND
            fd = os.open(self._stem + _SUFFIX, flags, 0o640, dir_fd=directory)
        finally:
            os.close(directory)
        known = os.fstat(fd)
        if not stat.S_ISREG(known.st_mode) or known.st_nlink > 1:
            os.close(fd)
            raise OSError(f"{self._stem}{_SUFFIX} is not a file of its own")
        self._fd = fd

    def is_gone(self) -> bool:
        """Tell whether the opened file has been removed; it is cheap to ask."""
        return self._fd >= 0 and os.fstat(self._fd).st_nlink == 0

    def is_current(self) -> bool:
        """Tell whether the opened file still has its name; somebody may have moved it away."""
        if self._fd < 0:
            return True
        with contextlib.suppress(FileNotFoundError):
            directory = self._top.open(self._name)
            try:
                named = os.stat(self._stem + _SUFFIX, dir_fd=directory, follow_symlinks=False)
            finally:
                os.close(directory)
            return os.path.samestat(named, os.fstat(self._fd))
        return False

    def ends_open(self) -> bool:
        """Tell whether the current file ends in the middle of a line; OSError."""
        size = self.size()
        if not size:
            return False
        reader = os.open(f"/proc/self/fd/{self._fd}", os.O_RDONLY | os.O_CLOEXEC)
        try:
            return os.pread(reader, 1, size - 1) != b"\n"
        finally:
            os.close(reader)

    def rotate(self, number: int) -> None:
        """Give the current file its number; the next write begins a new one. OSError."""
        self.close()
        directory = self._top.open(self._name)
        try:
            target = rotated_name(self._stem, number)
            source = self._stem + _SUFFIX
            os.rename(source, target, src_dir_fd=directory, dst_dir_fd=directory)
            self.has_plain = True
        finally:
            os.close(directory)

    def is_rotated(self, number: int) -> bool:
        """Tell whether there is a file of that number; OSError."""
        name = rotated_name(self._stem, number)
        directory = self._top.open(self._name)
        try:
            for form in (name, name + gzipped.SUFFIX):  # in this order it is under one of them
                with contextlib.suppress(FileNotFoundError):
                    os.stat(form, dir_fd=directory, follow_symlinks=False)
                    return True
        finally:
            os.close(directory)
        return False

    def prune(self, number: int, max_files: int) -> None:
        """Count `number` among the rotated; remove the oldest, to have max_files with the current.

        What cannot be removed stays: no line is held up for it.
        """
        if not self._rotated or self._rotated[-1] < number:
            self._rotated.append(number)
        excess = self._rotated[: max(len(self._rotated) - max(max_files - 1, 0), 0)]
        if not excess:
            return
        directory = self._top.open(self._name)
        for name in (rotated_name(self._stem, old) for old in excess):
            for form in (name, name + gzipped.SUFFIX):
                with contextlib.suppress(OSError):
                    os.unlink(form, dir_fd=directory)
        os.close(directory)
        del self._rotated[: len(excess)]

    def close(self) -> None:
        """Close the current file, until it is written to again."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def forget(self) -> None:
        """Close, and leave word of the numbers for when the stream comes back."""
        self.close()
        self._top.keep_numbers(self._name, self._stem, self._rotated)

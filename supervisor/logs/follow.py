"""Log files read back for people: the last lines of several streams, and what comes after them.

Streams are merged by the time stamps of their lines. New lines are told by inotify, so that
waiting costs nothing; every hint is followed by a look at the files themselves.
"""

from __future__ import annotations

import contextlib
import heapq
import os
import select
from collections.abc import Callable, Iterator, Mapping

from supervisor.records import record
from supervisor.unix import inotify

from .files import rotated_number
from .paint import Painter, as_object, plain, stamp_of
from .tail import Pattern, Tail

_MOVES = inotify.MOVED_FROM | inotify.MOVED_TO
_ITSELF = inotify.MOVE_SELF | inotify.ONLYDIR
_CHANGES = inotify.MODIFY | inotify.CREATE | inotify.DELETE | _MOVES | _ITSELF
_LOOK_AGAIN = 1.0  # seconds; while a directory is missing nobody can tell that it is back
SOURCE_GONE = select.POLLERR | select.POLLHUP | select.POLLNVAL


@record(frozen=True)
class Choice:
    """Which lines are shown."""

    last: int | None = None  # so many of each stream; None: all there are
    follow: bool = False  # and then those to come
    wanted: Pattern | None = None  # only those in which it is found
    since: bytes = b""  # of the earlier ones, only those of that time or later
    as_json: bool = False  # an object for each, instead of its text


class Follower:
    """Several streams, of which it is told which have news."""

    def __init__(self) -> None:
        """OSError where the user has too many inotify instances."""
        self.tails: dict[str, Tail] = {}
        self._inotify = inotify.Inotify()
        self._folders: dict[int, str] = {}
        self._above: dict[int, str] = {}  # the directories above those
        self._missing: set[str] = set()  # watched directories that are no more, or perhaps not
        self._streams: dict[str, str] = {}  # path of the current file: stream

    def fileno(self) -> int:
        """Return the descriptor that is readable when there may be news."""
        return self._inotify.fileno()

    def patience(self) -> float | None:
        """Return the seconds after which to ask for news though nothing was told; None: never."""
        return _LOOK_AGAIN if self._missing else None

    def watch(self, folder: str) -> None:
        """Be told of changes in a directory; one that is not there is not watched. OSError."""
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            self._folders[self._inotify.add(folder, _CHANGES)] = folder
            self._missing.discard(folder)
            above = os.path.dirname(folder)
            with contextlib.suppress(OSError):  # not to be read: then it is not told of
                self._above[self._inotify.add(above, _ITSELF | inotify.MASK_ADD)] = above

    def add(self, stream: str, path: str, since: tuple[int, int] | None = None) -> Tail:
        """Follow a stream from a position, see Tail."""
        self._streams[path] = stream
        self.tails[stream] = tail = Tail(path, since)
        return tail

    def news(self) -> tuple[set[str], set[str]]:
        """Return the streams that may have new lines, and paths that belong to none of them."""
        streams, others = self._found_again()
        for watch, mask, name in self._inotify.read():
            if mask & inotify.OVERFLOW:
                return set(self.tails), {*self._folders.values()}
            folder = self._folders.get(watch)
            if mask & inotify.MOVE_SELF:
                if path := folder or self._above.get(watch):
                    self._moved_away(path)
                continue
            # The end of a directory is told when the last of its files is closed, and by ourselves.
            if folder is not None and mask & (inotify.DELETE | inotify.IGNORED):
                self._missing.add(folder)
            if folder is None or not name or mask & inotify.DELETE:
                continue
            known = rotated_number(name)
            path = os.path.join(folder, f"{known[0]}.log" if known else name)
            if path in self._streams:
                streams.add(self._streams[path])
            else:
                others.add(path)
        return streams, others

    def _moved_away(self, path: str) -> None:
        """Forget a directory that has another name now, and those below; look for others there."""
        for watches in (self._folders, self._above):
            for watch, each in list(watches.items()):
                if each == path or each.startswith(f"{path}/"):
                    self._inotify.remove(watch)
                    del watches[watch]
                    if watches is self._folders:
                        self._missing.add(each)

    def _found_again(self) -> tuple[set[str], set[str]]:
        """Watch the directories that are back; return their streams, and themselves."""
        back: set[str] = set()
        for folder in sorted(self._missing):
            self.watch(folder)
            if folder not in self._missing:
                back.add(folder)
        known = self._streams.items()
        return {stream for path, stream in known if os.path.dirname(path) in back}, back

    def close(self) -> None:
        """Follow nothing any more."""
        for tail in self.tails.values():
            tail.close()
        self._inotify.close()


def merged(lines: Mapping[str, list[bytes]]) -> Iterator[tuple[str, bytes]]:
    """Yield (stream, line) in the order of the time stamps.

    A line without one stays behind the line before it.
    """
    for _, _, stream, line in heapq.merge(
        *(_dated(stream, number, lines[stream]) for number, stream in enumerate(lines)),
        key=lambda dated: dated[:2],
    ):
        yield stream, line


def _dated(stream: str, number: int, lines: list[bytes]) -> Iterator[tuple[bytes, int, str, bytes]]:
    stamp = b""
    for line in lines:
        stamp = stamp_of(line) or stamp
        yield stamp, number, stream, line


def show(
    streams: Mapping[str, str], choice: Choice, out: int, colour: bool, say: Callable[[str], None]
) -> int:
    """Print streams, given by id and path, to a descriptor; return the exit code.

    Following ends when nobody reads the output any more, or by a signal of the caller's. On a
    terminal nothing that a service says has an effect but to be read; elsewhere lines go as they
    are. Where there are several streams each line tells whose it is. say() is told in words what
    cannot be shown.
    """
    follower = Follower()
    try:
        for folder in {os.path.dirname(path) for path in streams.values()}:
            follower.watch(folder)
        tails = {stream: follower.add(stream, path) for stream, path in streams.items()}
        view = _View(out, colour, dict(streams), choice, say)
        earlier = {s: _earlier(s, tail, choice, say) for s, tail in tails.items()}
        view.print(merged(earlier))
        if choice.follow:
            _follow(follower, view)
        else:
            _print_open_lines(tails, view)
    except BrokenPipeError:
        return 0
    finally:
        follower.close()
    return 0


def _earlier(stream: str, tail: Tail, choice: Choice, say: Callable[[str], None]) -> list[bytes]:
    if choice.since and not tail.has_times():
        say(f"cannot tell when the lines of {stream} were written (log.format: raw): none is shown")
        return []
    return tail.last(choice.last, choice.wanted, choice.since)


def _print_open_lines(tails: Mapping[str, Tail], view: _View) -> None:
    for stream, tail in tails.items():
        lines = tail.lines()
        view.print((stream, line) for line in [*lines, tail.rest()] if line)


def _follow(follower: Follower, view: _View) -> None:
    poll = select.poll()
    poll.register(follower, select.POLLIN)
    poll.register(view.out, 0)
    streams = set(follower.tails)  # what came between the last lines and the first event
    while True:
        for stream in sorted(streams):
            tail = follower.tails[stream]
            while lines := tail.lines():
                view.print((stream, line) for line in lines)
            if tail.lost:
                view.say(
                    f"{stream}: {tail.lost} files of the log were removed before they were shown"
                )
                tail.lost = 0
        patience = follower.patience()
        ready = poll.poll(None if patience is None else patience * 1000)
        if any(mask & SOURCE_GONE for fd, mask in ready if fd == view.out):
            return
        streams, others = follower.news()
        for path in others:
            if os.path.isdir(path):
                follower.watch(path)


class _View:
    """Prints the lines that are wanted."""

    def __init__(
        self,
        out: int,
        colour: bool,
        streams: dict[str, str],
        choice: Choice,
        say: Callable[[str], None],
    ) -> None:
        self.out = out
        self.say = say
        self._wanted = choice.wanted
        self._as_json = choice.as_json
        self._escaped = os.isatty(out)
        self._painter = Painter(colour) if len(streams) > 1 else None
        for stream in streams:
            if self._painter:
                self._painter.meet(stream)

    def print(self, lines: Iterator[tuple[str, bytes]]) -> None:
        """Write them, as many at once as there are; BrokenPipeError if nobody reads."""
        out = b"".join(
            self._painted(stream, line)
            for stream, line in lines
            if self._wanted is None or self._wanted.search(line)
        )
        while out:
            out = out[os.write(self.out, out) :]

    def _painted(self, stream: str, line: bytes) -> bytes:
        if self._as_json:
            return as_object(stream, line)
        if self._painter:
            if self._escaped:
                return self._painter.paint(stream, plain(line))
            return self._painter.paint(stream, "")[:-1] + line + b"\n"
        return plain(line).encode() + b"\n" if self._escaped else line + b"\n"

"""What a foreground keepd shows: the log files as they grow, each line with its stream's name.

A process of its own that only reads files. A terminal that is slow, or stopped by Ctrl-S, makes
this one lag, and in the end skip lines and say so; no service and no other part of keepd ever
waits for it.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import stat
import time
from collections.abc import Mapping

from supervisor.unix.poller import Poller
from supervisor.unix.private import make_folders
from supervisor.unix.signals import SignalPipe

from .files import rotated_number
from .follow import Follower
from .paint import Painter, plain, text_of

_FAR_BEHIND = 4 << 20  # bytes; who lags more is not shown all
_STILL_SHOWN = 65_536  # bytes, then
_LAST_WORDS = 2.0  # seconds for the terminal to take what is left
_CHUNK = 4096


Marks = Mapping[str, tuple[int, int]]  # positions by stream, as Tail has them


def marks(log_dir: str) -> Marks:
    """Return where the logs end now: what is there is not new."""
    return _logs(log_dir)


def main(log_dir: str, out_fd: int, colour: bool, since: Marks | None = None) -> int:
    """Show what is written into the logs from now on, or from `since` on, until SIGTERM.

    `since` are the marks() of a moment before the first service was started.
    """
    return _Terminal(log_dir, out_fd, colour).run(marks(log_dir) if since is None else since)


def _logs(folder: str, service: str = "") -> dict[str, tuple[int, int]]:
    """Return the streams that have files in a directory, and where they end."""
    found: dict[str, tuple[int, int]] = {}
    sizes: dict[str, int] = {}
    for entry in _entries(folder):
        if entry.is_dir(follow_symlinks=False) and not service:
            found |= _logs(entry.path, entry.name)
        elif (known := rotated_number(entry.name)) or entry.name.endswith(".log"):
            stem, number = known or (entry.name.removesuffix(".log"), 0)
            stream = f"{service}/{stem}" if service else stem
            found[stream] = max(found.get(stream, (1, 0)), (number + 1, 0))
            if known is None:
                with contextlib.suppress(FileNotFoundError):  # rotated since the look
                    sizes[stream] = entry.stat(follow_symlinks=False).st_size
    return {stream: (number, sizes.get(stream, size)) for stream, (number, size) in found.items()}


def _entries(folder: str) -> list[os.DirEntry[str]]:
    try:
        return sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError:  # not there yet, or gone again
        return []


class _Terminal:
    def __init__(self, log_dir: str, out_fd: int, colour: bool) -> None:
        make_folders(log_dir, 0o755)
        self._log_dir = log_dir
        self._out = _unblocked(out_fd)
        self._buffer = bytearray()
        self._painter = Painter(colour)
        self._follower = Follower()
        self._fresh: dict[str, None] = {}  # streams that may have new lines, in turn
        self._poller = Poller()
        self._signals = SignalPipe((signal.SIGTERM,))
        self._poller.watch(self._signals.fileno(), lambda _: None)
        self._poller.watch(self._follower.fileno(), lambda _: self._look())
        self._gone = False  # the terminal
        self._waiting = -1  # for which events of the terminal
        self._watch_out(0)

    def run(self, since: Marks) -> int:
        self._discover(since)
        self._pump()
        while not self._gone and not self._signals.take():
            patience = self._follower.patience()
            self._poller.wait(0 if self._fresh and not self._buffer else patience)
            if patience is not None:
                self._look()
            self._pump()
        self._discover({})
        self._fresh = dict.fromkeys(self._follower.tails)
        end = time.monotonic() + _LAST_WORDS
        while (self._fresh or self._buffer) and not self._gone and time.monotonic() < end:
            self._pump()
            self._poller.wait(0 if not self._buffer else end - time.monotonic())
        self._end()
        return 0

    def _look(self) -> None:
        streams, others = self._follower.news()
        self._fresh.update(dict.fromkeys(sorted(streams)))
        for path in others:
            self._meet(path)

    def _discover(self, since: Marks) -> None:
        """Watch the directories there are, then follow the logs in them that are not known."""
        self._follower.watch(self._log_dir)
        for entry in _entries(self._log_dir):
            if entry.is_dir(follow_symlinks=False):
                self._follower.watch(entry.path)
        for stream in _logs(self._log_dir):
            self._add(stream, since.get(stream, (0, 0)))

    def _meet(self, path: str) -> None:
        """Follow what is new at a path: a log, or those in a directory."""
        if path == self._log_dir:  # it is back
            self._discover({})
        elif os.path.isdir(path):
            self._follower.watch(path)
            for stream in _logs(path, os.path.basename(path)):
                self._add(stream, (0, 0))
        elif path.endswith(".log") and not rotated_number(os.path.basename(path)):
            self._add(os.path.relpath(path, self._log_dir).removesuffix(".log"), (0, 0))

    def _add(self, stream: str, since: tuple[int, int]) -> None:
        if stream not in self._follower.tails:
            self._follower.add(stream, os.path.join(self._log_dir, f"{stream}.log"), since)
            self._painter.meet(stream)
            self._fresh[stream] = None

    def _pump(self) -> None:
        """Take new lines of each stream in turn, as long as the terminal takes them."""
        while self._flush() and self._fresh:
            stream = next(iter(self._fresh))
            del self._fresh[stream]
            if self._show(stream):
                self._fresh[stream] = None  # behind the others

    def _show(self, stream: str) -> bool:
        tail = self._follower.tails[stream]
        if tail.behind() > _FAR_BEHIND:
            skipped = tail.skip(_STILL_SHOWN)
            self._buffer += self._painter.paint(stream, f"… {skipped} lines skipped")
        lines, lost = tail.lines(), tail.lost
        if lost:
            tail.lost = 0
            text = f"… lines skipped: {lost} of the log's files are gone already"
            self._buffer += self._painter.paint(stream, text)
        for line in lines:
            self._buffer += self._painted(stream, line)
        return bool(lines)

    def _painted(self, stream: str, line: bytes) -> bytes:
        texts = text_of(line).split(b"\n")  # of a record with an exception
        return b"".join(self._painter.paint(stream, plain(text)) for text in texts)

    def _flush(self) -> bool:
        """Write what the terminal takes; tell whether it has taken all."""
        try:
            while self._buffer:
                del self._buffer[: os.write(self._out, self._buffer[:_CHUNK])]
        except BlockingIOError:
            self._watch_out(select.EPOLLOUT)
            return False
        except OSError:  # nobody looks any more
            self._gone = True
            return False
        self._watch_out(0)
        return True

    def _watch_out(self, events: int) -> None:
        """Wait until the terminal takes more, and in any case until it is gone."""
        if events != self._waiting:
            self._waiting = events
            with contextlib.suppress(PermissionError):  # a file: always ready, never gone
                self._poller.watch(self._out, self._look_at_out, events)

    def _look_at_out(self, events: int) -> None:
        if events & (select.EPOLLERR | select.EPOLLHUP):
            self._gone = True

    def _end(self) -> None:
        for stream, tail in self._follower.tails.items():
            if rest := tail.rest():
                self._buffer += self._painted(stream, rest)
        self._flush()
        self._follower.close()
        self._poller.close()
        self._signals.close()


def _unblocked(fd: int) -> int:
    """Return a non-blocking descriptor of the same terminal or pipe, if it can be had.

    Not by a flag on `fd`: that would be set for the operator's shell as well.
    """
    mode = os.fstat(fd).st_mode
    if stat.S_ISCHR(mode) or stat.S_ISFIFO(mode):
        flags = os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
        try:
            return os.open(f"/proc/self/fd/{fd}", flags)
        except OSError:  # a terminal of somebody else's
            return fd
    return fd

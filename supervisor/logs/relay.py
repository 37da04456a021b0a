"""The master's side of the log path: a FIFO for each run, and word of it to the log writer.

The FIFO is opened for reading and writing, so that a service always has a reader: it meets no
EPIPE, and what it has said is kept while the writer is dead, at the price of waiting when the FIFO
is full. Each FIFO stays open here until the writer says that it is drained. The master never waits
for the writer, and never for room in a pipe.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import signal
import socket
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from supervisor.core.spec import Log, LogTo, OnFull
from supervisor.ipc.pidfd import open_pidfd, send_signal
from supervisor.records import record
from supervisor.unix.lines import LineConnection
from supervisor.unix.poller import Poller
from supervisor.unix.private import make_folders

from . import side
from .side import Side, open_fifo

KEEPD = "keepd"  # the stream of keepd's own events

_F_SETPIPE_SZ = 1031
_ROOM = 1 << 20
_ROOM_FOR = 64  # streams; beyond, an unprivileged user is soon out of pipe memory
_SHORTAGES = {errno.EMFILE, errno.ENFILE, errno.ENOMEM}
_LONGEST_EVENT = 4000  # bytes; up to PIPE_BUF a write is whole or not at all


def _raise_shortage(error: OSError) -> None:
    if error.errno in _SHORTAGES:
        raise error


@record()
class _Run:
    fd: int
    path: str
    rules: Mapping[str, Any]
    ended: bool = False
    position: tuple[int, int] | None = None
    side: Side | None = None  # for its records


class Keeping(Protocol):
    """Who keeps descriptors open beyond our death."""

    def keep(self, name: str, fd: int) -> None:
        """Keep one; it stays ours as well."""

    def drop(self, name: str) -> None:
        """Keep it no longer."""


class LogRelay:
    """What is printed by runs, on its way to the writer that is attached now, if any."""

    def __init__(
        self,
        poller: Poller,
        place: tuple[str, str],
        trouble: Callable[[str], None],
        keeping: Keeping,
    ) -> None:
        """Open the stream of keepd's own events; OSError. trouble(text) is told in words.

        `place` is run_dir and log_dir.
        """
        run_dir, log_dir = place
        self._keeping = keeping
        self.opened: Callable[[str, int, tuple[int, int]], None] | None = None
        self.writer_pid: int | None = None
        self._poller = poller
        self._run_dir = run_dir
        self._log_dir = log_dir
        self._trouble = trouble
        self._writer: LineConnection | None = None
        self._runs: dict[tuple[str, int], _Run] = {}
        self._done: Callable[[], None] | None = None
        self._dropped = 0
        self._null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        path = os.path.join(run_dir, "events.fifo")
        fd = open_fifo(path, os.O_NONBLOCK)
        self._runs[KEEPD, 1] = _Run(fd, path, _rules(Log()))
        keeping.keep(f"fifo {KEEPD}.1", fd)

    def recover(self, rules: Mapping[str, Log]) -> list[tuple[str, int]]:
        """Open the FIFOs that an earlier master has left; return whose they are: (id, run).

        OSError where there is no room for them now: what is in them must not be passed over.
        """
        named: list[tuple[str, int, str]] = []
        root = os.path.join(self._run_dir, "fifo")
        for folder, _, names in os.walk(root, onerror=_raise_shortage):
            for name in names:
                path = os.path.join(folder, name)
                id_, _, run = os.path.relpath(path, root).rpartition(".")
                if id_ and run.isdecimal():
                    named.append((id_, int(run), path))
        found: list[tuple[str, int]] = []
        for id_, number, path in sorted(named):  # the writer hears of them in this order
            try:
                self._recover(id_, number, path, rules)
                found.append((id_, number))
            except OSError as error:  # no FIFO, or not ours to open
                _raise_shortage(error)
        return found

    def _recover(self, id_: str, run: int, path: str, rules: Mapping[str, Log]) -> None:
        fd = open_fifo(path, os.O_NONBLOCK)
        known = self._runs[id_, run] = _Run(fd, path, _rules(rules.get(id_, Log())))
        self._keeping.keep(f"fifo {id_}.{run}", fd)
        if found_side := side.found(self._run_dir, id_, run):
            known.side = found_side
            self._keeping.keep(f"fifo {id_}.{run}.records", found_side.fd)

    def attach(self, sock: socket.socket) -> None:
        """Speak to a new log writer: it is told all that is not drained yet."""
        if self._writer:
            self._writer.close()
        self._writer = LineConnection(sock, self._poller, self._heard, self._lost)
        for (name, number), run in self._runs.items():
            self._tell_open(name, number, run)
            self._tell_records(name, number, run)
            if run.ended:
                self._writer.send({"end": name, "run": number})

    def open(self, id: str, run: int, log: Log) -> int:  # noqa: A002 - the word for it everywhere
        """Return the descriptor that becomes stdout and stderr of a run; it stays ours.

        OSError if there can be none.
        """
        if log.to == LogTo.NONE:
            return self._null
        known = self._runs.get((id, run))
        if known is None:
            path = os.path.join(self._run_dir, "fifo", f"{id}.{run}")
            make_folders(os.path.dirname(path), 0o700)
            known = _Run(open_fifo(path), path, _rules(log))
            if len(self._runs) < _ROOM_FOR:
                with contextlib.suppress(OSError):  # the default will do
                    fcntl.fcntl(known.fd, _F_SETPIPE_SZ, _ROOM)
            self._runs[id, run] = known
            self._keeping.keep(f"fifo {id}.{run}", known.fd)
            self._tell_open(id, run, known)
        return known.fd

    def fifo(self, id: str, run: int) -> int | None:  # noqa: A002 - as above
        """Return the descriptor of a run's FIFO, if it has one that is not drained."""
        known = self._runs.get((id, run))
        return known.fd if known else None

    @property
    def attached(self) -> bool:
        """Return whether a log writer hears us."""
        return self._writer is not None

    def fifos(self) -> dict[str, int]:
        """Return the FIFOs of all runs that are not drained, by the name they are kept by."""
        runs = self._runs.items()
        fifos = {f"fifo {id_}.{number}": run.fd for (id_, number), run in runs}
        sides = {f"fifo {i}.{n}.records": run.side.fd for (i, n), run in runs if run.side}
        return {**fifos, **sides}

    def end_writer(self) -> None:
        """KILL the log writer that is attached: what it is at its successor completes."""
        if self.writer_pid is not None and self._writer is not None and self._writer.is_open:
            with contextlib.suppress(OSError):  # gone, or no descriptor left: it ends with its line
                pidfd = open_pidfd(self.writer_pid)
                send_signal(pidfd, signal.SIGKILL)
                os.close(pidfd)

    def records(self, id: str, run: int, uid: int | None) -> str:  # noqa: A002 - as above
        """Return the path of a FIFO for the records of a run, for us or the user with this uid.

        "" for a run whose words are not written. OSError if there can be none.
        """
        known = self._runs.get((id, run))
        if known is None:
            return ""
        if known.side is None:
            known.side = side.made(self._run_dir, id, run, uid)
            self._keeping.keep(f"fifo {id}.{run}.records", known.side.fd)
            self._tell_records(id, run, known)
        return known.side.path

    def end(self, id: str, run: int) -> None:  # noqa: A002 - as above
        """Let a run's log be completed: no process of it is left, or none was born."""
        known = self._runs.get((id, run))
        if known and not known.ended:
            known.ended = True
            if self._writer:
                self._writer.send({"end": id, "run": run})

    def change(self, id: str, log: Log) -> None:  # noqa: A002 - as above
        """Let what a replica's runs print be written by other rules from now on."""
        rules = _rules(log)
        for (name, number), run in self._runs.items():
            if name == id and not run.ended and run.rules != rules:
                run.rules = rules
                self._tell_open(name, number, run)

    def position(self, id: str, run: int) -> tuple[int, int] | None:  # noqa: A002 - as above
        """Return where a run's words begin; None: not known yet, or nothing is written.

        (number its file will get when it is rotated, offset in that file).
        """
        known = self._runs.get((id, run))
        return known.position if known else None

    def path(self, id: str) -> str:  # noqa: A002 - as above
        """Return the file that a stream is written to at present."""
        return os.path.join(self._log_dir, f"{id}.log")

    def say(self, text: str) -> None:
        """Write one line of keepd's own events; never waits: what finds no room is counted."""
        known = self._runs.get((KEEPD, 1))
        if known is None or known.ended:
            return
        if self._dropped and not _say(known.fd, f"{self._dropped} events could not be written"):
            self._dropped += 1
            return
        self._dropped = 0 if _say(known.fd, text) else 1

    def finish(self, done: Callable[[], None]) -> None:
        """Call done() when every run has ended and is in its file, keepd's own events last."""
        self._done = done
        self._go_on_finishing()

    def close(self) -> None:
        """Let go of everything as it is: FIFOs that are not drained stay for a successor."""
        if self._writer:
            self._writer.close()
            self._writer = None
        for run in self._runs.values():
            os.close(run.fd)
            if run.side:
                os.close(run.side.fd)
        self._runs.clear()
        os.close(self._null)

    def _tell_open(self, name: str, number: int, run: _Run) -> None:
        if self._writer:
            told = {"open": name, "run": number, "fifo": run.path, "log": run.rules}
            self._writer.send(told)

    def _tell_records(self, name: str, number: int, run: _Run) -> None:
        if self._writer and run.side:
            self._writer.send({"records": run.side.path, "of": name, "run": number})

    def _heard(self, message: dict[str, Any]) -> None:
        match message:
            case {"hello": int(pid)}:
                self.writer_pid = pid
            case {"opened": str(name), "run": int(number), "index": int(index), "size": int(size)}:
                self._begun(name, number, (index, size))
            case {"drained": str(name), "run": int(number)}:
                self._drained(name, number)
            case {"trouble": str(text)}:
                self._trouble(text)
            case _:
                self._trouble(f"cannot understand the log writer: {message}")

    def _begun(self, name: str, number: int, position: tuple[int, int]) -> None:
        run = self._runs.get((name, number))
        if run and run.position is None:
            run.position = position
            if self.opened:
                self.opened(name, number, position)

    def _drained(self, name: str, number: int) -> None:
        run = self._runs.pop((name, number), None)
        if run is None:
            return
        os.close(run.fd)
        self._keeping.drop(f"fifo {name}.{number}")
        with contextlib.suppress(OSError):  # a name that is left does no harm
            os.unlink(run.path)
        if run.side:
            self._keeping.drop(f"fifo {name}.{number}.records")
            run.side.remove()
        self._go_on_finishing()

    def _go_on_finishing(self) -> None:
        if self._done is None:
            return
        if set(self._runs) == {(KEEPD, 1)}:
            self.end(KEEPD, 1)
        elif not self._runs:
            done, self._done = self._done, None
            if self._writer:
                self._writer.send({"quit": True})
            done()

    def _lost(self) -> None:
        self._writer = None
        self.writer_pid = None


def _rules(log: Log) -> dict[str, Any]:
    return {
        "format": log.format.value,
        "max_size": log.max_size,
        "max_files": log.max_files,
        "max_line": log.max_line,
        "rate": log.rate or 0,
        "compress": log.compress,
        "drop": log.on_full is OnFull.DROP,
    }


def _say(fd: int, text: str) -> bool:
    line = text.replace("\n", "\\n").encode("utf-8", "backslashreplace")
    try:
        os.write(fd, line[:_LONGEST_EVENT] + b"\n")
    except BlockingIOError:
        return False
    return True

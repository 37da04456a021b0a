"""What a Python service may say to keepd: that it is ready, that it lives, how it is, and its logs.

    from supervisor import worker

    logging.basicConfig(level="INFO", handlers=[worker.Handler()])
    worker.ready()
    while working():
        worker.beat()

Harmless anywhere else: without a supervisor that listens nothing happens, and logs go to stderr.
Nothing but the standard library, and nothing else of keepd, is needed: the file may be copied.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import select
import socket
import sys
from collections.abc import Mapping

RECORDS = "KEEPD_RECORDS"  # the variable with the path of our FIFO for records: `records: true`
LONGEST = 65_536  # bytes; what is longer, keepd takes for a text
_SHORT, _SHORTER = 6_000, 800  # characters of each text, if the whole is too long
_PLAIN = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}
_SURROGATES = re.compile("[\ud800-\udfff]")


def ready() -> bool:
    """Say that the service can do its work (`ready: {notify: true}`); tell whether it was heard."""
    return _notify("READY=1")


def beat() -> bool:
    """Say that it does its work (`watchdog:`); from the loop that does it, not from a thread."""
    return _notify("WATCHDOG=1")


def status(text: str) -> bool:
    """Say in words how it is, for `keepd status`; nothing else is done with it."""
    return _notify("STATUS=" + " ".join(text.split()))


def stopping() -> bool:
    """Say that it is about to end. keepd knows without; other supervisors may like to hear it."""
    return _notify("STOPPING=1")


def _notify(text: str) -> bool:
    """Send a datagram as sd_notify(3) does; never raises, never waits."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return False
    if address.startswith("@"):
        address = "\0" + address[1:]
    with (
        contextlib.suppress(OSError),
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock,
    ):
        data = text.encode("utf-8", "backslashreplace")
        sock.sendto(data, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL, address)
        return True
    return False


class Handler(logging.Handler):
    """Sends records with level, logger, exception and extra fields to the service's log.

    With `log: {records: true}`; otherwise they go to stderr as lines of text. Waits while nobody
    takes them, as print() does. What is too long is shortened, and says so.
    """

    def __init__(self, level: int | str = logging.NOTSET) -> None:
        super().__init__(level)
        self._fd = -1
        self._inode = (0, 0)
        if path := os.environ.get(RECORDS):
            with contextlib.suppress(OSError):
                # For both directions: so it has a reader, whoever of keepd is dead just now.
                self._fd = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
                self._inode = _inode(self._fd)

    def emit(self, record: logging.LogRecord) -> None:
        """Send a record; what goes wrong is logging's to tell of, see logging.raiseExceptions."""
        try:
            if self._is_open():
                self._send(_line(self._told(record)))
            else:
                self._print(record)
        except Exception:  # noqa: BLE001 - as every handler does: no record may end its service
            self.handleError(record)

    def close(self) -> None:
        """Send nothing more by the FIFO."""
        with self.lock or contextlib.nullcontext():
            if self._is_open():
                os.close(self._fd)
            self._fd = -1
        super().close()

    def _is_open(self) -> bool:
        """Tell whether the descriptor is still ours: some programs close all that they find."""
        with contextlib.suppress(OSError):
            return self._fd >= 0 and _inode(self._fd) == self._inode
        return False

    def _told(self, record: logging.LogRecord) -> dict[str, object]:
        told: dict[str, object] = {
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        formatter = self.formatter or _FORMATTER
        traces = [formatter.formatException(record.exc_info)] if record.exc_info else []
        if record.stack_info:
            traces.append(formatter.formatStack(record.stack_info))
        if traces:
            told["exception"] = "\n".join(traces)
        if fields := {k: v for k, v in record.__dict__.items() if k not in _PLAIN}:
            told["fields"] = fields
        return told

    def _send(self, line: bytes) -> None:
        # What another process of this service was killed in the middle of is ended by the newline.
        rest = memoryview(b"\n" + line + b"\n")
        while rest:
            try:
                rest = rest[os.write(self._fd, rest) :]
            except BlockingIOError:
                poll = select.poll()
                poll.register(self._fd, select.POLLOUT)
                poll.poll()

    def _print(self, record: logging.LogRecord) -> None:
        formatter = self.formatter or _FORMATTER
        sys.stderr.write(formatter.format(record) + "\n")
        sys.stderr.flush()


_FORMATTER = logging.Formatter("%(levelname)s %(name)s: %(message)s")


def _inode(fd: int) -> tuple[int, int]:
    known = os.fstat(fd)
    return known.st_dev, known.st_ino


def _line(told: dict[str, object]) -> bytes:
    """Return a record as a line that is not too long."""
    for longest in (0, _SHORT, _SHORTER):
        line = _json(_shortened(told, longest) if longest else told)
        if len(line) < LONGEST:
            return line
    return _json({"message": _short(str(told["message"]), _SHORTER)})


def _json(told: Mapping[str, object]) -> bytes:
    try:
        text = _dumped(told)
    except (TypeError, ValueError, RecursionError):  # a key, a NaN or a circle that JSON has not
        fields = told.get("fields")
        fields = dict(fields) if isinstance(fields, dict) else {}
        text = _dumped({**told, "fields": {str(key): repr(fields[key]) for key in fields}})
    return _SURROGATES.sub(lambda found: f"\\\\u{ord(found[0]):04x}", text).encode()


def _dumped(told: Mapping[str, object]) -> str:
    return json.dumps(told, default=str, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _shortened(told: dict[str, object], longest: int) -> dict[str, object]:
    """Return a record whose texts are so long at most; of a traceback the end is kept."""
    short: dict[str, object] = {key: _short(str(told[key]), longest) for key in told}
    if exception := told.get("exception"):
        short["exception"] = _short(str(exception)[::-1], longest)[::-1]
    if isinstance(fields := told.get("fields"), dict):
        some = list(fields.items())[:20]
        short["fields"] = {_short(str(k), 80): _short(str(v), longest // 20) for k, v in some}
    return short


def _short(text: str, longest: int) -> str:
    return text if len(text) <= longest else text[: longest - 1] + "…"

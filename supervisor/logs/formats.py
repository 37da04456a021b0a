"""How the bytes of a service become the bytes of its log files.

Pure: the same batch, place, rules and time always give the same pieces, whoever asks. On that the
promise rests that a batch which a killed writer has left half written is completed by its
successor with nothing lost, doubled or torn. Nothing here opens, reads or writes a file.
"""

from __future__ import annotations

import time
from itertools import groupby
from typing import cast

from supervisor.records import record, replace

from . import objects, rate, structured

# Ends the piece of a line that is longer than max_line; the rest of it follows as a line.
CONTINUES = b" [keepd: line continues]\n"
# Ends a line whose service died, or closed its output, in the middle of it.
UNFINISHED = b" [keepd: no newline at the end]\n"

Piece = tuple[bytes | memoryview, ...]  # what goes into one file, to be written in this order


@record(frozen=True)
class Place:
    """Where a stream stands between two batches."""

    index: int = 1  # the number the current file will get when it is rotated
    size: int = 0  # bytes in the current file
    column: int = 0  # bytes of the line that is still open in it; 0: it ends with a whole line
    json: bool = False  # the open line is an object
    rest: bytes = b""  # of that line: the beginning of a character, not written yet
    told: tuple[int, int] = (0, 0)  # lines and bytes of the loss that the log tells of
    quota: rate.Quota = rate.Quota()
    feed: structured.Feed = structured.Feed()


@record(frozen=True)
class Rules:
    """What the configuration says about a stream's files; sizes are bytes."""

    format: str = "text"  # or json, or raw
    max_size: int = 50_000_000
    max_files: int = 10
    max_line: int = 65_536
    compress: bool = False  # rotated files; no batch depends on it
    drop: bool = False  # what cannot be written; neither does it on this
    rate: int = 0  # lines a second; 0: all there are


@record(frozen=True)
class Loss:
    """All that was dropped of a stream since it has been known."""

    lines: int = 0
    size: int = 0  # in bytes
    torn: bool = False  # the last line was dropped only in part: its rest is still to come

    def and_also(self, data: bytes) -> Loss:
        """Return the loss with more bytes dropped."""
        lines = self.lines + data.count(b"\n")
        return Loss(lines, self.size + len(data), not data.endswith(b"\n"))


@record(frozen=True)
class Batch:
    """All that decides how one batch is written, beside its bytes."""

    place: Place
    rules: Rules
    micros: int  # since the epoch, UTC
    closing: bool = False  # no bytes: the run is over, the open line is to be ended
    source: tuple[str, int] = ("", 0)  # whose words they are: id of the stream, run
    loss: Loss = Loss()  # of what came before these bytes
    records: bool = False  # its bytes are of the FIFO for records


def stamp(micros: int) -> bytes:
    """Return a time as lines begin with it: RFC 3339, UTC."""
    seconds, rest = divmod(micros, 1_000_000)
    return b"%d-%02d-%02dT%02d:%02d:%02d.%06dZ" % (*time.gmtime(seconds)[:6], rest)


def render(data: bytes, batch: Batch) -> tuple[list[Piece], Place]:
    """Return what is to be written, a piece for each file, and where the stream stands then.

    The first piece goes to the current file; between two pieces the file is rotated.
    """
    if batch.records:
        return _render_records(data, batch)
    place, told = batch.place, batch.place.told
    lost = told != (batch.loss.lines, batch.loss.size)
    begun = place.column > 0 and not lost
    muted, quota = rate.told(place.quota, batch.micros, batch.rules.rate, now=lost or batch.closing)
    notice = b""
    if lost:
        data, notice, told = _noticed(data, batch)
        if not notice:
            return [], replace(place, told=told)
        quota = replace(quota, inside=False)  # what came last was lost
    elif place.column and place.json != (batch.rules.format == "json") and not batch.closing:
        # The format has been changed in the middle of the line: the rest of it is another piece.
        notice = _parted(place)
    if muted:
        notice = _also_muted(muted, notice, batch)
    if notice:
        batch = _behind_line(batch)
    if not batch.closing:
        data, quota = rate.kept(data, quota, batch.rules.rate, begun=begun)
    prefix, text, end, column, rest = _closed(batch) if batch.closing else _lines(data, batch)
    prefix = notice + prefix
    pieces, index, size = _filed(prefix, text, end, batch)
    is_json = column > 0 and batch.rules.format == "json"
    return pieces, Place(index, size, column, is_json, rest, told, quota, _torn(batch, lost))


def _render_records(data: bytes, batch: Batch) -> tuple[list[Piece], Place]:
    """Do the same for records: they come as whole lines, between those that are printed."""
    place, limit = batch.place, batch.rules.rate
    lost = place.told != (batch.loss.lines, batch.loss.size)
    units, feed = structured.read(data, _torn(batch, lost))
    if not units:
        return [], replace(place, feed=feed)
    if (feed.broken or batch.closing) and isinstance(units[-1], bytes):  # not the end of its line
        units[-1] += (UNFINISHED if batch.closing else CONTINUES)[:-1]
    lost = lost and not batch.loss.torn  # else the rest of what was printed is to be told of too
    muted, quota = rate.told(place.quota, batch.micros, limit, now=lost or batch.closing)
    units, quota = (units, quota) if batch.closing else rate.first(units, quota, limit)
    notice = b""
    if lost:
        _, notice, _ = _noticed(b"", batch)
    elif place.column and units:
        notice = _parted(place)
    if muted:
        notice = _also_muted(muted, notice, batch)
    if not notice and not units:
        return [], replace(place, quota=quota, feed=feed)
    told = (batch.loss.lines, batch.loss.size) if lost else place.told
    batch = _behind_line(batch)
    text = notice + _text(units, batch)
    pieces, index, size = _filed(b"", text, len(text), batch)
    return pieces, Place(index, size, 0, False, b"", told, quota, feed)


def _torn(batch: Batch, lost: bool) -> structured.Feed:
    """Return what is there of a record; with a loss behind it, it is none any more."""
    feed = batch.place.feed
    return replace(feed, broken=True) if lost and feed.size else feed


def _text(units: list[structured.Unit], batch: Batch) -> bytes:
    """Return records, and what is none, as whole lines in the format that is wanted."""
    out = []
    begin = objects.head(stamp(batch.micros), batch.source)[:-1]
    for kind, some in groupby(units, type):
        if kind is structured.Told and batch.rules.format == "json":
            out += [begin + cast("structured.Told", unit).members + b"\n" for unit in some]
            continue
        texts = [unit.text if isinstance(unit, structured.Told) else unit for unit in some]
        prefix, text, end, _, _ = _lines(b"\n".join(texts) + b"\n", batch)
        out += [prefix, text[:end]]
    return b"".join(out)


def _filed(prefix: bytes, text: bytes, end: int, batch: Batch) -> tuple[list[Piece], int, int]:
    """Return the pieces for the files, and number and size of the last of these."""
    place, max_size = batch.place, batch.rules.max_size
    size = place.size + len(prefix) + end
    if size <= max_size:
        view = text if end == len(text) else memoryview(text)[:end]
        return [(prefix, view) if prefix else (view,)], place.index, size
    parts = _split(prefix + text[:end], place, max_size)
    size = len(parts[-1]) + (place.size if len(parts) == 1 else 0)
    return [(part,) for part in parts], place.index + len(parts) - 1, size


def _noticed(data: bytes, batch: Batch) -> tuple[bytes, bytes, tuple[int, int]]:
    """Return the data behind the loss, the words for it (b"": it goes on), and what is told then.

    The rest of a line whose beginning was dropped belongs to the loss, unless there is none yet.
    """
    loss, told = batch.loss, batch.place.told
    lines, size = loss.lines - told[0], loss.size - told[1]
    if loss.torn and not batch.closing:
        newline = data.find(b"\n")
        if newline < 0:
            return b"", b"", (told[0], told[1] - len(data))
        lines, size, data = lines + 1, size + newline + 1, data[newline + 1 :]
    words = f"[keepd: {lines:,} lines ({size:,} bytes) dropped]"
    return data, _line_of(words.encode(), batch), (loss.lines, loss.size)


def _parted(place: Place) -> bytes:
    """Return what ends the open line in the middle."""
    return objects.ended(place.rest, b"continues") if place.json else CONTINUES


def _also_muted(muted: int, notice: bytes, batch: Batch) -> bytes:
    """Return a notice with the words for what was suppressed.

    The line that is open, if records were suppressed, is ended by the notice, and by it alone.
    """
    words = b"[keepd: suppressed %s lines]" % f"{muted:,}".encode()
    place = batch.place
    if not place.column:
        return _line_of(words, batch) + notice  # they came before a loss
    return (notice or _parted(place)) + _line_of(words, _behind_line(batch))


def _behind_line(batch: Batch) -> Batch:
    """Return a batch as it is once the line that is open has been ended."""
    return replace(batch, place=replace(batch.place, column=0, json=False, rest=b""))


def _line_of(words: bytes, batch: Batch) -> bytes:
    """Return words of our own as a line; one that is open is ended with them."""
    place, time_stamp = batch.place, stamp(batch.micros)
    if place.json:
        return (
            objects.ended(place.rest, b"dropped")
            + objects.head(time_stamp, batch.source)
            + words
            + b'"}\n'
        )
    if place.column:
        return b" " + words + b"\n"
    if batch.rules.format == "json":
        return objects.head(time_stamp, batch.source) + words + b'"}\n'
    return words + b"\n" if batch.rules.format == "raw" else time_stamp + b" " + words + b"\n"


# What stands before a text, the text, how much of it counts, the column and the rest behind it.
_Lines = tuple[bytes, bytes, int, int, bytes]


def _closed(batch: Batch) -> _Lines:
    place = batch.place
    text = objects.ended(place.rest) if place.json else UNFINISHED if place.column else b""
    return b"", text, len(text), 0, b""


def _lines(data: bytes, batch: Batch) -> _Lines:
    place, rules = batch.place, batch.rules
    if not data:  # all of it was dropped, or suppressed
        return b"", b"", 0, 0, b""
    parts, column = _cut(data, place.column, max(rules.max_line, 1))
    if rules.format == "json":
        begin, rest = objects.head(stamp(batch.micros), batch.source), place.rest
        text, rest = objects.objects(parts, rest, begin)
    else:
        data = CONTINUES.join(parts) if len(parts) > 1 else data
        if rules.format == "raw":
            return b"", data, len(data), column, b""
        begin, rest = stamp(batch.micros) + b" ", b""
        text = data.replace(b"\n", b"\n" + begin)
    end = len(text) if column else len(text) - len(begin)
    return (b"" if place.column else begin), text, end, column, rest


def _cut(data: bytes, column: int, max_line: int) -> tuple[list[bytes], int]:
    """Return data cut where a line grows too long, and the column at its end.

    Looks for a newline once in max_line bytes, not for each line.
    """
    size = len(data)
    begin = -column  # where the line began; before these data, if it was open
    done = 0
    parts: list[bytes] = []
    while size - begin > max_line:
        newline = data.rfind(b"\n", max(begin, 0), max(begin + max_line + 1, 0))
        if newline >= 0:
            begin = newline + 1
        else:
            begin = max(begin + max_line, 0)
            parts.append(data[done:begin])
            done = begin
            column = -done
    newline = data.rfind(b"\n", done)
    parts.append(data[done:] if parts else data)
    return parts, size - newline - 1 if newline >= 0 else column + size


def _split(text: bytes, place: Place, max_size: int) -> list[memoryview]:
    """Return text in pieces that end with a line, each as long as its file allows.

    A line is never parted: alone in a file, or begun in it, it may exceed the size.
    """
    view = memoryview(text)
    pieces = []
    begin, room = 0, max_size - place.size
    must_stay = place.size == 0 or place.column > 0  # what comes next belongs into this file
    while len(text) - begin > room:
        cut = text.rfind(b"\n", begin, begin + room) + 1 if room > 0 else 0
        if not cut:
            cut = (text.find(b"\n", begin) + 1 or len(text)) if must_stay else begin
        if cut == len(text):
            break
        pieces.append(view[begin:cut])
        begin, room, must_stay = cut, max_size, True
    pieces.append(view[begin:])
    return pieces

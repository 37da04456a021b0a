"""The words of one replica on their way into its log files: each exactly once.

A batch is noted, moved from the pipe into the stream's in-flight file, formatted from there and
written; the truncation of the in-flight file to nothing is the commit. Between any two steps this
process may be killed: whoever comes next finds the in-flight file not empty, makes the same bytes
again from the note, and writes only what the files lack. A full disk is the same thing without a
death. Nothing that has been written is ever taken back, so that no reader sees a line vanish.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable

from supervisor.records import replace

from . import rate
from .drain import Drain
from .files import LogDirectory, LogFiles
from .formats import Batch, Piece, Place, Rules, render
from .notes import Notebook, Slot
from .rest import Rest

_OPEN = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
_LOOK_EVERY = 1_000_000  # microseconds between two looks whether the file is still the one named


class Stream:
    """One stream that is being written; every method may raise OSError and be called again."""

    def __init__(self, name: str, top: LogDirectory, book: Notebook, folder: int) -> None:
        """Take up a stream where it stands: by its note if there is one, else by its files.

        `folder` is the directory of the in-flight files. ValueError for a bad name.
        """
        self.rules = Rules()
        self.compressible = False  # there are rotated files that are to be compressed
        self._name = name
        self._book = book
        self._folder = folder
        self._looked = 0
        self._files = LogFiles(top, name)
        self._flight = -1  # made when there is something to fly
        self._rest = Rest(folder, self._flight_name + "+")
        try:
            with contextlib.suppress(FileNotFoundError):
                self._flight = os.open(self._flight_name, _OPEN, dir_fd=folder)
            self._slot = book.slots.get(name) or self._claim()
            self._drain = Drain(self._slot, folder, self._flight_name)
        except BaseException:
            self._close_files()
            self._files.forget()  # else the next try would count from 1, over what is there
            raise
        self._place = self._settled()
        self._source = self._slot.source
        self._unsure = self._flight >= 0  # it may hold something

    @property
    def place(self) -> Place:
        """Return where the stream stands."""
        return self._place

    def begin(self, run: int, rules: Rules) -> tuple[int, int]:
        """Let the bytes of a run come; return the number of the file and the size it began at.

        A line that an earlier run, or the keepd before a reboot, has left open is ended first.
        """
        number, index, size = self._slot.run
        if number != run:
            self.end_line()
            self.end_record()
            index, size = self._place.index, self._place.size
            self._slot.run = (run, index, size)
        self.rules = rules
        self.compressible = rules.compress and self._files.has_plain
        self._source = (self._name, run)
        return index, size

    def write_batch(
        self, take: Callable[[int], int | None], *, records: bool = False
    ) -> int | None:
        """Write what take(in-flight file) moves into it, and return its answer: a length."""
        self._make_flight()
        micros = time.time_ns() // 1000
        if abs(micros - self._looked) > _LOOK_EVERY or self._files.is_gone():
            self._look(micros)
        loss = self._drain.loss
        batch = Batch(self._place, self.rules, micros, False, self._source, loss, records)
        self._slot.batch = batch
        self._unsure = True
        size = take(self._flight)
        if size:
            data = self._in_flight(size, batch)
            pieces, place = render(data, batch)
            self._carry_out(pieces, batch, 0, 0)
            if self._files.is_gone():  # meanwhile, with what we have written
                self._redo(size)
            else:
                self._commit(place, data, batch)
        self._unsure = False
        return size

    def end_line(self) -> None:
        """End the line that is open, with a mark, and tell what is left out; if there is such."""
        if self._place.column or self._place.quota.muted or self._is_untold:
            self._close_line()

    def end_record(self) -> None:
        """Write what there is of a record that will not come whole."""
        if self._place.feed.size:
            self._close_line(records=True)

    def _close_line(self, *, records: bool = False) -> None:
        self._make_flight()
        micros, loss = time.time_ns() // 1000, self._drain.loss
        batch = Batch(self._place, self.rules, micros, True, self._source, loss, records)
        self._slot.batch = batch
        self._unsure = True
        os.pwrite(self._flight, b"\n", 0)  # to be not empty; and the end of a record
        data = self._in_flight(1, batch)
        pieces, place = render(data, batch)
        self._carry_out(pieces, batch, 0, 0)
        self._commit(place, data, batch)
        self._unsure = False

    def tell_omissions(self) -> None:
        """Tell of what was dropped or suppressed, if there is something that is to be told now."""
        if self._is_untold or self.patience() == 0.0:
            self.end_line()

    def patience(self) -> float | None:
        """Return the seconds until suppressed lines are to be told of; None: there are none."""
        return rate.patience(self._place.quota, time.time_ns() // 1000)

    @property
    def _is_untold(self) -> bool:
        loss = self._drain.loss
        return self._place.told != (loss.lines, loss.size)

    def discard(self, take: Callable[[int], int | None], *, records: bool = False) -> int | None:
        """Count what take(a file) moves there and forget it; return its answer: a length."""
        return self._drain.discard(take, records=records)

    def recover(self) -> None:
        """Complete the batch that a predecessor, or an error, has left in flight."""
        if not self._unsure:
            return
        size = os.fstat(self._flight).st_size
        if size:
            self._redo(size)
        else:
            self._place = self._settled()
        self._unsure = False

    def forget(self) -> None:
        """Leave the stream for good: its line is ended, nothing is in flight, no run is left."""
        with contextlib.suppress(OSError):  # empty, it does no harm
            os.unlink(self._flight_name, dir_fd=self._folder)
        self._drain.forget()
        self._rest.forget()
        self._book.free(self._name)
        self._files.forget()
        self.close()

    def close(self) -> None:
        """Close the descriptors and leave everything as it is, to be taken up again."""
        self._drain.close()
        self._rest.close()
        self._close_files()

    def _close_files(self) -> None:
        self._files.close()
        if self._flight >= 0:
            os.close(self._flight)
            self._flight = -1

    def _settled(self) -> Place:
        """Return where the stream stands, behind all files that were found."""
        return self._behind_all(self._slot.settled)

    def _behind_all(self, place: Place) -> Place:
        return replace(place, index=max(place.index, self._files.next_number))

    def _make_flight(self) -> None:
        if self._flight < 0:
            flags = _OPEN | os.O_CREAT
            self._flight = os.open(self._flight_name, flags, 0o600, dir_fd=self._folder)

    @property
    def _flight_name(self) -> str:
        return self._name.replace("/", ":")  # which no name contains

    def _claim(self) -> Slot:
        files = self._files
        place = Place(files.next_number, files.size(), 1 if files.ends_open() else 0)
        slot = self._book.claim(self._name, place)
        # Something in flight and no note of it: the notebook was lost, the bytes need not be.
        slot.batch = Batch(place, self.rules, time.time_ns() // 1000)
        return slot

    def _in_flight(self, size: int, batch: Batch) -> bytes:
        """Return the bytes of a batch; of records, what had come of the first before."""
        data = os.pread(self._flight, size, 0)
        return self._rest.read(batch.place.feed) + data if batch.records else data

    def _redo(self, size: int) -> None:
        batch = self._slot.batch
        data = self._in_flight(size, batch)
        pieces, place = render(data, batch)
        rotated = self._slot.rotated
        if self._files.is_rotated(batch.place.index + rotated):  # renamed, and died before a note
            self._settle_rotation(batch, rotated)
            rotated += 1
        self._files.close()  # somebody who made room may have moved the file away
        there = self._files.size() - (batch.place.size if rotated == 0 else 0)
        self._carry_out(pieces, batch, rotated, max(there, 0))
        if self._files.is_gone():
            raise OSError("it is removed again and again")
        self._commit(replace(place, size=self._files.size()), data, batch)

    def _carry_out(self, pieces: list[Piece], batch: Batch, rotated: int, there: int) -> None:
        """Write the pieces that belong behind `rotated` rotations; the first has `there` bytes."""
        last = len(pieces) - 1
        for number in range(rotated, last + 1):
            _write(self._files.opened(), pieces[number], there)
            there = 0
            if number < last:
                self._files.rotate(batch.place.index + number)
                self._settle_rotation(batch, number)

    def _settle_rotation(self, batch: Batch, number: int) -> None:
        # Noted before the oldest is removed: with max_files 1 that is the one just renamed.
        self._slot.rotated = number + 1
        self._files.prune(batch.place.index + number, batch.rules.max_files)
        self.compressible = self.rules.compress and self.rules.max_files > 1

    def _commit(self, place: Place, data: bytes, batch: Batch) -> None:
        if batch.records:
            self._rest.write(place.feed, data)
        self._slot.settled = place
        os.ftruncate(self._flight, 0)
        self._place = place

    def _look(self, micros: int) -> None:
        """Go on in a new file where somebody has moved ours away, or made it shorter."""
        self._looked = micros
        if not self._files.is_current():
            self._files.close()
            self._files.count_anew()
            begun = replace(self._place, size=0, column=0, json=False)
            self._place = self._behind_all(begun)
        self._place = replace(self._place, size=self._files.size())


def _write(fd: int, piece: Piece, there: int) -> None:
    """Write a piece of which `there` bytes are written already, whole or raise OSError."""
    done = there or os.writev(fd, piece)
    if done < sum(map(len, piece)):
        rest = memoryview(b"".join(piece))[done:]
        while rest:
            rest = rest[os.write(fd, rest) :]

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

from .drain import Drain
from .files import LogDirectory, LogFiles
from .formats import Batch, Piece, Place, Rules, render
from .notes import Notebook, Slot

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
        with contextlib.suppress(FileNotFoundError):
            self._flight = os.open(self._flight_name, _OPEN, dir_fd=folder)
        try:
            self._slot = book.slots.get(name) or self._claim()
        except BaseException:
            self._close_files()
            raise
        self._place = self._slot.settled
        self._drain = Drain(self._slot, folder, self._flight_name + "~")
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
            index, size = self._place.index, self._place.size
            self._slot.run = (run, index, size)
        self.rules = rules
        self.compressible = rules.compress and self._files.has_plain
        self._source = (self._name, run)
        return index, size

    def write_batch(self, take: Callable[[int], int | None]) -> int | None:
        """Write what take(in-flight file) moves into it, and return its answer: a length."""
        self._make_flight()
        micros = time.time_ns() // 1000
        if abs(micros - self._looked) > _LOOK_EVERY or self._files.is_gone():
            self._look(micros)
        batch = Batch(self._place, self.rules, micros, False, self._source, self._drain.loss)
        self._slot.batch = batch
        self._unsure = True
        size = take(self._flight)
        if size:
            pieces, place = render(os.pread(self._flight, size, 0), batch)
            self._carry_out(pieces, batch, 0, 0)
            if self._files.is_gone():  # meanwhile, with what we have written
                self._redo(os.pread(self._flight, size, 0))
            else:
                self._commit(place)
        self._unsure = False
        return size

    def end_line(self) -> None:
        """End the line that is open, with a mark, and tell of a loss; nothing if there is none."""
        loss = self._drain.loss
        if self._place.column or self._place.told != (loss.lines, loss.size):
            self._make_flight()
            micros = time.time_ns() // 1000
            batch = Batch(self._place, self.rules, micros, True, self._source, loss)
            self._slot.batch = batch
            self._unsure = True
            os.pwrite(self._flight, b"\n", 0)  # only to be not empty
            pieces, place = render(b"", batch)
            self._carry_out(pieces, batch, 0, 0)
            self._commit(place)
            self._unsure = False

    def tell_loss(self) -> None:
        """Tell of what was dropped, if there is something that is not told yet."""
        loss = self._drain.loss
        if self._place.told != (loss.lines, loss.size):
            self.end_line()

    def discard(self, take: Callable[[int], int | None]) -> int | None:
        """Count what take(a file) moves there and forget it; return its answer: a length."""
        return self._drain.discard(take)

    def recover(self) -> None:
        """Complete the batch that a predecessor, or an error, has left in flight."""
        if not self._unsure:
            return
        size = os.fstat(self._flight).st_size
        if size:
            self._redo(os.pread(self._flight, size, 0))
        else:
            self._place = self._slot.settled
        self._unsure = False

    def forget(self) -> None:
        """Leave the stream for good: its line is ended, nothing is in flight, no run is left."""
        with contextlib.suppress(OSError):  # empty, it does no harm
            os.unlink(self._flight_name, dir_fd=self._folder)
        self._drain.forget()
        self._book.free(self._name)
        self._files.forget()
        self.close()

    def close(self) -> None:
        """Close the descriptors and leave everything as it is, to be taken up again."""
        self._drain.close()
        self._close_files()

    def _close_files(self) -> None:
        self._files.close()
        if self._flight >= 0:
            os.close(self._flight)
            self._flight = -1

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

    def _redo(self, data: bytes) -> None:
        batch = self._slot.batch
        pieces, place = render(data, batch)
        rotated = self._slot.rotated
        if self._files.is_rotated(batch.place.index + rotated):  # renamed, and died before a note
            self._settle_rotation(batch, rotated)
            rotated += 1
        self._files.close()  # somebody who made room may have moved the file away
        size = self._files.size()
        there = size - (batch.place.size if rotated == 0 else 0)
        self._carry_out(pieces, batch, rotated, max(there, 0))
        if self._files.is_gone():
            raise OSError("it is removed again and again")
        self._commit(replace(place, size=self._files.size()))

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

    def _commit(self, place: Place) -> None:
        self._slot.settled = place
        os.ftruncate(self._flight, 0)
        self._place = place

    def _look(self, micros: int) -> None:
        """Go on in a new file where somebody has moved ours away, or made it shorter."""
        self._looked = micros
        if not self._files.is_current():
            self._files.close()
            self._place = replace(self._place, size=0, column=0, json=False)
        self._place = replace(self._place, size=self._files.size())


def _write(fd: int, piece: Piece, there: int) -> None:
    """Write a piece of which `there` bytes are written already, whole or raise OSError."""
    done = there or os.writev(fd, piece)
    if done < sum(map(len, piece)):
        rest = memoryview(b"".join(piece))[done:]
        while rest:
            rest = rest[os.write(fd, rest) :]

"""The writer's notebook: what its successor must know to end a batch that was left half done.

A file in the runtime directory, mapped into memory: a note costs no system call, and outlives
every one of us. Each stream has a slot with two places: `batch`, which holds while the stream's
in-flight file is not empty, and `settled`, which holds while it is. Only the one that does not
hold is ever written to, so that a death in the middle of a note does no harm.
"""

from __future__ import annotations

import errno
import mmap
import os
import struct

from .formats import Batch, Loss, Place, Rules
from .rate import Quota
from .structured import Feed

_MAGIC = b"keepd notes 3\n\0\0"
_SLOT = 512
_SLOTS = 65_536  # a sparse file: only slots that are used cost memory
_LONGEST_ID = 95
_PAGE = 4096
_EXTENT = struct.Struct("Q")  # slots that have ever been used
_EXTENT_AT = 64

# Offsets in a slot. Native words: the kernel is the same, or the runtime directory is gone.
_USED = struct.Struct("Q")  # length of the id; 0: the slot is free
_ID = 8
_RUN = struct.Struct("QQQ")  # number, index and size where it began
_RUN_AT = 104
_PLACE = "QQQQqqQQQQ"  # index, size, column, what is open, loss told, quota, feed
_SETTLED = struct.Struct(_PLACE)
_SETTLED_AT = 128
_BATCH = struct.Struct(_PLACE + "QQQQQQQQ")  # micros, flags, four limits, the loss
_BATCH_AT = 208
_ROTATED = struct.Struct("Q")  # rotations of the batch that are behind us
_ROTATED_AT = 368
_LOSS = struct.Struct("QQQ")  # lines, bytes, whether the last line is torn
_LOSS_AT = 384
_LOSS_BEFORE_AT = 408
_CLOSING, _TORN, _RECORDS = 1, 1 << 8, 1 << 9
_FORMATS = ("text", "raw", "json")  # in the flags, from the second bit on
_JSON = 1 << 32  # in what is open, beside up to four bytes

_WORDS = len(_PLACE)


def _words(place: Place) -> tuple[int, ...]:
    what = int.from_bytes(place.rest, "big") | (_JSON if place.json else 0)
    quota = place.quota
    counted = (quota.second, quota.used, quota.muted << 1 | quota.inside)
    feed = place.feed.size << 2 | place.feed.half << 1 | place.feed.broken
    return place.index, place.size, place.column, what, *place.told, *counted, feed


def _place(words: tuple[int, ...]) -> Place:
    index, size, column, what, lines, lost, second, used, muted, feed = words
    rest = what & (_JSON - 1)
    length = (rest.bit_length() + 7) // 8  # of a character: its first byte is never 0
    opened = rest.to_bytes(length, "big")
    quota = Quota(second, used, muted >> 1, bool(muted & 1))
    told, fed = (lines, lost), Feed(feed >> 1 & 1, feed >> 2, bool(feed & 1))
    return Place(index, size, column, what >= _JSON, opened, told, quota, fed)


def _loss(words: tuple[int, int, int]) -> Loss:
    return Loss(words[0], words[1], bool(words[2]))


class Slot:
    """What is noted of one stream."""

    __slots__ = ("_at", "_map", "number")

    def __init__(self, memory: mmap.mmap, number: int) -> None:
        self.number = number
        self._map = memory
        self._at = _SLOT * (1 + number)

    @property
    def id(self) -> str:
        """Return whose slot it is; "" if nobody's."""
        (length,) = _USED.unpack_from(self._map, self._at)
        begin = self._at + _ID
        return self._map[begin : begin + min(length, _LONGEST_ID)].decode("ascii", "replace")

    @property
    def settled(self) -> Place:
        """Return where the stream stands; true while nothing of it is in flight."""
        return _place(_SETTLED.unpack_from(self._map, self._at + _SETTLED_AT))

    @settled.setter
    def settled(self, place: Place) -> None:
        _SETTLED.pack_into(self._map, self._at + _SETTLED_AT, *_words(place))

    @property
    def batch(self) -> Batch:
        """Return how what is in flight is to be written; true while something is."""
        words = _BATCH.unpack_from(self._map, self._at + _BATCH_AT)
        micros, flags, max_size, max_files, max_line, rate, lines, size = words[_WORDS:]
        form = _FORMATS[(flags >> 1 & 3) % len(_FORMATS)]
        rules = Rules(form, max_size, max_files, max_line, rate=rate)
        loss = Loss(lines, size, bool(flags & _TORN))
        closing, records = bool(flags & _CLOSING), bool(flags & _RECORDS)
        place = _place(words[:_WORDS])
        return Batch(place, rules, micros, closing, self.source, loss, records)

    @batch.setter
    def batch(self, batch: Batch) -> None:
        rules, loss = batch.rules, batch.loss
        flags = _FORMATS.index(rules.format) << 1 | (_CLOSING if batch.closing else 0)
        flags |= (_TORN if loss.torn else 0) | (_RECORDS if batch.records else 0)
        bounds = (rules.max_size, rules.max_files, rules.max_line, rules.rate)
        limits = (*bounds, loss.lines, loss.size)
        at = self._at + _BATCH_AT
        _BATCH.pack_into(self._map, at, *_words(batch.place), batch.micros, flags, *limits)
        self.rotated = 0

    @property
    def source(self) -> tuple[str, int]:
        """Return whose words are being written: id of the stream, run."""
        return self.id, self.run[0]

    @property
    def loss(self) -> Loss:
        """Return what was dropped of the stream; true while nothing is being dropped."""
        return _loss(_LOSS.unpack_from(self._map, self._at + _LOSS_AT))

    @loss.setter
    def loss(self, loss: Loss) -> None:
        _LOSS.pack_into(self._map, self._at + _LOSS_AT, loss.lines, loss.size, loss.torn)

    @property
    def loss_before(self) -> Loss:
        """Return the same; true while something is being dropped, and without it."""
        return _loss(_LOSS.unpack_from(self._map, self._at + _LOSS_BEFORE_AT))

    @loss_before.setter
    def loss_before(self, loss: Loss) -> None:
        _LOSS.pack_into(self._map, self._at + _LOSS_BEFORE_AT, loss.lines, loss.size, loss.torn)

    @property
    def rotated(self) -> int:
        """Return how many rotations of the batch are known to be done."""
        found: int = _ROTATED.unpack_from(self._map, self._at + _ROTATED_AT)[0]
        return found

    @rotated.setter
    def rotated(self, count: int) -> None:
        _ROTATED.pack_into(self._map, self._at + _ROTATED_AT, count)

    @property
    def run(self) -> tuple[int, int, int]:
        """Return the run that is being written, and the index and size at which it began."""
        number, index, size = _RUN.unpack_from(self._map, self._at + _RUN_AT)
        return number, index, size

    @run.setter
    def run(self, words: tuple[int, int, int]) -> None:
        _, *begin = words
        _RUN.pack_into(self._map, self._at + _RUN_AT, 0, *begin)  # no number with old figures
        _RUN.pack_into(self._map, self._at + _RUN_AT, *words)

    def claim(self, stream: str, place: Place) -> None:
        """Make the slot the stream's, who stands at `place`; the last word written counts."""
        name = stream.encode("ascii")
        if len(name) > _LONGEST_ID:
            raise ValueError(f"cannot note {stream!r}: longer than {_LONGEST_ID} bytes")
        begin = self._at + _ID
        self._map[begin : self._at + _SLOT] = name.ljust(_SLOT - _ID, b"\0")
        self.settled = place
        _USED.pack_into(self._map, self._at, len(name))

    def free(self) -> None:
        """Give the slot back; nothing of its stream may be in flight."""
        _USED.pack_into(self._map, self._at, 0)


class Notebook:
    """All slots, in a file below the directory descriptor `directory`; the writer's alone."""

    def __init__(self, directory: int, name: str = "notes") -> None:
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        self._fd = os.open(name, flags, 0o600, dir_fd=directory)
        if os.pread(self._fd, len(_MAGIC), 0) != _MAGIC:  # a fresh one, or not one of ours
            os.ftruncate(self._fd, 0)
            os.ftruncate(self._fd, _SLOT * (1 + _SLOTS))
            os.posix_fallocate(self._fd, 0, _PAGE)
            os.pwrite(self._fd, _MAGIC, 0)
        self._map = mmap.mmap(self._fd, _SLOT * (1 + _SLOTS))
        (self._extent,) = _EXTENT.unpack_from(self._map, _EXTENT_AT)
        found = [Slot(self._map, number) for number in range(min(self._extent, _SLOTS))]
        self.slots = {slot.id: slot for slot in found if slot.id}
        self._free = [slot for slot in reversed(found) if not slot.id]

    def claim(self, stream: str, place: Place) -> Slot:
        """Return a slot for a stream that has none.

        OSError if the runtime directory is full, ValueError if the name is too long.
        """
        if not self._free:
            self._extend()
        slot = self._free[-1]
        slot.claim(stream, place)
        self.slots[stream] = self._free.pop()
        return slot

    def free(self, stream: str) -> None:
        """Give a stream's slot back; nothing of it may be in flight."""
        slot = self.slots.pop(stream)
        slot.free()
        self._free.append(slot)

    def close(self) -> None:
        """Let go of the file; what is noted stays."""
        self._map.close()
        os.close(self._fd)

    def _extend(self) -> None:
        if self._extent == _SLOTS:
            raise OSError(errno.ENOSPC, f"more than {_SLOTS} streams")
        # Touching a page of a full file system through the map would be our death by SIGBUS.
        os.posix_fallocate(self._fd, _SLOT * (1 + self._extent), _SLOT)
        self._free.append(Slot(self._map, self._extent))
        self._extent += 1
        _EXTENT.pack_into(self._map, _EXTENT_AT, self._extent)

"""Files of a log in the form of gzip, written once and read back.

The header's comment tells the inode of the file that was there before, so that whoever still reads
that one does not take its compressed form for something new. No name is looked at here.
"""

from __future__ import annotations

import contextlib
import os
import re
import struct
import zlib

SUFFIX = ".gz"
_HEADER = b"\x1f\x8b\x08\x10\0\0\0\0\0\xff"  # deflate, a comment follows; no time, no system
_COMMENT = re.compile(re.escape(_HEADER) + rb"keepd inode (\d{1,20})\0")
_TRAILER = struct.Struct("<II")  # of what was compressed: CRC-32, length
_LEVEL = 6
_RAW, _GZIP = -15, 31  # what zlib calls them
_CHUNK = 262_144


def pack(source: int, target: int) -> None:
    """Write what can be read from one descriptor, compressed, to the other; OSError."""
    _write(target, _HEADER + b"keepd inode %d\0" % os.fstat(source).st_ino)
    packer = zlib.compressobj(_LEVEL, zlib.DEFLATED, _RAW)
    check = size = 0
    while chunk := os.read(source, _CHUNK):
        check = zlib.crc32(chunk, check)
        size += len(chunk)
        _write(target, packer.compress(chunk))
    _write(target, packer.flush() + _TRAILER.pack(check, size & 0xFFFFFFFF))


def unpack(source: int) -> int:
    """Return a descriptor of a nameless file with what is compressed in another.

    OSError; also where it is damaged. What is behind the damage is left out.
    """
    target = _nameless()
    unpacker = zlib.decompressobj(_GZIP)
    try:
        while not unpacker.eof and (chunk := os.read(source, _CHUNK)):
            while chunk and not unpacker.eof:
                _write(target, unpacker.decompress(chunk, 4 * _CHUNK))
                chunk = unpacker.unconsumed_tail
        os.lseek(target, 0, os.SEEK_SET)
    except zlib.error as error:
        os.close(target)
        raise OSError(f"damaged: {error}") from None
    except BaseException:
        os.close(target)
        raise
    return target


def inode(source: int) -> int:
    """Return the inode of the file that was compressed; 0: somebody else has done it."""
    found = _COMMENT.match(os.pread(source, 64, 0))
    return int(found[1]) if found else 0


def size(source: int) -> int:
    """Return how long the file was that was compressed; what fits into 32 bits of it."""
    end = os.fstat(source).st_size - _TRAILER.size
    found: int = _TRAILER.unpack(os.pread(source, _TRAILER.size, end))[1] if end > 0 else 0
    return found


def _nameless() -> int:
    flags = os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC
    with contextlib.suppress(OSError):  # not every file system can
        return os.open(os.environ.get("TMPDIR") or "/tmp", flags, 0o600)  # noqa: S108 - no name
    return os.memfd_create("log", os.MFD_CLOEXEC)


def _write(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]

r"""Lines as JSON objects, one a line, and read back from them.

    {"time":"2026-11-22T14:12:43.123456Z","service":"web","replica":0,"run":3,"text":"…"}

A line in pieces has "continues":true behind all of them but the last, the last line of a run that
has no end "unfinished":true, one whose end was dropped "dropped":true. A byte that is no UTF-8
stands in the text as \xff: what is lossless for some readers (a lone surrogate) makes others
refuse the line; whoever needs the bytes writes raw. Pure, as everything that decides what is
written.
"""

from __future__ import annotations

import codecs
import json
from json.encoder import encode_basestring

CONTINUES = b'","continues":true}\n'
_END = b'"}\n'
_BEGIN = b'{"time":"'
_NEWLINE = "\ud800"  # stands for it meanwhile: comes out of no decoder, and is not escaped


def head(time: bytes, source: tuple[str, int]) -> bytes:
    """Return an object up to its text; `source` is (id of the stream, run)."""
    service, _, replica = source[0].partition("/")
    number = replica if replica.isdecimal() else json.dumps(replica)
    return b'%s%s","service":%s,"replica":%s,"run":%d,"text":"' % (
        _BEGIN,
        time,
        json.dumps(service).encode(),
        number.encode(),
        source[1],
    )


def objects(parts: list[bytes], rest: bytes, begin: bytes) -> tuple[bytes, bytes]:
    """Return the parts of a text as the inside of objects, and the bytes that wait for more.

    `begin` is what stands before each text, `rest` the beginning of a character that has not come
    whole. The first object is open before and the last behind: at a newline it has just begun.
    """
    texts = []
    for part in parts:
        data = rest + part
        text, size = codecs.utf_8_decode(data, "backslashreplace", False)
        texts.append(_escaped(text))
        rest = data[size:]
    between = CONTINUES + begin
    line_end = (_END + begin).decode()
    whole = between.decode().join(texts).replace(_NEWLINE, line_end)
    return whole.encode(), rest


def ended(rest: bytes, why: bytes = b"unfinished") -> bytes:
    """Return what ends an object whose line is not going to be ended."""
    text = _escaped(rest.decode("utf-8", "backslashreplace")).encode()
    return b'%s","%s":true}\n' % (text, why)


def parsed(line: bytes) -> dict[str, object] | None:
    """Return the object of a line, None if it is none of these."""
    if not line.startswith(_BEGIN):
        return None
    try:
        found = json.loads(line)
    except ValueError:  # UnicodeDecodeError is one
        return None
    return found if isinstance(found, dict) and isinstance(found.get("text"), str) else None


def _escaped(text: str) -> str:
    return encode_basestring(text.replace("\n", _NEWLINE))[1:-1]

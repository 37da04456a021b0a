"""From a scalar's text to the value that the schema wants there.

The schema decides what `no`, `010`, `22:22` or `3.10` are: where a text is wanted they are that
text, where something else is wanted they are faults with the likely fix. Never a silent guess.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final

import msgspec

from . import units
from .faults import Faults, meant
from .nodes import Node, Scalar, Sequence, Text, shortened, told
from .shapes import NOT_BUILT, Field, Kind

BAD: Final = object()  # what a value is after its fault has been told

_WHOLE: Final = re.compile(r"-?(?:0|[1-9][0-9]{0,17})")
_NUMBER: Final = re.compile(r"-?(?:0|[1-9][0-9]{0,17})(?:\.[0-9]{1,18})?(?:[eE][-+]?[0-9]{1,3})?")
_OTHER_WHOLE: Final = re.compile(r"[-+]?(?:0[xX][0-9a-fA-F_]+|0[bB][01_]+|0o[0-7_]+|[0-9][0-9_]*)")
_TRUTHS: Final = {
    "true": "true",
    "yes": "true",
    "on": "true",
    "y": "true",
    "1": "true",
    "false": "false",
    "no": "false",
    "off": "false",
    "n": "false",
    "0": "false",
}
# What readers of YAML 1.1 and 1.2 disagree about, and numbers whose writing would be lost.
_DISPUTED: Final = re.compile(
    r"""(?x: yes | no | on | off
          | [-+]?0[0-9_]+ | [-+]?0[xob][0-9a-f_]+ | [-+]?[0-9]*_[0-9_]*(?:\.[0-9_]*)? | \+[0-9.]+
          | [-+]?[0-9]+(?::[0-5]?[0-9])+(?:\.[0-9]*)?
          | [0-9]{4}-[0-9]{1,2}-[0-9]{1,2}(?:[t\ ].*)?
          | [-+]?[0-9]*\.[0-9]*[1-9]0+ | [-+]?\.[0-9]+ | [-+]?[0-9]+\. | [-+]?\.(?:inf|nan)
          | -?[0-9]{19,} | -?[0-9.]+e[-+]?[0-9]{4,})"""
)


def read(node: Node, field: Field, key: str, faults: Faults) -> object:
    """Return the value of a field that is a single word, or BAD."""
    if not isinstance(node, Scalar):
        what = f"{_wanted(field)} is wanted here, not {told(node)}"
        faults.add(node.at, key, what, _unlisted(node))
        return BAD
    if node.null:
        if field.optional:
            return None
        advice = 'write "" for an empty text' if field.kind is Kind.TEXT else None
        faults.add(node.at, key, f"{_wanted(field)} is wanted here, not nothing", advice)
        return BAD
    return _READERS[field.kind](node, field, key, faults)


def text(node: Node, key: str, faults: Faults) -> Text | None:
    """Return the text of a node, which also knows its place; None with a fault told."""
    if isinstance(node, Scalar) and not node.null:
        return Text.of(node.text, node, key)
    advice = 'write "" for an empty text' if isinstance(node, Scalar) else None
    faults.add(node.at, key, f"a text is wanted here, not {told(node)}", advice)
    return None


def anything(node: Scalar, key: str, faults: Faults) -> object:
    """Return what JSON would make of a plain scalar: null, a truth, a number, else a text."""
    if node.null:
        return None
    if node.quoted:
        return Text.of(node.text, node, key)
    if node.text in {"true", "false"}:
        return node.text == "true"
    if _DISPUTED.fullmatch(node.text.lower()):
        quoted = "'" + node.text + "'"
        what = f"it is not certain what {node.text} means: readers of YAML differ"
        faults.add(node.at, key, what, f"write {quoted} if it is a text")
        return BAD
    number = int if _WHOLE.fullmatch(node.text) else float
    return number(node.text) if _NUMBER.fullmatch(node.text) else Text.of(node.text, node, key)


def _wanted(field: Field) -> str:
    if field.kind is Kind.CHOICE:
        return " or ".join(word.value for word in field.of)
    wanted: str = field.kind.value
    return wanted


def _unlisted(node: Node) -> str | None:
    if isinstance(node, Sequence) and len(node.items) == 1 and isinstance(node.items[0], Scalar):
        return "leave the brackets out"
    return None


def _text(node: Scalar, _field: Field, key: str, _faults: Faults) -> Text:
    return Text.of(node.text, node, key)


def _flag(node: Scalar, _field: Field, key: str, faults: Faults) -> object:
    if node.text in {"true", "false"} and not node.quoted:
        return node.text == "true"
    truth = _TRUTHS.get(node.text.lower())
    what = f"true or false is wanted here; '{shortened(node.text)}' is a text"
    advice = f"write {truth} without quotes" if truth == node.text else truth and meant(truth)
    faults.add(node.at, key, what, advice)
    return BAD


def _whole(node: Scalar, field: Field, key: str, faults: Faults) -> object:
    if _WHOLE.fullmatch(node.text) and not node.quoted:
        return _bounded(int(node.text), node, field, key, faults)
    return _not_a_number(node, field, key, faults)


def _number(node: Scalar, field: Field, key: str, faults: Faults) -> object:
    if _NUMBER.fullmatch(node.text) and not node.quoted:
        return _bounded(float(node.text), node, field, key, faults)
    return _not_a_number(node, field, key, faults)


def _not_a_number(node: Scalar, field: Field, key: str, faults: Faults) -> object:
    what = f"{field.kind.value} is wanted here, not '{shortened(node.text)}'"
    advice = None
    if "${" in node.text:
        advice = "${...} is not expanded in this key"
    elif (_NUMBER if field.kind is Kind.NUMBER else _WHOLE).fullmatch(node.text):
        advice = f"write {node.text} without quotes"
    elif _OTHER_WHOLE.fullmatch(node.text) and len(node.text) < 30:
        number = node.text.replace("_", "")
        based = number.lstrip("+-").lower().startswith(("0x", "0b", "0o"))
        advice = meant(str(int(number, 0 if based else 10)))
    faults.add(node.at, key, what, advice)
    return BAD


def _duration(node: Scalar, field: Field, key: str, faults: Faults) -> object:
    value = units.seconds(node.text)
    if value is not None and value <= units.LONGEST:
        return _bounded(value, node, field, key, faults)
    if value is not None:
        faults.add(node.at, key, f"{node.text} is longer than ten years")
        return BAD
    likely = units.like_duration(node.text)
    what = f"a duration with its unit is wanted here (200ms, 30s, 1h30m, 2d), not {told(node)}"
    faults.add(node.at, key, what, likely and meant(likely))
    return BAD


def _size(node: Scalar, field: Field, key: str, faults: Faults) -> object:
    value = units.size(node.text)
    if value is not None and value <= units.LARGEST:
        return _bounded(value, node, field, key, faults)
    if value is not None:
        faults.add(node.at, key, f"{node.text} is larger than any disk")
        return BAD
    likely = units.like_size(node.text)
    what = f"a size with its unit is wanted here (64KiB, 50MB), not {told(node)}"
    faults.add(node.at, key, what, likely and meant(likely))
    return BAD


def _bounded(value: float, node: Scalar, field: Field, key: str, faults: Faults) -> object:
    try:
        return msgspec.convert(value, field.of)
    except msgspec.ValidationError:
        (bounds,) = field.of.__metadata__
        write = {Kind.DURATION: units.written_duration, Kind.SIZE: units.written_size}.get(
            field.kind, str
        )
        least = "" if bounds.ge is None else f"at least {write(bounds.ge)}"
        most = "" if bounds.le is None else f"at most {write(bounds.le)}"
        faults.add(node.at, key, f"{node.text} must be {' and '.join(filter(None, (least, most)))}")
        return BAD


def _choice(node: Scalar, field: Field, key: str, faults: Faults) -> object:
    try:
        return msgspec.convert(node.text, field.of)
    except msgspec.ValidationError:
        words = list(field.of)
        if node.text in field.later:
            faults.add(node.at, key, f"'{node.text}' {NOT_BUILT}", f"there is {_wanted(field)}")
            return BAD
        what = f"'{shortened(node.text)}' is none of {', '.join(words)}"
        faults.add(node.at, key, what, faults.like(node.text, words))
        return BAD


_READERS: Final[Mapping[Kind, Callable[[Scalar, Field, str, Faults], object]]] = {
    Kind.TEXT: _text,
    Kind.FLAG: _flag,
    Kind.WHOLE: _whole,
    Kind.NUMBER: _number,
    Kind.DURATION: _duration,
    Kind.SIZE: _size,
    Kind.CHOICE: _choice,
}

"""Durations and sizes as people write them: `200ms`, `1h30m`, `64KiB`, `50MB`.

A number never stands without its unit. Seconds are floats, sizes are whole bytes.
"""

from __future__ import annotations

import re
from typing import Final

LONGEST: Final = 3650 * 86_400.0  # seconds; more than ten years is a slip of the pen
LARGEST: Final = 2**60  # bytes

_NUMBER = r"[0-9]{1,15}(?:\.[0-9]{1,9})?"
_UNITS: Final = {"d": 86_400, "h": 3_600, "m": 60, "s": 1}
DURATION: Final = (
    rf"^(?=[0-9])(?:({_NUMBER})d)?(?:({_NUMBER})h)?(?:({_NUMBER})m)?"
    rf"(?:({_NUMBER})s)?(?:({_NUMBER})ms)?$"
)
_SCALES: Final = {
    "B": 1,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
    "TiB": 2**40,
}
SIZE: Final = rf"^({_NUMBER})({'|'.join(_SCALES)})$"
_DURATION: Final = re.compile(DURATION)
_SIZE: Final = re.compile(SIZE)
_BARE: Final = re.compile(_NUMBER)
_LOOSE_DURATION: Final = re.compile(rf"({_NUMBER})\s*([A-Za-z]+)")
_LONG_WORDS: Final = {"sec": "s", "min": "m", "hr": "h", "hour": "h", "day": "d", "msec": "ms"}
_LEAST_BYTES: Final = 1_000  # a bare number below was meant in a larger unit


def seconds(text: str) -> float | None:
    """Return the duration in seconds, or None where it is not one."""
    found = _DURATION.fullmatch(text)
    if not found:
        return None
    *whole, millis = found.groups()
    total = sum(float(n) * unit for n, unit in zip(whole, _UNITS.values(), strict=True) if n)
    return total + (float(millis) / 1000 if millis else 0.0)


def size(text: str) -> int | None:
    """Return the size in bytes, or None where it is not one."""
    found = _SIZE.fullmatch(text)
    return round(float(found[1]) * _SCALES[found[2]]) if found else None


def like_duration(text: str) -> str | None:
    """Return the duration that was probably meant: `30` means `30s`, `5 sec` means `5s`."""
    text = text.strip()
    if _BARE.fullmatch(text):
        return f"{text}s"
    found = _LOOSE_DURATION.fullmatch(text)
    if not found:
        return None
    unit = found[2].lower()
    unit = _LONG_WORDS.get(unit.removesuffix("s"), unit)
    guess = found[1] + unit
    return guess if seconds(guess) is not None else None


def like_size(text: str) -> str | None:
    """Return the size that was probably meant: `65536` means `64KiB`, `50mb` means `50MB`."""
    text = text.replace(" ", "")
    if text.isascii() and text.isdigit() and len(text) <= len(str(LARGEST)):
        return written_size(int(text)) if int(text) >= _LEAST_BYTES else f"{text}MB"
    for unit in _SCALES:
        short = {unit.lower(), unit.lower().removesuffix("b")} - {""}
        for ending in sorted(short, key=len, reverse=True):
            number = text.lower().removesuffix(ending)
            if number != text.lower() and _BARE.fullmatch(number):
                return number + unit
    return None


def written_duration(duration: float) -> str:
    """Return seconds as people write them, to the millisecond."""
    rest, millis = divmod(round(duration * 1000), 1000)
    parts = []
    for unit, length in _UNITS.items():
        count, rest = divmod(rest, length)
        parts += [f"{count}{unit}"] if count else []
    parts += [f"{millis}ms"] if millis else []
    return "".join(parts) or "0s"


def written_size(count: int) -> str:
    """Return bytes as people write them, exactly, in the largest unit that allows it."""
    for unit, scale in sorted(_SCALES.items(), key=lambda item: -item[1]):
        if count >= scale and count % scale == 0:
            return f"{count // scale}{unit}"
    return "0B"

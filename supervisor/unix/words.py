"""Why a process could not be born, in words that follow "cannot start web/0: "."""

from __future__ import annotations

import errno
import os

_WORDS = {
    errno.EACCES: "permission denied",
    errno.EISDIR: "is a directory",
    errno.ENOENT: "no such file",
    errno.ENOEXEC: "not an executable format",
    errno.ENOTDIR: "not a directory",
    errno.ETXTBSY: "the file is being written",
}
_NO_ROOM = {errno.EAGAIN, errno.ENOMEM}


class CannotError(Exception):
    """Why a birth failed, in words."""


def exec_words(number: int, name: str, cwd: str, *, found: bool) -> str:
    """Return why the kernel would not execute `name`, from its errno."""
    if number in _NO_ROOM:
        return f"no room for another process: {os.strerror(number)}"
    seen = os.path.join(cwd, name) if "/" in name else ""
    if number == errno.ENOENT and found and (not seen or os.path.exists(seen)):
        return f"no such interpreter (the #! line, or the loader): {name!r}"
    if number == errno.EACCES and seen and os.path.isdir(seen):
        number = errno.EISDIR
    return f"{_WORDS.get(number) or os.strerror(number)}: {name!r}"


def step_words(step: str, number: int, text: str, name: str, cwd: str) -> str:
    """Return why a newborn's step failed; `name` is what it was to execute."""
    if step in {"lookup", "exec"} and number:
        return exec_words(number, name, cwd, found=step == "exec")
    if step == "fork":
        return f"no room for another process: {os.strerror(number)}"
    if step == "cwd" and number:
        words = _WORDS.get(number) or os.strerror(number)
        return f"cwd: {words.replace('file', 'directory')}: {cwd!r}"
    return f"{step}: {os.strerror(number) if number else text}"

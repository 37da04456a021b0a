"""What a newborn of an interpreter's zygote does when its service is a Python function.

This file stands alone, as the zygote's does, which loads it: any CPython 3.9+ runs it, and nothing
of keepd is in the process beside the two. It ends as `python` itself would: what the function
returns is 0, SystemExit has its code, an exception is a traceback and 1.
"""

from __future__ import annotations

import atexit
import os
import sys

TYPE_CHECKING = False  # as typing has it, which would be dear
if TYPE_CHECKING:
    from typing import Any

    Order = dict[str, Any]


class CannotError(Exception):
    """Why there is no function to call, in words."""


def call(order: Order, birth: int) -> int:
    """Import the function, tell `birth` that it lives, call it; return the exit code.

    A function that cannot be had is told to `birth` in words.
    """
    os.environ.clear()
    os.environ.update(order["env"])
    extra = [entry for entry in order["env"].get("PYTHONPATH", "").split(":") if entry]
    sys.path[:0] = [order["cwd"], *extra]
    sys.argv[:] = [order["call"]]
    sys.modules["__main__"] = type(sys)("__main__")
    _streams()
    try:
        function = _find(order["call"])
        _tell_alive(birth)
        os.close(birth)
        function(*order["args"], **order["kwargs"])
        return _end(0)
    except CannotError as error:
        os.write(birth, b"error " + " ".join(str(error)[:2000].split()).encode() + b"\n")
        return _end(1)
    except SystemExit as end:
        if end.code is not None and not isinstance(end.code, int):
            print(end.code, file=sys.stderr)  # noqa: T201 - as the interpreter does
        return _end(0 if end.code is None else end.code if isinstance(end.code, int) else 1)
    except BaseException as error:  # noqa: BLE001 - user code may raise anything
        _show(error)
        return _end(1)


def _tell_alive(birth: int) -> None:
    try:
        os.write(birth, b"alive\n")
    except OSError:  # the master has gone: it has noted us, and the next one adopts us
        return


def _streams() -> None:
    """Make stdin, stdout and stderr anew: the old ones remember what they were opened on."""
    for fd, name in enumerate(("stdin", "stdout", "stderr")):
        mode, how = ("w", "backslashreplace") if fd else ("r", "surrogateescape")
        stream = open(fd, mode, 1, encoding="utf-8", errors=how, closefd=False)  # noqa: SIM115
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


def _find(target: str):  # type: ignore[no-untyped-def] # noqa: ANN202 - whatever the user wrote
    name, _, path = target.partition(":")
    try:
        __import__(name)
        found = sys.modules[name]
    except BaseException as error:  # noqa: BLE001 - user code may raise anything at import
        _show(error)
        raise CannotError(f"cannot import {name!r}: {type(error).__name__}: {error}") from None
    for word in path.split("."):
        if not hasattr(found, word):
            raise CannotError(f"no function {path!r} in module {name!r}")
        found = getattr(found, word)
    if not callable(found):
        raise CannotError(f"{path!r} in module {name!r} is not callable")
    return found


def _show(error: BaseException) -> None:
    """Print the traceback as the service would see it by itself: without our own frame."""
    if error.__traceback__ is not None:
        error.__traceback__ = error.__traceback__.tb_next
    sys.excepthook(type(error), error, error.__traceback__)


def _end(code: int) -> int:
    """End as an interpreter does: threads joined, exit handlers run, output flushed."""
    try:
        if "threading" in sys.modules:
            sys.modules["threading"]._shutdown()  # noqa: SLF001
        atexit._run_exitfuncs()  # noqa: SLF001
    finally:
        _flush()
    return code & 0xFF


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):  # nobody reads it, or the service has closed it
            continue

"""Births that need little set up, by posix_spawn.

It shares our memory until exec, and so never grows dearer with us. It returns only after the
exec, with its error if there was one. What newborns inherit we are ourselves meanwhile: in their
group, in their folder, under their limit; afterwards we are as before.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping

from supervisor.records import record

from . import limits, signals
from .cgroup import Group
from .words import CannotError, exec_words, step_words
from .zygote import program

__all__ = ["CannotError", "Newborn", "spawn"]

_DEFAULTS = sorted(signals.ALL)


@record(frozen=True)
class Newborn:
    """What a process is to begin with. `out` becomes stdout and stderr, `null` stdin."""

    argv: tuple[str, ...]
    env: Mapping[str, str]
    cwd: str  # absolute; where it starts, and argv[0] and PATH are looked up
    out: int
    null: int
    nofile: int  # soft limit of descriptors


def spawn(newborn: Newborn, group: Group | None) -> int:
    """Return the pid of a process that has executed its program; CannotError in words.

    It leads a session of its own, with every signal at its default, and has but its stdio open.
    With a group we are in that group ourselves while it is born: it can never be seen outside,
    nor leave anything there.
    """
    name = newborn.argv[0]
    try:
        file = program(name, newborn.env.get("PATH", os.defpath), newborn.cwd)
    except OSError as error:
        raise CannotError(exec_words(error.errno or 0, name, newborn.cwd, found=False)) from error
    if group is None:
        return _spawn(newborn, file)
    try:
        group.enter()
    except OSError as error:
        raise CannotError(f"group: {error.strerror}: {group.path!r}") from error
    try:
        return _spawn(newborn, file)
    finally:
        group.go_home()


@contextlib.contextmanager
def _inside(newborn: Newborn) -> Iterator[None]:
    home = os.open(".", os.O_PATH | os.O_CLOEXEC)  # which asks for no permission to read
    try:
        os.chdir(newborn.cwd)
    except OSError as error:
        os.close(home)
        words = step_words("cwd", error.errno or 0, "", newborn.argv[0], newborn.cwd)
        raise CannotError(words) from error
    try:
        yield
    finally:
        os.fchdir(home)
        os.close(home)


def _spawn(newborn: Newborn, file: str) -> int:
    out = newborn.out
    actions = (
        (os.POSIX_SPAWN_DUP2, newborn.null, 0),
        (os.POSIX_SPAWN_DUP2, out, 1),
        (os.POSIX_SPAWN_DUP2, out, 2),
    )
    try:
        with _inside(newborn), limits.lowered_nofile(newborn.nofile):
            return os.posix_spawn(
                file,
                newborn.argv,
                newborn.env,
                file_actions=actions,
                setsid=True,
                setsigmask=(),
                setsigdef=_DEFAULTS,
            )
    except OSError as error:
        words = exec_words(error.errno or 0, newborn.argv[0], newborn.cwd, found=True)
        raise CannotError(words) from error
    except ValueError as error:  # a zero byte in an argument or in the environment
        raise CannotError(str(error)) from error

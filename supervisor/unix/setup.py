"""What a newborn of a zygote does before it becomes its service: one step after the other.

This file stands alone, as the zygote's does, which loads it: any CPython 3.9+ runs it. The order
is what makes it safe: nothing of a newborn is ever outside its group; limits and priority are set
while it still may; groups go before the user, for afterwards nothing can be given up any more; and
only as that user it enters its folder. What cannot be had ends the birth: no service ever runs with
more than it was given.
"""

from __future__ import annotations

import _signal as signal  # type: ignore[import-not-found] # as in the zygote
import os
import resource
import sys

TYPE_CHECKING = False  # as typing has it, which would be dear
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    Order = dict[str, Any]

_PR_SET_DUMPABLE = 4


def prepare(order: Order, birth: int, out: int) -> tuple[str, Exception] | None:
    """Do every step of an order; return the one that fails, and why."""
    for name, step in _STEPS:
        try:
            step(order, birth, out)
        except (OSError, ValueError, OverflowError) as error:
            return name, error
    return None


def _group(order: Order, _birth: int, _out: int) -> None:
    if order["group"]:
        with open(order["group"] + "/cgroup.procs", "wb", buffering=0) as file:
            file.write(b"0")  # first of all: nothing of it is ever outside its group


def _session(_order: Order, _birth: int, _out: int) -> None:
    os.setsid()


def _signals(order: Order, _birth: int, _out: int) -> None:
    """Give a command every default; a Python function gets what `python` would give it.

    The zygote has everything at its default, nothing blocked, and the two that CPython ignores.
    """
    if "call" in order:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    else:
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)


def _stdio(order: Order, birth: int, out: int) -> None:
    """Have the service's output; stdin is as the zygote's /dev/null, an exec closes the rest."""
    os.dup2(out, 1)
    os.dup2(out, 2)
    if "stdin" in order:
        _read_from(order["stdin"])
    if "call" in order:
        highest = max(map(int, os.listdir("/proc/self/fd")))
        os.closerange(3, birth)
        os.closerange(birth + 1, highest + 1)


def _read_from(text: str) -> None:
    """Have a text as stdin; it must fit into a pipe."""
    read, write = os.pipe()
    os.set_blocking(write, False)
    os.write(write, text.encode("utf-8", "replace"))
    os.close(write)
    os.dup2(read, 0)
    os.close(read)


def _limits(order: Order, _birth: int, _out: int) -> None:
    """Bound it: of each limit the soft and the hard one, None for what it has."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (_least(order["nofile"], hard), hard))
    for name, (soft, hard) in order.get("limits", {}).items():
        try:
            _limit(getattr(resource, f"RLIMIT_{name.upper()}"), soft, hard)
        except (OSError, ValueError, OverflowError, AttributeError) as error:
            raise ValueError(f"{name}: {error}") from None


def _limit(kind: int, soft: int | None, hard: int | None) -> None:
    had, most = resource.getrlimit(kind)
    if hard is None:
        hard = most
    if soft is None:
        soft = _least(had, hard)
    resource.setrlimit(kind, (soft, hard))


def _least(one: int, other: int) -> int:
    bounds = [limit for limit in (one, other) if limit != resource.RLIM_INFINITY]
    return min(bounds, default=resource.RLIM_INFINITY)


def _nice(order: Order, _birth: int, _out: int) -> None:
    if order.get("nice") is not None:
        os.setpriority(os.PRIO_PROCESS, 0, order["nice"])


def _umask(order: Order, _birth: int, _out: int) -> None:
    if order.get("umask") is not None:
        os.umask(order["umask"])


def _user(order: Order, _birth: int, _out: int) -> None:
    """Become the user for good: and do not believe it, but look."""
    if order.get("identity") is None:
        return
    uid, gid, groups = order["identity"]
    for call, ids in ((os.setgroups, (groups,)), (os.setresgid, [gid] * 3)):
        _called(call, ids)
    _called(os.setresuid, [uid] * 3)
    is_now = os.getresuid(), os.getresgid(), sorted(set(os.getgroups()))
    if is_now != ((uid,) * 3, (gid,) * 3, sorted(set(groups))):
        raise ValueError(f"asked for {uid}, {gid}, {groups}; it became {is_now}")
    if uid and (_can(os.setresuid) or (gid and _can(os.setresgid))):
        raise ValueError("it could become root again")
    told = order["env"].get("NOTIFY_SOCKET")
    if told and not os.access(told, os.W_OK):
        raise ValueError(f"it may not pass to {told!r}, where it is to tell that it is ready")
    if "call" in order and "ctypes" in sys.modules:
        # Without an exec the kernel still thinks that we have secrets to keep from this user, and
        # would not even let it open its own /proc/self/fd, as /dev/stdout is.
        sys.modules["ctypes"].CDLL(None).prctl(_PR_SET_DUMPABLE, 1, 0, 0, 0)


def _called(call: Callable[..., None], ids: Iterable[object]) -> None:
    try:
        call(*ids)
    except OSError as error:
        raise ValueError(f"{call.__name__}: {error.strerror}") from None


def _can(call: Callable[[int, int, int], None]) -> bool:
    try:
        call(0, 0, 0)
    except OSError:
        return False
    return True


def _cwd(order: Order, _birth: int, _out: int) -> None:
    os.chdir(order["cwd"])


def _title(order: Order, _birth: int, _out: int) -> None:
    if "title" in order:
        be_titled(order["title"])


def be_titled(title: str) -> None:
    """Be listed by ps under this title, where this interpreter has setproctitle.

    Only its kernel is loaded: the package would import logging into every service.
    """
    if "_setproctitle" not in sys.modules:
        folders = [f"{entry}/setproctitle" for entry in sys.path if entry]
        sys.path[:0] = folders
        try:
            __import__("_setproctitle")
        except ImportError:
            return
        finally:
            del sys.path[: len(folders)]
    sys.modules["_setproctitle"].setproctitle(title)


_STEPS = (
    ("group", _group),
    ("session", _session),
    ("signals", _signals),
    ("stdio", _stdio),
    ("limits", _limits),
    ("nice", _nice),
    ("umask", _umask),
    ("user", _user),
    ("cwd", _cwd),
    ("title", _title),
)

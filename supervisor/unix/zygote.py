"""The zygote: forks what posix_spawn cannot start, for a master that it never blocks.

This file stands alone. It is imported by keepd for the empty zygote, and run by any CPython 3.9+
as `python -I zygote.py FD` for services that are Python functions; keepd need not be installed
there. The zygote itself reads no order and imports nothing of the service's: for each birth it
gets a socket and the service's output, forks twice and reaps the go-between, so that the newborn
is the master's child (a subreaper), whatever becomes of the zygote. The newborn waits for its
order on that socket. If it never comes, because the master or the zygote was killed meanwhile,
the newborn ends: nothing half-born can ever become a service.

On the birth's socket the master reads lines: `pid N` (from the go-between), `born` (the zygote
has reaped it), then from the newborn `exec` (end of file or an error follows), `alive` (its
function is imported and about to be called), or `error "in words"`.
"""

from __future__ import annotations

import array
import atexit
import contextlib
import errno
import gc
import importlib
import json
import os
import resource
import signal
import socket
import struct
import sys
import threading
import traceback
import types
from typing import Any

try:
    from setproctitle import setproctitle
except ImportError:  # a foreign interpreter need not have it: its processes keep their names

    def setproctitle(title: str) -> None:  # noqa: ARG001, D103
        return


Order = dict[str, Any]
HEADER = struct.Struct("!I")  # length of the order, which is a JSON object
_LOST = 127  # exit code of a newborn that had to give up, seen by nobody
_WORDS = {
    errno.EACCES: "permission denied",
    errno.EISDIR: "is a directory",
    errno.ENOENT: "no such file",
    errno.ENOEXEC: "not an executable format",
    errno.ENOTDIR: "not a directory",
    errno.ETXTBSY: "the file is being written",
}


class CannotError(Exception):
    """Why a birth failed, in words that follow "cannot start web/0: "."""


# ---- looking up a program: shared with the births that need no zygote ------------------------


def program(name: str, path: str, cwd: str) -> str:
    """Return the file that `name` means to a service with this PATH and working directory."""
    if "/" in name:
        return name
    denied = False
    for folder in path.split(":"):
        file = os.path.join(folder, name)
        seen = os.path.join(cwd, file)
        if os.path.isfile(seen):
            if os.access(seen, os.X_OK):
                return file
            denied = True
    raise CannotError(f"{_WORDS[errno.EACCES if denied else errno.ENOENT]}: {name!r}")


def exec_words(error: OSError, name: str, file: str) -> str:
    """Return why the kernel would not execute `file`, which the service calls `name`."""
    if error.errno == errno.ENOENT and os.path.exists(file):
        return f"no such interpreter (the #! line, or the loader): {name!r}"
    if error.errno == errno.EACCES and os.path.isdir(file):
        return f"{_WORDS[errno.EISDIR]}: {name!r}"
    if error.errno in {errno.EAGAIN, errno.ENOMEM}:
        return f"no room for another process: {error.strerror}"
    return f"{_WORDS.get(error.errno or 0) or error.strerror or error}: {name!r}"


# ---- the loop --------------------------------------------------------------------------------


def serve(control: int) -> int:
    """Bear what the master asks for until it has gone; return the exit code."""
    with socket.socket(fileno=control) as asked:
        gc.freeze()  # the garbage collector of a newborn must not unshare our pages
        while True:
            data, fds = _receive(asked)
            if not data:
                return 0
            try:
                if len(fds) == 2:
                    _beget(asked, fds[0], fds[1])
            finally:
                for fd in fds:
                    os.close(fd)


def _receive(asked: socket.socket) -> tuple[bytes, list[int]]:
    # Not socket.recv_fds: it ignores its flags, and the descriptors would leak into services.
    room = socket.CMSG_SPACE(2 * 4)
    data, ancillary, _, _ = asked.recvmsg(16, room, socket.MSG_CMSG_CLOEXEC)
    fds = array.array("i")
    for level, kind, body in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            fds.frombytes(body[: len(body) // fds.itemsize * fds.itemsize])
    return data, list(fds)


def _beget(asked: socket.socket, birth: int, out: int) -> None:
    """Fork twice; every path of the two others ends in os._exit or exec."""
    try:
        between = os.fork()
    except OSError as error:
        _tell_error(birth, f"no room for another process: {error.strerror}")
        return
    if between == 0:
        try:
            pid = os.fork()
            if pid == 0:
                _live(asked, birth, out)
            _tell(birth, b"pid %d\n" % pid)
        except OSError as error:
            _tell_error(birth, f"no room for another process: {error.strerror}")
        finally:
            os._exit(0)
    os.waitpid(between, 0)
    _tell(birth, b"born\n")


def _tell(birth: int, line: bytes) -> None:
    with contextlib.suppress(OSError):  # the master does not wait for it any more
        os.write(birth, line)


def _tell_error(birth: int, words: str) -> None:
    _tell(birth, b"error " + json.dumps(words[:2000]).encode() + b"\n")


# ---- the newborn -----------------------------------------------------------------------------


def _live(asked: socket.socket, birth: int, out: int) -> None:
    code = _LOST
    try:
        asked.close()
        order = _order(birth)
        if order is not None:
            _prepare(order, birth, out)
            code = _call(order, birth) if "call" in order else _exec(order, birth)
    except CannotError as error:
        _tell_error(birth, str(error))
    except BaseException as error:  # noqa: BLE001 - it must end here, and be told in words
        traceback.print_exc()
        _tell_error(birth, repr(error))
    finally:
        os._exit(code)


def _order(birth: int) -> Order | None:
    """Return the master's order; None: it has thought better of it, or is no more."""
    head = _exactly(birth, HEADER.size)
    body = _exactly(birth, HEADER.unpack(head)[0]) if head else b""
    return json.loads(body) if body else None


def _exactly(fd: int, size: int) -> bytes:
    found = b""
    while len(found) < size:
        try:
            chunk = os.read(fd, size - len(found))
        except ConnectionError:
            return b""
        if not chunk:
            return b""
        found += chunk
    return found


def _prepare(order: Order, birth: int, out: int) -> None:
    """Do what must be done before exec, step by step; the step that fails is named."""
    step = "group"
    try:
        if order["group"]:
            with open(order["group"], "wb", buffering=0) as file:
                file.write(b"0")  # first of all: nothing of it is ever outside its group
        step = "session"
        os.setsid()
        step = "signals"
        _reset_signals("call" in order)
        step = "stdio"
        _stdio(birth, out)
        step = "limits"
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(order["nofile"], hard), hard))
        step = "cwd"
        os.chdir(order["cwd"])
    except OSError as error:
        words = _WORDS.get(error.errno or 0) or str(error)
        if step == "cwd":
            words = f"{words.replace('file', 'directory')}: {order['cwd']!r}"
        raise CannotError(f"{step}: {words}") from None


def _reset_signals(python: bool) -> None:
    """Default everything, empty the mask; a Python function gets what `python` would give it."""
    for signum in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        if signal.getsignal(signum) is not signal.SIG_DFL:
            signal.signal(signum, signal.SIG_DFL)
    if python:
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def _stdio(birth: int, out: int) -> None:
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    os.dup2(null, 0)
    os.dup2(out, 1)
    os.dup2(out, 2)
    highest = max(map(int, os.listdir("/proc/self/fd")))
    os.closerange(3, birth)
    os.closerange(birth + 1, highest + 1)


def _exec(order: Order, birth: int) -> int:
    argv, env = order["argv"], order["env"]
    file = program(argv[0], env.get("PATH", os.defpath), order["cwd"])
    _tell(birth, b"exec\n")
    try:
        os.execve(file, argv, env)
    except (OSError, ValueError) as error:
        words = exec_words(error, argv[0], file) if isinstance(error, OSError) else str(error)
        raise CannotError(words) from None


def _call(order: Order, birth: int) -> int:
    """Import the function, tell that it lives, call it; return what the process ends with."""
    os.environ.clear()
    os.environ.update(order["env"])
    extra = [entry for entry in order["env"].get("PYTHONPATH", "").split(":") if entry]
    sys.path[:0] = [order["cwd"], *extra]
    sys.argv[:] = [order["call"]]
    sys.modules["__main__"] = types.ModuleType("__main__")
    _streams()
    setproctitle(order["title"])
    try:
        function = _find(order["call"])
        gc.unfreeze()
        _tell(birth, b"alive\n")
        os.close(birth)
        function(*order["args"], **order["kwargs"])
        return _end(0)
    except CannotError:
        raise
    except SystemExit as end:
        if end.code is not None and not isinstance(end.code, int):
            print(end.code, file=sys.stderr)  # noqa: T201 - as the interpreter does
        return _end(0 if end.code is None else end.code if isinstance(end.code, int) else 1)
    except BaseException as error:  # noqa: BLE001 - user code may raise anything
        _show(error)
        return _end(1)


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
        found = importlib.import_module(name)
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
    frames = error.__traceback__
    traceback.print_exception(type(error), error, frames and (frames.tb_next or frames))


def _end(code: int) -> int:
    """End as an interpreter does: threads joined, exit handlers run, output flushed."""
    try:
        threading._shutdown()  # type: ignore[attr-defined] # noqa: SLF001
        atexit._run_exitfuncs()  # noqa: SLF001
    finally:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
    return code & 0xFF


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        setproctitle(f"keepd: zygote of {sys.executable}")
        sys.exit(serve(int(sys.argv[1])))

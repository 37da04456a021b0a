"""The zygote: forks what posix_spawn cannot start, for a master that it never blocks.

This file stands alone, and is run by any CPython 3.9+: `python -IS zygote.py FD SETUP_PY "" SITE`
bears commands that need something set up before their exec, `python -I zygote.py FD SETUP_PY
FUNCTION_PY SITE` services that are Python functions; keepd need not be installed there. Every
module more makes each fork dearer, so it imports very few. The zygote itself reads no order: for
each birth it gets a socket, the service's output and perhaps its cgroup, and makes a newborn that
is the master's child (by CLONE_PARENT, or by forking twice and reaping the go-between: the master
is a subreaper), whatever becomes of the zygote. The newborn waits for its order on that socket. If
it never comes, because the master or the zygote was killed meanwhile, the newborn ends: nothing
half-born can ever become a service.

On the birth's socket the master reads lines: `pid N`, `born` (it is the master's child now), then
from the newborn `exec` (end of file or an error follows), `alive` (its function is imported and
about to be called), `failed STEP ERRNO words`, or `error words`.
"""

from __future__ import annotations

import _signal as signal  # type: ignore[import-not-found] # the C halves only: the others make
import _socket as socket  # a fork a third dearer
import array
import errno
import gc
import marshal
import os
import sys

try:
    import ctypes
except ImportError:  # a slim interpreter: it forks twice
    ctypes = None  # type: ignore[assignment]

TYPE_CHECKING = False  # as typing has it, which would be dear
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Order = dict[str, Any]
    Prepare = Callable[[Order, int, int], "tuple[str, Exception] | None"]
    Call = Callable[[Order, int], int]

HEADER = 4  # bytes: the length of the order that follows, which is marshalled
FORMAT = 2  # of marshal: what every version reads and writes
_SYS_CLONE3 = 435  # the same on every architecture
_CLONE_PARENT = 0x8000
_CLONE_INTO_CGROUP = 0x2_0000_0000  # Linux 5.7
# An old kernel, a sandbox, or no cgroup: it may still work in two steps.
_UNKNOWN = {errno.ENOSYS, errno.EPERM, errno.EINVAL, errno.E2BIG, errno.EBADF}
_LOST = 127  # exit code of a newborn that had to give up, seen by nobody


def program(name: str, path: str, cwd: str) -> str:
    """Return the file that `name` means to a service with this PATH and cwd; OSError if none."""
    if "/" in name:
        return name
    denied = False
    for folder in path.split(":"):
        file = f"{folder or '.'}/{name}"
        seen = file if file[0] == "/" else f"{cwd}/{file}"
        if os.access(seen, os.X_OK) and os.path.isfile(seen):
            return file
        denied = denied or os.path.isfile(seen)
    raise OSError(errno.EACCES if denied else errno.ENOENT, "not found in PATH")


class Zygote:
    """What a zygote has: where births are asked for, who sets them up, and who calls functions."""

    def __init__(self, control: int, prepare: Prepare, call: Call | None) -> None:
        os.set_inheritable(control, False)
        self.asked = socket.socket(fileno=control)
        self.prepare = prepare
        self.call = call


def serve(control: int, prepare: Prepare, call: Call | None = None) -> None:
    """Bear what the master asks for, until it has gone."""
    zygote = Zygote(control, prepare, call)
    beget = _beget_twice if call or ctypes is None else _beget_beside
    gc.collect()
    gc.freeze()  # the garbage collector of a newborn must not unshare our pages
    while True:
        data, fds = _receive(zygote.asked)
        if not data:
            return
        if len(fds) >= 2:
            try:
                beget(zygote, *fds)
            except OSError as error:
                _tell_failed(fds[0], "fork", error)
        for fd in fds:
            os.close(fd)


def _receive(asked: socket.socket) -> tuple[bytes, list[int]]:
    # Not socket.recv_fds: it ignores its flags, and the descriptors would leak into services.
    room = socket.CMSG_SPACE(3 * 4)
    data, ancillary, _, _ = asked.recvmsg(16, room, socket.MSG_CMSG_CLOEXEC)
    fds = array.array("i")
    for level, kind, body in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            fds.frombytes(body[: len(body) // fds.itemsize * fds.itemsize])
    return data, list(fds)


def _clone(group: int) -> int:
    """Fork a child of our own parent, in a cgroup if one is given; return as os.fork does.

    The C library is not told: such a newborn must do little, and execute a program soon.
    """
    libc = ctypes.PyDLL(None, use_errno=True)  # keeps the interpreter's lock over the call
    flags = _CLONE_PARENT | (_CLONE_INTO_CGROUP if group >= 0 else 0)
    words = array.array("Q", [flags, *[0] * 7, *([0, 0, group] if group >= 0 else ())])
    address, size = words.buffer_info()
    libc.PyOS_BeforeFork()
    pid: int = libc.syscall(_SYS_CLONE3, ctypes.c_void_p(address), size * words.itemsize)
    if pid == 0:
        libc.PyOS_AfterFork_Child()
        return 0
    number = ctypes.get_errno()
    libc.PyOS_AfterFork_Parent()
    if pid < 0:
        raise OSError(number, os.strerror(number))
    return pid


def _beget_beside(zygote: Zygote, birth: int, out: int, group: int = -1) -> None:
    """Fork once, beside us; every path of the other ends in os._exit or exec."""
    try:
        pid = _clone(group)
    except OSError as error:
        if error.errno not in _UNKNOWN:
            raise
        _beget_twice(zygote, birth, out)
        return
    if pid == 0:
        _live(zygote, birth, out, inside=group >= 0)
    _tell(birth, b"pid %d\nborn\n" % pid)


def _beget_twice(zygote: Zygote, birth: int, out: int, _group: int = -1) -> None:
    """Fork twice; every path of the two others ends in os._exit or exec."""
    between = os.fork()
    if between == 0:
        try:
            pid = os.fork()
            if pid == 0:
                _live(zygote, birth, out, inside=False)
            _tell(birth, b"pid %d\n" % pid)
        except OSError as error:
            _tell_failed(birth, "fork", error)
        finally:
            os._exit(0)
    os.waitpid(between, 0)
    _tell(birth, b"born\n")


def _tell(birth: int, line: bytes) -> None:
    try:
        os.write(birth, line)
    except OSError:  # the master does not wait for it any more
        return


def _tell_failed(birth: int, step: str, error: BaseException) -> None:
    number = error.errno if isinstance(error, OSError) and error.errno else 0
    words = " ".join(str(error)[:2000].split())
    _tell(birth, f"failed {step} {number} {words}\n".encode("utf-8", "replace"))


def _live(zygote: Zygote, birth: int, out: int, *, inside: bool) -> None:
    """Be the newborn, in its group or not yet: wait for the order, prepare, become the service."""
    code = _LOST
    try:
        zygote.asked.close()
        order = _order(birth)
        if order is not None and inside:
            order["group"] = None
        if order is not None and "WATCHDOG_USEC" in order["env"]:
            order["env"]["WATCHDOG_PID"] = str(os.getpid())
        failed = order is not None and zygote.prepare(order, birth, out)
        if failed:
            _tell_failed(birth, *failed)
        elif order is not None:
            code = zygote.call(order, birth) if zygote.call else _exec(order, birth)
    except BaseException as error:  # noqa: BLE001 - it must end here, and be told
        _tell_failed(birth, "birth", error)
    finally:
        os._exit(code)


def _order(birth: int) -> Order | None:
    """Return the master's order; None: it has thought better of it, or is no more."""
    size = int.from_bytes(_exactly(birth, HEADER), "big")
    body = _exactly(birth, size)
    return marshal.loads(body) if body else None  # noqa: S302 - the master's, on its own socket


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


def _exec(order: Order, birth: int) -> int:
    argv, env = order["argv"], order["env"]
    step = "lookup"
    try:
        file = program(argv[0], env.get("PATH", os.defpath), order["cwd"])
        step = "exec"
        _tell(birth, b"exec\n")
        os.execve(file, argv, env)
    except (OSError, ValueError) as error:
        _tell_failed(birth, step, error)
        return _LOST


def _load(path: str) -> dict[str, Any]:
    """Return what is defined by a module that stands alone, given by a descriptor.

    It need not be on our disk; our own interpreter reads it fastest compiled.
    """
    with open(path, "rb") as file:
        data = file.read()
    source = data.startswith(b'"""')
    code = compile(data, "function.py", "exec") if source else marshal.loads(data)  # noqa: S302
    names: dict[str, Any] = {"__name__": "keepd"}
    exec(code, names)  # noqa: S102 - our own
    return names


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    control, setup, function, site = sys.argv[1:]
    found = _load(setup)
    sys.path.append(site)
    found["be_titled"]("keepd: zygote" + (f" of {sys.executable}" if function else ""))
    sys.path.remove(site)
    call = _load(function)["call"] if function else None
    for code in filter(None, (sys.argv[0], setup, function)):
        os.close(int(code.rpartition("/")[2]))
    serve(int(control), found["prepare"], call)

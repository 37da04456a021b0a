"""Reads a config in a short-lived process of its own, so that no file can harm its caller.

The child is limited in memory, CPU and time, and is the only place that imports YAML and msgspec;
it answers through a pipe. A child that dies, hangs or is killed is a fault in words. The caller
must be single-threaded: the child is forked.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import resource
import select
import signal
import sys
import time
from collections.abc import Callable
from typing import Final

from supervisor.records import asdict, record

from .faults import Fault
from .places import Overrides, Places

_PLAN: Final = b"P"  # what follows is what was asked for
_FAULTS: Final = b"F"
_CHUNK: Final = 2**18
_PATIENCE: Final = 1_000  # milliseconds for a killed child to go


@record(frozen=True)
class Limits:
    """What the child may use."""

    seconds: float = 10.0
    memory: int = 2**30  # bytes of address space beside what the caller has


def read_apart(
    path: str,
    overrides: Overrides | None = None,
    limits: Limits = Limits(),
    meanwhile: Callable[[], object] | None = None,
) -> str | tuple[Fault, ...]:
    """Return the plan of a config as JSON (see plan.decode), or all that is wrong with it.

    While the child reads, `meanwhile` is called: what it takes costs nothing where there are two
    cores.
    """
    answer = _ask("plan", path, overrides or Overrides(), limits, meanwhile)
    return answer if isinstance(answer, tuple) else answer.decode()


def locate_apart(
    path: str, overrides: Overrides | None = None, limits: Limits = Limits()
) -> Places | tuple[Fault, ...]:
    """Return a project's name and directories, whatever is wrong with its services.

    This is for the words that speak to a running keepd: a broken service must not keep anyone from
    `status` or `down`.
    """
    answer = _ask("places", path, overrides or Overrides(), limits)
    return answer if isinstance(answer, tuple) else Places(**json.loads(answer))


def serve(
    out: int, path: str, overrides: Overrides, keep: Callable[[bytes], None] | None = None
) -> int:
    """Be the reader, in a process that somebody has forked who cannot wait; return the exit code.

    What is written into `out` is for `understood`. A plan is given to `keep` first; an OSError of
    that is told as a fault.
    """
    limits = Limits()
    _limit(limits)
    try:
        data = _answer("plan", path, overrides)
        if data[:1] == _PLAN and keep is not None:
            data = _kept(data, keep)
        _write(out, data)
    except MemoryError:
        return os.EX_UNAVAILABLE
    return os.EX_OK


def _kept(data: bytes, keep: Callable[[bytes], None]) -> bytes:
    try:
        keep(data[1:])
    except OSError as error:
        what = f"cannot write the plan: {error.strerror or error}"
        return _FAULTS + _json([asdict(Fault(error.filename or "", 0, 0, "", what))])
    return data


def late(path: str, limits: Limits = Limits()) -> tuple[Fault, ...]:
    """Return what is told of a child that has not answered in time."""
    return _fault(path, f"took longer than {limits.seconds:g} s")


def schema_apart(limits: Limits = Limits()) -> str:
    """Return the JSON Schema of a config file, as JSON; RuntimeError if the child dies."""
    answer = _ask("schema", "", Overrides(), limits)
    if isinstance(answer, tuple):
        raise RuntimeError(answer[0].message)  # noqa: TRY004 - no question of types
    return answer.decode()


def _ask(
    what: str,
    path: str,
    overrides: Overrides,
    limits: Limits,
    meanwhile: Callable[[], object] | None = None,
) -> bytes | tuple[Fault, ...]:
    # Where SIGCHLD is ignored, as some parents leave it to us, a child cannot be waited for.
    ignored = signal.getsignal(signal.SIGCHLD) == signal.SIG_IGN
    if ignored:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    try:
        return _asked(what, path, overrides, limits, meanwhile)
    finally:
        if ignored:
            signal.signal(signal.SIGCHLD, signal.SIG_IGN)


def _asked(
    what: str,
    path: str,
    overrides: Overrides,
    limits: Limits,
    meanwhile: Callable[[], object] | None,
) -> bytes | tuple[Fault, ...]:
    ours, theirs = os.pipe2(os.O_CLOEXEC)
    deadline = time.monotonic() + limits.seconds
    for stream in (sys.stdout, sys.stderr):  # what they hold would be written twice
        with contextlib.suppress(OSError, ValueError, AttributeError):
            stream.flush()
    pid = os.fork()
    if pid == 0:
        _child(theirs, limits, lambda: _answer(what, path, overrides))
    os.close(theirs)
    pidfd = os.pidfd_open(pid)
    try:
        if meanwhile is not None:
            meanwhile()
        data = _received(ours, deadline)
        if not _ended(pidfd, deadline if data is not None else 0):
            return late(path, limits)
        status = os.waitpid(pid, 0)[1]
        pid = 0
    finally:
        os.close(ours)
        _end(pid, pidfd)
    if data is None:
        return late(path, limits)
    return understood(path, data, os.waitstatus_to_exitcode(status), limits)


def understood(
    path: str, data: bytes, code: int, limits: Limits = Limits()
) -> bytes | tuple[Fault, ...]:
    """Return what a child has said that ended with `code`."""
    if code == -signal.SIGXCPU:
        return _fault(path, f"took longer than {limits.seconds:g} s of CPU")
    if code < 0:
        return _fault(path, f"its reader was killed by {signal.Signals(-code).name}")
    if code == os.EX_UNAVAILABLE:
        return _fault(path, f"needed more than {limits.memory // 2**20} MiB of memory")
    if code or data[:1] not in {_PLAN, _FAULTS}:
        return _fault(path, f"its reader ended with exit code {code}")
    if data[:1] == _PLAN:
        return data[1:]
    return tuple(Fault(**fault) for fault in json.loads(data[1:]))


def _fault(path: str, what: str) -> tuple[Fault, ...]:
    return (Fault(path, 0, 0, "", f"cannot read {path or 'the schema'}: {what}"),)


def _received(source: int, deadline: float) -> bytes | None:
    """Return all that comes until the end, None if that has not come by the deadline."""
    waiting = select.poll()
    waiting.register(source, select.POLLIN)
    chunks: list[bytes] = []
    while True:
        left = deadline - time.monotonic()
        if left <= 0 or not waiting.poll(left * 1000):
            return None
        chunk = os.read(source, _CHUNK)
        if not chunk:
            return b"".join(chunks)
        chunks.append(chunk)


def _ended(pidfd: int, deadline: float) -> bool:
    """Return whether the child has ended by the deadline."""
    waiting = select.poll()
    waiting.register(pidfd, select.POLLIN)
    return bool(waiting.poll(max(0.0, deadline - time.monotonic()) * 1000))


def _end(pid: int, pidfd: int) -> None:
    """End a child that is still there; one that hangs in the kernel is left to its end."""
    if pid:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        waiting = select.poll()
        waiting.register(pidfd, select.POLLIN)
        if waiting.poll(_PATIENCE):
            os.waitpid(pid, 0)
    os.close(pidfd)


def _child(out: int, limits: Limits, answer: Callable[[], bytes]) -> None:
    """Answer and exit; nothing of the caller goes on in this process, whatever happens."""
    code = os.EX_SOFTWARE
    try:
        signal.set_wakeup_fd(-1)
        for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGXCPU):
            signal.signal(signum, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        _limit(limits)
        _write(out, answer())
        code = os.EX_OK
    except MemoryError:
        code = os.EX_UNAVAILABLE
    finally:
        if code == os.EX_SOFTWARE:
            sys.excepthook(*sys.exc_info())
        os._exit(code)


def _write(out: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(out, rest) :]


def _limit(limits: Limits) -> None:
    """Bound this process; what is bounded lower already stays so."""
    with open("/proc/self/statm", "rb") as file:
        used = int(file.read().split()[0]) * resource.getpagesize()
    cpu = int(limits.seconds) + 1
    for kind, most in (
        (resource.RLIMIT_AS, used + limits.memory),
        (resource.RLIMIT_CPU, cpu),
        (resource.RLIMIT_CORE, 0),
    ):
        soft, hard = resource.getrlimit(kind)
        bounds = [limit for limit in (soft, hard, most) if limit != resource.RLIM_INFINITY]
        resource.setrlimit(kind, (min(bounds), hard))


def _answer(what: str, path: str, overrides: Overrides) -> bytes:
    """Return what the caller asked for, or faults, with the sign of which it is."""
    # Imported by name and only here: this is the process that YAML and msgspec are meant for.
    if what == "schema":
        schema: str = importlib.import_module("supervisor.config.jsonschema").text()
        return _PLAN + schema.encode()
    if what == "places":
        result = importlib.import_module("supervisor.config.top").locate(path, overrides)
    else:
        result = importlib.import_module("supervisor.config.read").read(path, overrides)
    if isinstance(result, tuple):
        return _FAULTS + _json([asdict(fault) for fault in result])
    if isinstance(result, Places):
        return _PLAN + _json(asdict(result))
    encoded: str = importlib.import_module("supervisor.config.plan").encode(result)
    return _PLAN + encoded.encode()


def _json(thing: object) -> bytes:
    return json.dumps(thing, separators=(",", ":")).encode()

"""`keepd up`: from a config to an anchor that holds the lock.

In this order: read everything, so that a fault changes nothing; take the lock, so that nothing of
a running keepd is touched; write the plan; become the anchor, or fork it with -d.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import select
import sys
import time

from supervisor import launch
from supervisor.config import plan
from supervisor.control.client import Client, NoDaemon

from . import names, place, reading, show, words
from .outcome import DONE, FAILED, Failure

TYPE_CHECKING = False  # see control/client.py
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from types import ModuleType

_CRASHED = 70  # EX_SOFTWARE
_GLANCE = 20  # milliseconds between two looks for the socket of a newborn daemon
_SAID = "stderr"  # in the runtime directory: what a detached keepd has to say of itself


def options(parser: ArgumentParser, _word: str) -> None:
    """Say what the word takes."""
    parser.description = (
        "Start keepd and its services. It stays in the foreground and shows what the services\n"
        "print: Ctrl-C stops them in order, a second one hurries, a third one kills.\n"
        "With -d it goes to the background and returns when everything is ready."
    )
    parser.add_argument("names", metavar="NAME", nargs="*", help="start only these at first")
    parser.add_argument("-d", "--detach", action="store_true", help="run in the background")
    parser.add_argument(
        "--timeout",
        metavar="T",
        type=show.seconds,
        default=words.PATIENCE,
        help="with -d: give up waiting after T, as 30s or 5min (default: 60s)",
    )
    parser.add_argument("--json", action="store_true", help="with -d: print the answer as JSON")


def run(options: Namespace) -> int:
    """Carry out the word: with -d the launching side of it, else be the daemon."""
    start = _prepared(options)  # what it read is forgotten: the anchor shall be small
    if options.detach:
        return _detached(start, options)
    launch.sign(start.lock_fd)
    return int(_anchor().run(start))


def _anchor() -> ModuleType:
    """Return the anchor's module; it is first imported while the config is read elsewhere."""
    return importlib.import_module("supervisor.anchor")


def _prepared(options: Namespace) -> launch.Launch:
    managed = not options.detach and "NOTIFY_SOCKET" in os.environ
    config = place.find_config(options.config)
    try:
        text = reading.plan_text(config, options.runtime_dir, _anchor)
    except Failure as failure:
        before = _in_force(options, failure) if managed else None
        if before is None:
            raise
        text = before
    whole = plan.decode(text) if options.names else plan.outline(text)
    names.meant(whole, options.names)  # a name that means nothing changes nothing
    lock = _claimed(whole.run_dir, managed)
    try:
        launch.apply(whole.run_dir, text)
    except OSError as error:
        raise _unusable(whole.run_dir, error) from None
    _make_log_dir(whole.log_dir)
    return _launch(options, whole, lock, managed=managed)


def _in_force(options: Namespace, failure: Failure) -> str | None:
    """Return the plan of a keepd that was killed: a fault in another must not cost its services."""
    with contextlib.suppress(Failure):
        text = launch.left(place.run_dir(options))
        if text is not None:
            for line in (failure.message, *failure.lines):
                print(show.clean(line), file=sys.stderr)
            print("keepd goes on with the list of services that was in force", file=sys.stderr)
        return text
    return None


def finish(options: Namespace) -> int | None:
    """End what a killed keepd has left, in order, as that one would have; None: there is none."""
    run_dir = place.run_dir(options)
    text = launch.left(run_dir)
    if text is None:
        return None
    whole = plan.outline(text)
    try:
        lock = launch.claim_from_dead(run_dir)
    except launch.Taken as taken:
        text = f"cannot stop keepd (pid {taken.pid}): it was restarted meanwhile; try again"
        raise Failure(FAILED, "failed", text) from None
    except OSError as error:
        raise _unusable(run_dir, error) from None
    launch.sign(lock)
    start = _launch(options, whole, lock, ends=True)
    return int(_anchor().run(start))


def _launch(
    options: Namespace, whole: plan.Plan, lock: int, *, managed: bool = False, ends: bool = False
) -> launch.Launch:
    named = options.runtime_dir or os.environ.get("KEEPD_RUNTIME_DIR")
    return launch.Launch(
        run_dir=whole.run_dir,
        log_dir=whole.log_dir,
        project=whole.name,
        folder=whole.folder,
        lock_fd=lock,
        names=() if ends else tuple(options.names),
        foreground=not ends and not options.detach,
        colour=show.coloured(sys.stdout),
        given_dir=whole.run_dir if named else None,
        managed=managed,
        ends=ends,
    )


def _make_log_dir(log_dir: str) -> None:
    """Have the directory of the logs; raises Failure where there can be none."""
    why = ""
    try:
        os.makedirs(log_dir, exist_ok=True)
    except OSError as error:
        why = error.strerror or str(error)
    if why or not os.access(log_dir, os.W_OK | os.X_OK):
        text = f"cannot write logs into {log_dir}: {why or 'permission denied'}"
        raise Failure(FAILED, "bad-log-dir", text)


def _claimed(run_dir: str, evict: bool) -> int:
    try:
        return (launch.claim_from_dead if evict else launch.claim)(run_dir)
    except launch.Taken as taken:
        who = f" (pid {taken.pid})" if taken.pid else ""
        text = f"cannot start keepd: it is already running here{who}"
        raise Failure(
            FAILED, "already-running", f"{text}; `keepd start NAME` is what you want"
        ) from None
    except OSError as error:
        raise _unusable(run_dir, error) from None


def _unusable(run_dir: str, error: OSError) -> Failure:
    what = error.filename or "."
    if os.path.isabs(what):  # else it is a name in that folder already
        what = os.path.relpath(what, run_dir)
    why = error.strerror or str(error)
    text = f"cannot use {run_dir} as runtime directory: {'' if what == '.' else what + ': '}{why}"
    return Failure(FAILED, "bad-runtime-dir", text)


def _detached(start: launch.Launch, options: Namespace) -> int:
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        said = os.open(os.path.join(start.run_dir, _SAID), flags, 0o600)
    except OSError as error:
        raise _unusable(start.run_dir, error) from None
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        _be_daemon(start, said)
    os.close(said)
    os.close(start.lock_fd)
    options.goal = "ready"
    try:
        answer = _became_ready(pid, start, options)
    except KeyboardInterrupt:
        print(f"keepd goes on in the background (pid {pid})", file=sys.stderr)
        raise
    if options.json:
        show.as_json({"pid": pid, **answer})
    else:
        print(
            f"ready: {words.listed(answer['replicas'])}; keepd runs in the background (pid {pid})"
        )
    return DONE


def _be_daemon(start: launch.Launch, said: int) -> None:
    code = _CRASHED
    try:
        os.setsid()
        null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        for fd, target in ((null, 0), (null, 1), (said, 2)):
            os.dup2(fd, target)
        os.close(null)
        os.close(said)
        launch.sign(start.lock_fd)
        code = _anchor().run(start)
    finally:
        if code == _CRASHED and sys.exc_info()[0]:
            sys.excepthook(*sys.exc_info())
        os._exit(code)


def _became_ready(pid: int, start: launch.Launch, options: Namespace) -> dict[str, list[str]]:
    """Return the daemon's answer when all that is wanted is ready; raises Failure."""
    deadline = time.monotonic() + options.timeout
    with contextlib.closing(_Child(pid, start.run_dir)) as child:
        try:
            with child.connected(deadline) as client:
                options.timeout = max(deadline - time.monotonic(), 0.001)
                answer: dict[str, list[str]] = words.reached(client, list(start.names), options)
                return answer
        except NoDaemon:
            raise child.failure("it has ended") from None


class _Child:
    """The daemon, as the process that launched it sees it."""

    def __init__(self, pid: int, run_dir: str) -> None:
        self._pid = pid
        self._run_dir = run_dir
        self._pidfd = os.pidfd_open(pid)

    def close(self) -> None:
        """Leave the daemon to itself."""
        os.close(self._pidfd)

    def connected(self, deadline: float) -> Client:
        """Return a client as soon as the daemon listens; raises Failure if it does not."""
        poll = select.poll()
        poll.register(self._pidfd, select.POLLIN)
        while time.monotonic() < deadline:
            with contextlib.suppress(NoDaemon):
                return Client.connect(f"{self._run_dir}/control.sock")
            if poll.poll(_GLANCE):
                status = os.waitpid(self._pid, 0)[1]
                raise self.failure(f"it ended with {os.waitstatus_to_exitcode(status)}")
        raise self.failure("it does not listen yet")

    def failure(self, what: str) -> Failure:
        """Return the failure, with what the daemon said of itself."""
        said: list[str] = []
        with contextlib.suppress(OSError), open(f"{self._run_dir}/{_SAID}", "rb") as file:
            said = file.read(1 << 16).decode("utf-8", "backslashreplace").splitlines()
        return Failure(FAILED, "failed", f"cannot start keepd in the background: {what}", said)

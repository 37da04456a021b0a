"""The words that are one or two requests: start stop restart signal wait down version."""

from __future__ import annotations

import contextlib
import os
import select
import time

from supervisor import __version__
from supervisor.control.client import Client, NoDaemon, Refused

from . import place, show
from .outcome import DONE, TIMED_OUT, Failure, code_of

TYPE_CHECKING = False  # see control/client.py
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from typing import Any

GOALS = {"start": "ready", "stop": "stopped", "restart": "ready"}
PATIENCE = 60.0  # seconds that start, stop and restart wait, unless told otherwise
_SHOWN = 8  # ids on one line
_GRACE = 5.0  # more than the daemon has: it is the one to say that the time is up

_ABOUT = {
    "start": "Start services that are stopped, and wait until they are ready.",
    "stop": "Stop services, and wait until no process of them is left.",
    "restart": "Stop services and start them again, and wait until they are ready.",
    "signal": "Send a signal to the main process of each service.",
    "wait": "Wait until services have reached a state. Exit code 1: they cannot reach it.",
    "down": "Stop all services in order, then keepd itself, and wait until it is gone.\n"
    "Where keepd was killed, what it has left is stopped.",
    "version": "Show the version of this command, and of the daemon if one runs.",
}


def options(parser: ArgumentParser, word: str) -> None:
    """Say what the word takes."""
    parser.description = _ABOUT[word]
    if word == "signal":
        parser.add_argument("signal", metavar="SIG", help="HUP, SIGHUP or 1")
    if word in GOALS or word == "signal":
        parser.add_argument("names", metavar="NAME", nargs="+", help="web, web/0 or 'w*'")
    if word in GOALS:
        parser.add_argument("--no-wait", action="store_true", help="return at once")
    if word == "wait":
        parser.add_argument("names", metavar="NAME", nargs="*", help="default: all services")
        goals = ("ready", "stopped", "completed")
        text = "ready (the default), stopped, or completed: ended as it was meant to"
        parser.add_argument(
            "--for", dest="goal", metavar="STATE", choices=goals, default="ready", help=text
        )
    if word not in ("signal", "version"):
        default = PATIENCE if word in GOALS else None
        text = f"give up after T, as 30s or 5min (default: {'60s' if default else 'never'})"
        parser.add_argument("--timeout", metavar="T", type=show.seconds, default=default, help=text)
    parser.add_argument("--json", action="store_true", help="print the answer as JSON")


def run(options: Namespace) -> int:
    """Carry out the word."""
    if options.word == "version":
        return _version(options)
    with Client.connect(place.socket_path(options)) as client:
        match options.word:
            case "signal":
                params = {"names": options.names, "signal": options.signal}
                return _told(client.call("signal", params), options, "signalled")
            case "wait":
                return _told(reached(client, options.names, options), options, options.goal)
            case _:
                return _steered(client, options)


def reached(client: Client, names: list[str], options: Namespace) -> Any:  # noqa: ANN401 (JSON)
    """Return the daemon's answer when all named have reached `options.goal`.

    Raises Failure, with a line for each that has not.
    """
    limit = options.timeout
    params = {"names": names, "for": options.goal, "timeout": limit}
    try:
        return client.call("wait", params, None if limit is None else limit + _GRACE)
    except Refused as error:
        if error.kind not in ("timeout", "failed"):
            raise
        code, text = code_of(error.kind), error.message
        if not text.startswith("cannot "):
            text = f"cannot wait longer: {text}"
        lines = explained(client, error.data.get("replicas"))
        raise Failure(code, error.kind, text, lines, error.data) from None


def explained(client: Client, replicas: list[str] | None) -> list[str]:
    """Return a line for each replica: its state, and why in words."""
    if not replicas:
        return []
    with contextlib.suppress(Refused, NoDaemon):
        status = client.call("status", {"names": replicas})
        return [
            f"{one['id']} {one['state']}" + (f": {one['text']}" if one.get("text") else "")
            for service in status["services"].values()
            for one in service["replicas"]
        ]
    return replicas


def _steered(client: Client, options: Namespace) -> int:
    accepted = client.call(options.word, {"names": options.names})
    if options.no_wait:
        return _told(accepted, options, "told to " + options.word)
    options.goal = GOALS[options.word]
    return _told(reached(client, accepted["replicas"], options), options, options.goal)


def _told(answer: Any, options: Namespace, what: str) -> int:  # noqa: ANN401 (JSON)
    if options.json:
        show.as_json(answer)
    else:
        print(f"{what}: {listed(answer['replicas'])}")
    return DONE


def listed(replicas: list[str]) -> str:
    """Return the ids on one line, not all of them if they are many."""
    more = len(replicas) - _SHOWN
    return " ".join(replicas[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


def down(client: Client, options: Namespace) -> int:
    """Have a keepd that runs end everything, and itself."""
    deadline = None if options.timeout is None else time.monotonic() + options.timeout
    answer = client.call("down", {})
    # A master whose anchor is killed meanwhile takes its place, and goes on with that.
    pids = [answer["pid"], answer.get("master_pid", answer["pid"])]
    gone = client.ended(_left(deadline)) and all(_ended(pid, _left(deadline)) for pid in pids)
    if not gone:
        text = f"cannot wait longer: keepd (pid {answer['pid']}) is still stopping its services"
        raise Failure(TIMED_OUT, "timeout", text)
    if options.json:
        show.as_json(answer)
    else:
        print(f"keepd (pid {answer['pid']}) has stopped everything and ended")
    return DONE


def _left(deadline: float | None) -> float | None:
    return None if deadline is None else max(deadline - time.monotonic(), 0.001)


def _ended(pid: int, limit: float | None) -> bool:
    """Return whether a process has ended within `limit` seconds; it need not be our child."""
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        return bool(poll.poll(None if limit is None else limit * 1000))
    finally:
        os.close(pidfd)


def _version(options: Namespace) -> int:
    daemon = None
    with (
        contextlib.suppress(Failure, NoDaemon, Refused),
        Client.connect(place.socket_path(options)) as client,
    ):
        daemon = client.call("version", {})
    if options.json:
        show.as_json({"version": __version__, "daemon": daemon})
    else:
        print(f"keepd {__version__}")
        print(f"daemon {daemon['version']}" if daemon else "daemon: none is running here")
    return DONE

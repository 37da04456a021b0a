"""`keepd upgrade`: the daemon becomes the code that is installed now; no service notices."""

from __future__ import annotations

import select
import time

from supervisor.control.client import Client, NoDaemon, Refused

from . import place, show
from .outcome import DONE, FAILED, TIMED_OUT, Failure

TYPE_CHECKING = False  # see control/client.py
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from typing import Any

_TRIAL = 30.0  # seconds: more than a trial may take
_GLANCE = 20  # milliseconds


def options(parser: ArgumentParser, _word: str) -> None:
    """Say what the word takes."""
    parser.description = (
        "Let the keepd that runs become the code that is installed now, in place: same pid,\n"
        "no service is restarted. That code is tried first, in a process and a directory of its\n"
        "own, on a throw-away service; if that fails, nothing has changed."
    )
    parser.add_argument(
        "--timeout",
        metavar="T",
        type=show.seconds,
        default=_TRIAL,
        help="give up waiting after T, as 30s or 5min (default: 30s)",
    )
    parser.add_argument("--json", action="store_true", help="print the answer as JSON")


def run(options: Namespace) -> int:
    """Carry out the word."""
    path, deadline = place.socket_path(options), time.monotonic() + options.timeout
    try:
        with Client.connect(path) as client:
            before = client.call("status", {})
            answer: dict[str, Any] = client.call("upgrade", {}, options.timeout)
    except Refused as refused:
        said = refused.data.get("said", [])
        raise Failure(FAILED, refused.kind, str(refused), said if len(said) > 1 else []) from None
    after = _answered(path, before["daemon"]["master_pid"], deadline)
    found = after["daemon"]["version"]
    if found != answer["version"]:
        text = f"cannot take over to {answer['version']}: keepd goes on as {found}"
        raise Failure(FAILED, "failed", text)
    ran = _runs(before)
    same = ran.items() & _runs(after).items()
    answer |= {"pid": after["daemon"]["pid"], "untouched": len(same), "replicas": len(ran)}
    if options.json:
        show.as_json(answer)
    else:
        print(
            f"upgraded from {answer['before']} to {answer['version']} (pid {answer['pid']}):"
            f" {answer['untouched']} of {answer['replicas']} replicas that ran go on untouched"
        )
    return DONE


def _answered(path: str, master: int, deadline: float) -> dict[str, Any]:
    """Return the status that another master tells; raises Failure."""
    while time.monotonic() < deadline:
        try:
            with Client.connect(path) as client:
                status: dict[str, Any] = client.call("status", {})
                if status["daemon"]["master_pid"] != master:
                    return status
        except (NoDaemon, Refused):  # it is not there yet
            pass
        select.poll().poll(_GLANCE)
    raise Failure(TIMED_OUT, "timeout", "keepd does not answer since its upgrade")


def _runs(status: dict[str, Any]) -> dict[str, tuple[int, int]]:
    replicas = [one for service in status["services"].values() for one in service["replicas"]]
    return {one["id"]: (one["run"], one["pid"]) for one in replicas if one["pid"]}

"""`keepd status`: one line a replica, with the reason in words for whatever is not as wanted."""

from __future__ import annotations

import sys

from supervisor.control.client import Client

from . import place, show
from .outcome import DONE, FAILED

TYPE_CHECKING = False  # see control/client.py
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from typing import Any

_FINE = ("RUNNING", "EXITED")  # EXITED: it ended, and was meant to
_COLOURS = {
    "RUNNING": show.GREEN,
    "STARTING": show.YELLOW,
    "STOPPING": show.YELLOW,
    "BACKOFF": show.YELLOW,
    "FATAL": show.RED,
    "STOPPED": show.DIM,
    "EXITED": show.DIM,
}
_HEAD = ("NAME", "STATE", "READY", "PID", "UPTIME", "RESTARTS", "")
_RIGHT = (3, 4, 5)  # columns of numbers


def options(parser: ArgumentParser, _word: str) -> None:
    """Say what the word takes."""
    parser.description = (
        "Show the state of services, and why in words.\n"
        "Exit code 0: all that is wanted runs, or has completed; 1: something does not."
    )
    parser.add_argument("names", metavar="NAME", nargs="*", help="default: all services")
    parser.add_argument("--json", action="store_true", help="print the whole status as JSON")


def run(options: Namespace) -> int:
    """Carry out the word."""
    with Client.connect(place.socket_path(options)) as client:
        status = client.call("status", {"names": options.names})
    if options.json:
        show.as_json(status)
    else:
        sys.stdout.write(table(status, show.coloured(sys.stdout)))
    missing = sum(lacking(service) for service in status["services"].values())
    return FAILED if missing else DONE


def lacking(service: dict[str, Any]) -> int:
    """Return how many of the replicas that are wanted neither run nor have completed."""
    fine = sum(one["state"] in _FINE for one in service["replicas"] if one.get("wanted", True))
    return max(int(service["wanted"]) - fine, 0)


def table(status: dict[str, Any], colours: bool) -> str:
    """Return the status as people read it."""
    services = status["services"].values()
    rows = [_row(one) for service in services for one in service["replicas"]]
    widths = [max(len(row[column]) for row in (_HEAD, *rows)) for column in range(len(_HEAD) - 1)]
    lines = [_header(status, colours), show.paint(_line(_HEAD, widths), show.BOLD, colours)]
    for row in rows:
        line = _line(row, widths)
        state = f"{row[1]:{widths[1]}}"
        at = widths[0] + 2
        painted = show.paint(state, _COLOURS.get(row[1], ""), colours)
        lines.append(line[:at] + painted + line[at + len(state) :])
    hidden = status["daemon"].get("unattributed")
    if hidden:  # they wiped every trace of who started them; `down` ends them too
        lines.append(f"left behind by nobody knows whom: pid {', '.join(map(str, hidden))}")
    return "\n".join(lines) + "\n"


def _header(status: dict[str, Any], colours: bool) -> str:
    daemon = status["daemon"]
    services = list(status["services"].values())
    wanted = sum(service["wanted"] for service in services)
    missing = sum(lacking(service) for service in services)
    parts = [
        f"keepd {daemon['version']}",
        f"pid {daemon['pid']}",
        f"up {show.short(daemon['uptime'])}",
        show.clean(str(daemon["config"])),
    ]
    if missing:
        sum_up = show.paint(f"{missing} of {wanted} not as wanted", show.RED, colours)
    else:
        sum_up = show.paint(f"all {wanted} as wanted", show.GREEN, colours)
    return ", ".join(parts) + "\n" + sum_up + "\n"


def _row(one: dict[str, Any]) -> tuple[str, ...]:
    pid, restarts = one["pid"], one["restarts"]
    return (
        one["id"],
        one["state"],
        "yes" if one["ready"] else "no",
        "-" if pid is None else str(pid),
        show.short(one["uptime"]),
        str(restarts),
        show.clean(one.get("text") or ""),
    )


def _line(row: tuple[str, ...], widths: list[int]) -> str:
    cells = [
        f"{cell:>{width}}" if column in _RIGHT else f"{cell:{width}}"
        for column, (cell, width) in enumerate(zip(row, widths, strict=False))
    ]
    return "  ".join([*cells, row[-1]]).rstrip()

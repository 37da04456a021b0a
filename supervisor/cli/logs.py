"""`keepd logs`: reads the log files themselves; the daemon is only asked where they are."""

from __future__ import annotations

import argparse
import json
import os
import re
import select
import sys

from supervisor.config import plan
from supervisor.control.client import Client, NoDaemon
from supervisor.logs import follow

from . import names, place, reading, show
from .outcome import FAILED, Failure

TYPE_CHECKING = False  # see control/client.py
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_OWN = "keepd"  # the stream of keepd's own events
_LAST, _LAST_FOLLOWING = 100, 10
_ALL = -1


def options(parser: argparse.ArgumentParser, _word: str) -> None:
    """Say what the word takes."""
    parser.description = (
        "Show what services printed, merged by time. `keepd logs keepd` shows what keepd itself\n"
        "did and why. The files are read as they are: no daemon needs to run."
    )
    parser.add_argument("names", metavar="NAME", nargs="*", help="default: all services, and keepd")
    parser.add_argument(
        "-f", "--follow", action="store_true", help="go on with what is printed next"
    )
    parser.add_argument(
        "-n",
        "--lines",
        metavar="N",
        type=_count,
        help="begin with the last N lines of each, or `all` "
        "(default: 100; 10 with -f; all with --grep)",
    )
    parser.add_argument(
        "--grep", metavar="RE", type=_pattern, help="only lines that match this regular expression"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object a line: id, line")


def run(options: argparse.Namespace) -> int:
    """Carry out the word."""
    streams = _streams(options)
    choice = follow.Choice(_last(options), options.follow, options.grep)
    sys.stdout.flush()
    try:
        if options.json:
            return _as_json(streams, choice)
        return follow.show(streams, choice, sys.stdout.fileno(), show.coloured(sys.stdout))
    except BrokenPipeError:
        raise
    except OSError as error:
        where = f" {error.filename}" if error.filename else ""
        text = f"cannot read the logs{where}: {error.strerror or error}"
        raise Failure(FAILED, "failed", text) from None


def _last(options: argparse.Namespace) -> int | None:
    if options.lines is not None:
        return None if options.lines == _ALL else int(options.lines)
    if options.grep:
        return None
    return _LAST_FOLLOWING if options.follow else _LAST


def _streams(options: argparse.Namespace) -> dict[str, str]:
    """Return ids and paths of what is named: as the daemon says, else as the plan does."""
    try:
        with Client.connect(place.socket_path(options)) as client:
            answer = client.call("logs", {"names": options.names})
    except NoDaemon:
        return _planned(options)
    return {stream["id"]: stream["path"] for stream in answer["streams"]}


def _planned(options: argparse.Namespace) -> dict[str, str]:
    whole = _plan(options)
    named = [name for name in options.names if name != _OWN]
    ids = names.meant(whole, named) if named or not options.names else []
    if not options.names or _OWN in options.names:
        ids = [*ids, _OWN]
    return {key: os.path.join(whole.log_dir, f"{key}.log") for key in ids}


def _plan(options: argparse.Namespace) -> plan.Plan:
    """Return the plan that was in force last, else the config's."""
    try:
        with open(os.path.join(place.run_dir(options), "applied.json"), "rb") as file:
            return plan.decode(file.read())
    except (OSError, ValueError):
        return reading.whole_plan(place.find_config(options.config), options.runtime_dir)


def _as_json(streams: Mapping[str, str], choice: follow.Choice) -> int:
    follower = follow.Follower()
    try:
        for folder in {os.path.dirname(path) for path in streams.values()}:
            follower.watch(folder)
        tails = {stream: follower.add(stream, path) for stream, path in streams.items()}
        earlier = {s: tail.last(choice.last, choice.wanted) for s, tail in tails.items()}
        _print(follow.merged(earlier), choice)
        poll = select.poll()
        poll.register(follower, select.POLLIN)
        poll.register(1, 0)
        changed = set(tails)
        while True:
            for stream in sorted(changed):
                while lines := tails[stream].lines():
                    _print(((stream, line) for line in lines), choice)
            if not choice.follow:
                _print(((s, rest) for s, tail in tails.items() if (rest := tail.rest())), choice)
                return 0
            if any(fd == 1 for fd, _ in poll.poll()):  # nobody reads us any more
                return 0
            changed, folders = follower.news()
            for folder in filter(os.path.isdir, folders):
                follower.watch(folder)
    finally:
        follower.close()


def _print(lines: Iterable[tuple[str, bytes]], choice: follow.Choice) -> None:
    for stream, line in lines:
        if choice.wanted is None or choice.wanted.search(line):
            one = {"id": stream, "line": line.decode("utf-8", "backslashreplace")}
            sys.stdout.write(json.dumps(one) + "\n")
    sys.stdout.flush()


def _count(text: str) -> int:
    if text == "all":
        return _ALL
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is neither a number of lines nor `all`")
    return int(text)


def _pattern(text: str) -> re.Pattern[bytes]:
    try:
        return re.compile(os.fsencode(text))
    except re.error as error:
        raise argparse.ArgumentTypeError(f"no regular expression: {error}") from None

"""`keepd logs`: reads the log files themselves; the daemon is only asked where they are."""

from __future__ import annotations

import argparse
import os
import re
import sys
from datetime import UTC, datetime, timedelta

from supervisor.config import plan
from supervisor.control.client import Client, NoDaemon
from supervisor.logs import follow

from . import names, place, reading, show
from .outcome import FAILED, Failure

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
        "(default: 100; 10 with -f; all with --since or --grep)",
    )
    parser.add_argument(
        "--since",
        metavar="T",
        type=_time,
        default=b"",
        help="only lines of the last T (30s, 10min, 2h), or since a time as 2026-11-22T14:12:43Z",
    )
    parser.add_argument(
        "--grep", metavar="RE", type=_pattern, help="only lines that match this regular expression"
    )
    parser.add_argument(
        "--json", action="store_true", help="one JSON object a line: id, time, text"
    )


def run(options: argparse.Namespace) -> int:
    """Carry out the word."""
    streams = _streams(options)
    choice = follow.Choice(
        _last(options), options.follow, options.grep, options.since, options.json
    )
    sys.stdout.flush()
    try:
        return follow.show(streams, choice, sys.stdout.fileno(), show.coloured(sys.stdout), _say)
    except BrokenPipeError:
        raise
    except OSError as error:
        where = f" {error.filename}" if error.filename else ""
        text = f"cannot read the logs{where}: {error.strerror or error}"
        raise Failure(FAILED, "failed", text) from None


def _last(options: argparse.Namespace) -> int | None:
    if options.lines is not None:
        return None if options.lines == _ALL else int(options.lines)
    if options.grep or options.since:
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


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _time(text: str) -> bytes:
    """Return a time in the form that the lines of a log have."""
    try:
        moment = datetime.now(UTC) - timedelta(seconds=show.seconds(text))
    except argparse.ArgumentTypeError:
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            what = f"{text!r} is neither a duration (30s, 10min, 2h) nor a time as in RFC 3339"
            raise argparse.ArgumentTypeError(what) from None
        if moment.tzinfo is None:
            what = f"{text!r} does not tell its time zone: write {text}Z for UTC"
            raise argparse.ArgumentTypeError(what) from None
    except OverflowError:
        raise argparse.ArgumentTypeError(f"{text!r} is too long ago") from None
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ").encode()


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

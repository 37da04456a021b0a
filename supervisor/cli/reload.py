"""`keepd reload` and `keepd plan`: the daemon reads its config again, and tells what differs."""

from __future__ import annotations

import os
import sys

from supervisor.config import faults
from supervisor.control.client import Client, Refused

from . import outcome, place, show, words
from .outcome import DONE, FAILED, Failure

TYPE_CHECKING = False  # see control/client.py
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from typing import Any

_READING = 30.0  # seconds; the daemon gives up its reader before
_SHOWN = 200  # lines
_SIGNS = {
    "start": ("+", "start", show.GREEN),
    "restart": ("~", "restart", show.YELLOW),
    "keep": ("=", "no restart", show.DIM),
    "stop": ("-", "stop", show.RED),
}
_ABOUT = {
    "reload": (
        "Read the config again, and start, restart and stop what that changes; nothing else is\n"
        "touched. Any fault changes nothing. Returns when all that was started is ready.\n"
        "${VAR} is looked up in the environment of this command; what services inherit stays as\n"
        "it was at `up`."
    ),
    "plan": "Show what `keepd reload` would change, and why. Nothing is started or stopped.",
}


def options(parser: ArgumentParser, word: str) -> None:
    """Say what the word takes."""
    parser.description = _ABOUT[word]
    if word == "reload":
        parser.add_argument("--dry-run", action="store_true", help="as `keepd plan`")
        parser.add_argument("--yes", action="store_true", help="also if most services go")
        parser.add_argument("--no-wait", action="store_true", help="return when it has begun")
        text = "give up waiting after T, as 30s or 5min (default: 60s)"
        parser.add_argument(
            "--timeout", metavar="T", type=show.seconds, default=words.PATIENCE, help=text
        )
    parser.add_argument("--json", action="store_true", help="print the answer as JSON")


def run(options: Namespace) -> int:
    """Carry out the word."""
    dry = options.word == "plan" or options.dry_run
    with Client.connect(place.socket_path(options)) as client:
        _same_config(client, options)
        params = {"dry_run": dry, "variables": dict(os.environ)}
        if not dry:
            params["yes"] = options.yes
        answer = _asked(client, params)
        if options.json:
            show.as_json(answer)
        else:
            _show(answer)
        if not dry and not options.no_wait:
            _await(client, answer, options)
    return DONE


def _same_config(client: Client, options: Namespace) -> None:
    """Raise Failure where another config is named than the one the daemon has."""
    named = options.config or os.environ.get("KEEPD_CONFIG")
    its = client.call("version", {}).get("config")
    if named and its and os.path.realpath(named) != os.path.realpath(its):
        text = f"cannot use {named}: keepd runs {its}, and a reload reads that"
        raise Failure(FAILED, "other-config", text)


def _asked(client: Client, params: dict[str, Any]) -> Any:  # noqa: ANN401 (JSON)
    try:
        return client.call("reload", params, _READING)
    except Refused as error:
        code = outcome.code_of(error.kind)
        told = [str(faults.Fault(**fault)) for fault in error.data.get("faults", ())]
        if error.kind == "needs-yes":
            told = [f"  - {name}" for name in error.data["removed"]]
        raise Failure(code, error.kind, error.message, told, error.data) from None


def _show(answer: dict[str, Any]) -> None:
    coloured = show.coloured(sys.stdout)
    lines = [_line(step, coloured) for step in answer["steps"]]
    for line in lines[:_SHOWN]:
        print(line)
    counts = answer["counts"]
    more = sum(counts[act] for act in _SIGNS) - min(len(lines), _SHOWN)
    if more > 0:
        print(f"  and {more} more")
    told = [f"{counts[act]} to {word}" for act, (_, word, _) in _SIGNS.items() if act != "keep"]
    told += [f"{counts['keep']} changed without a restart", f"{counts['untouched']} untouched"]
    print(", ".join(told))
    if answer["dry_run"] and answer["needs_yes"]:
        print("most services would go: `keepd reload` will want --yes")


def _line(step: dict[str, Any], coloured: bool) -> str:
    sign, word, colour = _SIGNS[step["act"]]
    values = [_values(change) for change in step["changes"]]
    why = ", ".join(values) or step["why"]
    if step["changes"] and ";" in step["why"]:
        why += f";{step['why'].partition(';')[2]}"
    return show.clean(f"{sign} {step['id']}: {word}: ").replace(
        sign, show.paint(sign, colour, coloured), 1
    ) + show.clean(why)


def _values(change: dict[str, Any]) -> str:
    if "before" not in change:
        return str(change["field"])
    return f"{change['field']} {_short(change['before'])} -> {_short(change['after'])}"


def _short(value: object) -> str:
    text = " ".join(map(str, value)) if isinstance(value, list) else str(value)
    text = "none" if value is None else text
    return text if len(text) <= 60 else f"{text[:57]}..."


def _await(client: Client, answer: dict[str, Any], options: Namespace) -> None:
    ids = [step["id"] for step in answer["steps"] if step["act"] in ("start", "restart")]
    options.goal = "ready"
    for at in range(0, len(ids), 1000):  # names in one request
        words.reached(client, ids[at : at + 1000], options)

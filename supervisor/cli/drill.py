"""`keepd drill`: kill or stop keepd's own processes for a while, and say what came of it."""

from __future__ import annotations

import random
import signal
import sys

from supervisor.control.client import Client, NoDaemon
from supervisor.drill import faults, fire, lines, report
from supervisor.drill.scratch import Scratch
from supervisor.drill.watch import Watch

from . import place, show
from .outcome import DONE, FAILED, NO_DAEMON, USAGE, Failure

TYPE_CHECKING = False  # see control/client.py
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from typing import Any

_ABOUT = """\
Kill -9, or stop for a while, keepd's own processes at random, and look whether any service is
restarted or runs twice, and how long it takes until all is as before. Services are hit only
where --replicas names them. What is stopped goes on, whatever becomes of the drill; Ctrl-C
ends it and tells what was seen so far.

With --self-test all of it happens in a throw-away keepd, to witnesses of ours: their processes
are hit as well, all of keepd dies at once and is started again, and their numbered lines are
counted in the end. Of your own services no lines are counted: nobody knows what they meant to
say. A double is seen where the service logs to a file.

Exit code 0: every promise was kept; 1: one was broken, or nobody could be hit."""


def options(parser: ArgumentParser, _word: str) -> None:
    """Say what the word takes."""
    parser.description = _ABOUT
    for flag, default, text in (
        ("--for", "30s", "how long"),
        ("--every", "1s", "from one fault to the next"),
        ("--stopped", "1s", "how long somebody is stopped"),
    ):
        to = {"--for": "length"}.get(flag, flag[2:])
        parser.add_argument(
            flag, dest=to, metavar="T", type=show.seconds, default=show.seconds(default),
            help=f"{text} (default: {default})",
        )  # fmt: skip
    parser.add_argument(
        "--kind",
        action="append",
        choices=[*faults.OURS, *faults.THEIRS, faults.EVERYTHING],
        help="only this kind of process; may be given again (default: all of keepd's, and in a "
        "--self-test all); child: of a replica; everything: all of keepd's at once",
    )
    parser.add_argument(
        "--replicas",
        metavar="NAME",
        action="append",
        default=[],
        help="hit this service too, or this replica, as web, web/0 or 'w*'; may be given again",
    )
    parser.add_argument(
        "--how",
        choices=["kill", "stop", "both"],
        default="both",
        help="both (the default): one in five is stopped",
    )
    parser.add_argument("--seed", type=int, help="make the same choices again")
    parser.add_argument("--dry-run", action="store_true", help="only say what would be done")
    parser.add_argument("--self-test", action="store_true", help="in a throw-away keepd")
    parser.add_argument("--json", action="store_true", help="print what was seen as JSON")


def run(options: Namespace) -> int:
    """Carry out the word."""
    if options.every <= 0 or options.length <= 0:
        raise Failure(USAGE, "bad-params", "cannot drill: --for and --every are more than 0s")
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # INT may have been ignored
        signal.signal(number, _interrupt)  # nothing may be left stopped, or running
    return _self_test(options) if options.self_test else _on_the_running(options)


def _interrupt(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt


def _on_the_running(options: Namespace) -> int:
    run_dir = place.run_dir(options)
    with _connected(run_dir) as client:
        named = client.call("status", {"names": options.replicas}) if options.replicas else {}
        status = client.call("status", {})
    if "mode" not in status["daemon"]:
        raise Failure(FAILED, "failed", "cannot drill: the keepd that runs is older than this word")
    ids = frozenset(one["id"] for one in faults.replicas(named)) if named else frozenset()
    outcome = report.Outcome(_seed(options), spared=faults.spared(status))
    orders = _orders(options, ids, outcome)
    _announce(options, orders, outcome, f"keepd (pid {status['daemon']['pid']})")
    if options.dry_run:
        return DONE
    drill = fire.Drill(orders, Watch(run_dir), outcome, status=status)
    drill.run()
    return _told(options, outcome)


def _connected(run_dir: str) -> Client:
    try:
        return Client.connect(f"{run_dir}/control.sock")
    except NoDaemon as error:
        text = f"{error}; `keepd drill --self-test` needs none"
        raise Failure(NO_DAEMON, "no-daemon", text) from None


def _orders(options: Namespace, ids: frozenset[str], outcome: report.Outcome) -> fire.Orders:
    """Return what is to be done; raises Failure (2) where that must not be."""
    asked = options.kind or [*faults.OURS, *(["replica"] if ids else [])]
    for kind in options.kind or ():
        if kind in outcome.spared:
            raise Failure(USAGE, "bad-params", f"cannot hit the {kind}: {outcome.spared[kind]}")
        if kind == faults.EVERYTHING:
            text = "cannot kill everything: only in a --self-test would it be started again"
            raise Failure(USAGE, "bad-params", text)
        if kind in faults.THEIRS and not ids:
            text = f"cannot hit a {kind}: --replicas NAME says of which service"
            raise Failure(USAGE, "bad-params", text)
    if ids and not set(asked) & set(faults.THEIRS):
        asked.append("replica")
    kinds = tuple(dict.fromkeys(kind for kind in asked if kind not in outcome.spared))
    return _as_told(options, kinds, ids, outcome.seed)


def _as_told(
    options: Namespace, kinds: tuple[str, ...], ids: frozenset[str], seed: int
) -> fire.Orders:
    times = (options.length, options.every, options.stopped)
    return fire.Orders(kinds, ids, options.how, *times, seed)


def _seed(options: Namespace) -> int:
    return random.SystemRandom().randrange(1 << 32) if options.seed is None else int(options.seed)


def _announce(options: Namespace, orders: fire.Orders, outcome: report.Outcome, whom: str) -> None:
    if options.json and not options.dry_run:
        return
    what = {"kill": "killed (SIGKILL)", "stop": "stopped (SIGSTOP)"}.get(
        options.how, f"killed, or stopped for {options.stopped:g} s"
    )
    lines = [
        f"for {orders.length:g} s, every {orders.every:g} s one process of {whom} is {what}:",
        f"  {', '.join(orders.kinds)}",
        *(f"  not the {kind}: {why}" for kind, why in outcome.spared.items()),
    ]
    if orders.names:
        lines.append(f"  of the services: {', '.join(sorted(orders.names))}")
    else:
        lines.append("  no service but its witnesses" if options.self_test else "  no service")
    for line in [*lines, f"  Ctrl-C ends it; --seed {orders.seed} makes the same choices", ""]:
        print(show.clean(line))
    sys.stdout.flush()


def _self_test(options: Namespace) -> int:
    from .main import main

    if options.replicas:
        text = "cannot hit --replicas in a --self-test: it has only witnesses of its own"
        raise Failure(USAGE, "bad-params", text)
    kinds = tuple(options.kind or [*faults.OURS, *faults.THEIRS, faults.EVERYTHING])
    outcome = report.Outcome(_seed(options))
    orders = _as_told(options, kinds, frozenset(), outcome.seed)
    _announce(options, orders, outcome, "a throw-away keepd")
    if options.dry_run:
        return DONE
    scratch = Scratch(main)
    try:
        if not scratch.up():
            text = "cannot drill: the throw-away keepd does not start"
            raise Failure(FAILED, "failed", text, scratch.said())
        watched = Watch(scratch.run_dir, strict=True)
        status: dict[str, Any] = watched.ask() or {}
        if not status:
            raise Failure(NO_DAEMON, "no-daemon", "cannot drill: the throw-away keepd is gone")
        ids = frozenset(one["id"] for one in faults.replicas(status))
        orders = _as_told(options, kinds, ids, outcome.seed)
        drill = fire.Drill(orders, watched, outcome, scratch.up, status)
        drill.run()
        _count(scratch, outcome)
    except KeyboardInterrupt:
        outcome.interrupted = True
    finally:
        scratch.remove()
    return _told(options, outcome)


def _count(scratch: Scratch, outcome: report.Outcome) -> None:
    """Stop the witnesses in order, and see what became of their words."""
    if not scratch.down():
        outcome.missing.append("the order to stop")
    outcome.lines = lines.of_folder(scratch.folder, scratch.log_dir)
    outcome.doubles += scratch.doubles()


def _told(options: Namespace, outcome: report.Outcome) -> int:
    if options.json:
        show.as_json(report.as_data(outcome))
    else:
        for line in report.table(outcome):
            print(show.clean(line))
    return FAILED if report.broken(outcome) or not outcome.faults else DONE

"""`keepd down`: asked of the keepd that runs, else done for one that was killed."""

from __future__ import annotations

import select
import time

from supervisor.control.client import Client, NoDaemon

from . import place, up, words
from .outcome import Failure

TYPE_CHECKING = False  # see control/client.py
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

_PATIENCE = 10.0  # seconds for a killed master to be followed by another: longer than any pause
_GLANCE = 20  # milliseconds


def options(parser: ArgumentParser, word: str) -> None:
    """Say what the word takes."""
    words.options(parser, word)


def run(options: Namespace) -> int:
    """Have keepd end everything, or do it ourselves where a killed one has left something."""
    end = time.monotonic() + _PATIENCE
    while True:
        try:
            return _once(options)
        except Failure as failure:  # one that lives has no master at the moment
            if failure.kind != "failed" or time.monotonic() >= end:
                raise
        select.poll().poll(_GLANCE)


def _once(options: Namespace) -> int:
    try:
        with Client.connect(place.socket_path(options)) as client:
            return words.down(client, options)
    except NoDaemon:
        code = up.finish(options)
        if code is None:
            raise
    if not code and not options.json:
        print("what a killed keepd has left is stopped")
    return code

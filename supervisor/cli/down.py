"""`keepd down`: asked of the keepd that runs, else done for one that was killed."""

from __future__ import annotations

from supervisor.control.client import Client, NoDaemon

from . import place, up, words

TYPE_CHECKING = False  # see control/client.py
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace


def options(parser: ArgumentParser, word: str) -> None:
    """Say what the word takes."""
    words.options(parser, word)


def run(options: Namespace) -> int:
    """Have keepd end everything, or do it ourselves where a killed one has left something."""
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

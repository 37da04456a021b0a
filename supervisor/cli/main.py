"""The command `keepd`: finds the word among what was typed, and hands over to its module.

Only the module of that word is imported: most words are one request, and should take no longer.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import os
import sys

from supervisor import __version__
from supervisor.control.client import NoDaemon, Refused

from . import outcome, show
from .outcome import DONE, FAILED, NO_DAEMON, USAGE, Failure

TYPE_CHECKING = False  # see control/client.py
if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import ModuleType
    from typing import NoReturn

# word: (module of it in this room, what it does)
WORDS = {
    "up": ("up", "start keepd and its services; -d in the background"),
    "down": ("down", "stop all services in order, and keepd"),
    "status": ("status", "show what runs, and why what does not"),
    "start": ("words", "start services, and wait until they are ready"),
    "stop": ("words", "stop services, and wait until nothing of them is left"),
    "restart": ("words", "stop services and start them again"),
    "reload": ("reload", "read the config again, and touch only what has changed"),
    "plan": ("reload", "show what a reload would change, and why"),
    "signal": ("words", "send a signal to services"),
    "logs": ("logs", "show what services printed; -f goes on"),
    "wait": ("words", "wait until services are ready, stopped or completed"),
    "drill": ("drill", "kill keepd's own processes for a while, and say what came of it"),
    "check": ("check", "read the config and tell everything that is wrong with it"),
    "version": ("words", "show the versions of this command and of the daemon"),
}
_WITH_VALUE = ("-c", "--config", "--runtime-dir")

_OVERVIEW = """\
usage: keepd [-c FILE] [--runtime-dir DIR] WORD ...

keepd keeps the services of a YAML list running.

{words}

options, before or after the word:
  -c, --config FILE  the list of services (default: keepd.yaml here, then
                     /etc/keepd/keepd.yaml; or KEEPD_CONFIG)
  --runtime-dir DIR  where the daemon's socket is (default: what the config says;
                     or KEEPD_RUNTIME_DIR)
  --version          show the version
  -h, --help         show this; `keepd WORD --help` shows more of a word

A NAME is a service (`web`), one replica of it (`web/0`) or a pattern (`'w*'`).
Exit codes: 0 done, 1 failed, 2 usage or bad config, 3 no daemon,
            4 no such service, 5 timed out.
"""


class Parser(argparse.ArgumentParser):
    """Tells mistakes in one line, as everything here does."""

    def error(self, message: str) -> NoReturn:
        """Leave with exit code 2."""
        self.exit(USAGE, f"cannot understand: {message}; see `{self.prog} --help`\n")


class Formatter(argparse.RawDescriptionHelpFormatter):
    """Fits the terminal, and does without shutil's import to find out how wide it is."""

    def __init__(self, prog: str) -> None:
        try:
            width = os.get_terminal_size(1).columns
        except OSError:
            width = 80
        super().__init__(prog, width=min(width, 100) - 2)


def main(arguments: Sequence[str] | None = None) -> int:
    """Carry out one command line; return its exit code."""
    gc.disable()  # most words are over before there is garbage; the anchor has its own mind
    typed = list(sys.argv[1:] if arguments is None else arguments)
    at = _word_at(typed)
    if at is None:
        return _without_word(typed)
    word = typed.pop(at)
    if word == "help":
        return _without_word(["--help"])
    if word not in WORDS:
        return _unknown(word)
    module = importlib.import_module(f"supervisor.cli.{WORDS[word][0]}")
    return _carried_out(module, _parsed(module, word, typed))


def _word_at(typed: list[str]) -> int | None:
    at = 0
    while at < len(typed) and typed[at].startswith("-"):
        at += 2 if typed[at] in _WITH_VALUE else 1
    return at if at < len(typed) else None


def _without_word(typed: list[str]) -> int:
    if "--version" in typed:
        print(f"keepd {__version__}")
        return DONE
    asked = "-h" in typed or "--help" in typed
    words = "\n".join(f"  {word:9} {what}" for word, (_, what) in WORDS.items())
    (sys.stdout if asked else sys.stderr).write(_OVERVIEW.format(words=words))
    return DONE if asked else USAGE


def _unknown(word: str) -> int:
    import difflib

    near = difflib.get_close_matches(word, WORDS, n=1)
    hint = f"did you mean `keepd {near[0]}`?" if near else "`keepd --help` lists the words"
    print(f"cannot do {show.clean(word)!r}: {hint}", file=sys.stderr)
    return USAGE


def _parsed(module: ModuleType, word: str, typed: list[str]) -> argparse.Namespace:
    parser = Parser(prog=f"keepd {word}", allow_abbrev=False, formatter_class=Formatter)
    module.options(parser, word)
    common = parser.add_argument_group("where the daemon is")
    common.add_argument("-c", "--config", metavar="FILE", help="the list of services")
    common.add_argument("--runtime-dir", metavar="DIR", help="where the daemon's socket is")
    parser.set_defaults(word=word, json=False)
    return parser.parse_args(typed)


def _carried_out(module: ModuleType, options: argparse.Namespace) -> int:
    try:
        code: int = module.run(options)
        sys.stdout.flush()
    except Failure as failure:
        return _failed(failure, options.json)
    except NoDaemon as error:
        return _failed(Failure(NO_DAEMON, "no-daemon", str(error)), options.json)
    except Refused as error:
        return _failed(_refused(error), options.json)
    except BrokenPipeError:  # whoever read us has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return FAILED
    except KeyboardInterrupt:
        return 128 + 2
    return code


def _refused(error: Refused) -> Failure:
    text = error.message
    if not text.startswith("cannot "):
        text = f"cannot do that: {text}"
    if error.kind == "no-such-service":
        text += "; `keepd status` lists what there is"
    return Failure(outcome.code_of(error.kind), error.kind, text, (), error.data)


def _failed(failure: Failure, as_json: bool) -> int:
    if as_json:
        show.as_json({"error": {"kind": failure.kind, "message": failure.message, **failure.data}})
    else:
        for line in (failure.message, *failure.lines):
            print(show.clean(line), file=sys.stderr)
    return failure.code

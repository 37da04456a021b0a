"""Where the daemon of a config is to be found, quickly.

A client must not spend most of its time on reading YAML: of an ordinary file two plain top-level
keys are picked out line by line. Anything unusual is left to the real reader, which is asked in a
process of its own; so a wrong answer is never given, at worst a slow one.
"""

from __future__ import annotations

import os
import re

from .outcome import USAGE, Failure

TYPE_CHECKING = False  # see control/client.py
if TYPE_CHECKING:
    from argparse import Namespace

_MOST = 1 << 20  # a longer file is unusual
_BREAKS = "\0\r\x85\u2028\u2029\ufeff"  # YAML, or nobody, sees a line end in these
_ALNUM = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789")
_KEY = _ALNUM | {*"_-"}
_NAME = _ALNUM | {*"_.@-"}
_VALUE = _NAME | {*"/+"}
_WANTED = ("name", "runtime_dir")
_NULLS = {"null", "Null", "NULL"}


class Unusual(Exception):  # noqa: N818 (a reason to ask the real reader)
    """The file is not so plain that lines tell its top-level keys."""


def find_config(given: str | None) -> str:
    """Return the path of the config file; raises Failure (2) where there is none."""
    named = given or os.environ.get("KEEPD_CONFIG")
    if named:
        if os.path.exists(named):
            return named
        raise Failure(USAGE, "no-config", f"cannot find the config {named}: there is no such file")
    for path in ("keepd.yaml", "/etc/keepd/keepd.yaml"):
        if os.path.exists(path):
            return path
    text = "cannot find a config: there is no keepd.yaml here and no /etc/keepd/keepd.yaml"
    raise Failure(USAGE, "no-config", f"{text}; name one with -c FILE")


def run_dir(options: Namespace) -> str:
    """Return the runtime directory, absolute; raises Failure (2) where nothing tells it."""
    given = options.runtime_dir or os.environ.get("KEEPD_RUNTIME_DIR")
    if given:
        return os.path.abspath(given)
    config = find_config(options.config)
    try:
        return _quick(config)
    except (Unusual, OSError, UnicodeDecodeError):
        from . import reading

        return reading.run_dir(config, options.runtime_dir)


def socket_path(options: Namespace) -> str:
    """Return the path of the control socket; raises Failure (2) where nothing tells it."""
    return os.path.join(run_dir(options), "control.sock")


def _quick(config: str) -> str:
    with open(config, encoding="utf-8", newline="") as file:
        text = file.read(_MOST + 1)
    found = top_level(text)
    folder = os.path.dirname(os.path.abspath(config))
    if "runtime_dir" in found:
        return os.path.normpath(os.path.join(folder, found["runtime_dir"]))
    name = found.get("name")
    if name is not None and not (name[0] in _ALNUM and set(name) <= _NAME and len(name) <= 64):
        raise Unusual(name)
    return _default(name or _project(config))


def _project(config: str) -> str:
    from supervisor.config import places

    return places.project(config)


def _default(name: str) -> str:
    if os.geteuid() == 0:
        return f"/run/keepd/{name}"
    base = os.environ.get("XDG_RUNTIME_DIR", "")
    if not os.path.isabs(base):
        raise Unusual("no XDG_RUNTIME_DIR")  # the reader says how to mend that
    return os.path.join(base, "keepd", name)


def top_level(text: str) -> dict[str, str]:
    """Return the plain values of `name` and `runtime_dir`, where they stand at the top level.

    Raises Unusual where only a YAML reader could tell.
    """
    lines = text.replace("\r\n", "\n")
    if len(text) > _MOST or any(sign in lines for sign in _BREAKS):
        raise Unusual("not plain lines")
    scan = _Scan()
    for line in lines.split("\n"):
        scan.take(line)
    return scan.end()


class _Scan:
    """What is known after some lines: never more than is certain."""

    def __init__(self) -> None:
        self.found: dict[str, str] = {}
        self.keys = 0  # seen at the top level
        self.depth = 0  # of [ and {
        self.certain = True  # no quote may be open
        self.open_value = False  # the last line was one of ours: it might go on

    def take(self, line: str) -> None:
        """Look at the next line."""
        bare = _without_comment(line)
        if not bare:
            return
        if bare[0] in " \t":
            if self.open_value:
                raise Unusual("a value of more than one line")
        else:
            self._top(bare)
        self._count(bare)

    def end(self) -> dict[str, str]:
        """Return what was found."""
        if not self.keys:
            raise Unusual("no key at the top level")
        return self.found

    def _top(self, line: str) -> None:
        self.open_value = False
        if line == "---" and not self.keys:
            return
        if line == "-" or line.startswith("- ") or set(line) <= set("]}, "):
            return
        key, colon, value = line.partition(":")
        if not (colon and key and set(key) <= _KEY and value[:1] in ("", " ", "\t")):
            raise Unusual(line)
        self.keys += 1
        if key in _WANTED:
            self._ours(key, value.strip(" \t"))

    def _ours(self, key: str, written: str) -> None:
        value = written
        if len(written) > 1 and written[0] == written[-1] and written[0] in "\"'":
            value = written[1:-1]
        plain = value[:1] in _ALNUM | {"/", "."} and set(value) <= _VALUE
        if not (value and plain) or value in _NULLS or key in self.found:
            raise Unusual(key)
        if self.depth or not self.certain:
            raise Unusual("it may stand inside of something")
        self.found[key] = value
        self.open_value = True

    def _count(self, line: str) -> None:
        plain = line.replace("\\\\", "").replace('\\"', "")
        if plain.count('"') % 2 or plain.count("'") % 2:
            self.certain = False
        if not any(sign in plain for sign in "[]{}"):
            return
        rest = re.sub("\"[^\"]*\"|'[^']*'", "", plain)
        self.depth += sum(map(rest.count, "[{")) - sum(map(rest.count, "]}"))
        if self.depth < 0:
            self.certain = False


def _without_comment(line: str) -> str:
    if line.startswith("#"):
        return ""
    ends = [at for at in (line.find(" #"), line.find("\t#")) if at >= 0]
    return line[: min(ends, default=len(line))].rstrip(" \t")

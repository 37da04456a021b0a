"""What the fields of one service must keep to together, beyond the type of each.

Takes the values that the schema has read and returns them in the form of a ServiceSpec; what is
wrong is told and left out. Nothing is expanded yet: `${VAR}` is a text like any other here.
"""

from __future__ import annotations

import re
import shlex
import signal
from collections.abc import Mapping as Dict
from typing import Any, Final, TypeVar

from supervisor.core.spec import Health, Log, LogTo, On, Ready, ServiceSpec, Stop
from supervisor.records import record, replace

from .faults import Faults, Mark, meant
from .names import OURS, RESERVED
from .nodes import Mapping, Text, shortened
from .schema import joined, place
from .shapes import KINDS, SHAPES, Kind

Part = TypeVar("Part", Ready, Health, On)

_FUNCTION: Final = re.compile(r"[^\W\d]\w*(?:\.[^\W\d]\w*)*:[^\W\d]\w*(?:\.[^\W\d]\w*)*")
_VARIABLE: Final = re.compile(r"[^\s=\0]+")
_SIGNALS: Final = tuple(sorted(name.name.removeprefix("SIG") for name in signal.Signals))
_UMASK: Final = re.compile(r"0?[0-7]{1,3}")
_FOR_PYTHON: Final = ("args", "kwargs", "interpreter")


@record(frozen=True)
class Draft:
    """A service whose fields are checked, but whose `${...}` are not expanded yet."""

    name: str
    key: str  # "services.web"
    at: Mark  # where its name stands
    node: Mapping  # with the defaults under it
    spec: ServiceSpec

    def mark(self, *names: str) -> Mark:
        """Return where the first of these keys stands that is given, else where its name does."""
        found = place(self.node, *names)
        return self.at if found == self.node.at else found


class Rules:
    """The rules of one service; `own` are the keys it gives itself, without defaults."""

    def __init__(self, draft: Draft, own: Mapping, faults: Faults) -> None:
        self._draft = draft
        self._own = own
        self._faults = faults

    def kept(self, values: dict[str, Any]) -> Draft:
        """Return the draft with a spec of these values, less what breaks a rule."""
        self._what_runs(values)
        if "command" in values:
            self._command(values)
        if "inherit_env" in values:
            self._inherit_env(values)
        if isinstance(values.get("env_file"), Text):
            values["env_file"] = (values["env_file"],)
        for name in ("ready", "health", "on"):
            if values.get(name) is not None:
                values[name] = self._commands(values[name])
        if isinstance(values.get("ready"), Ready):
            self._ready(values["ready"], values.get("log", Log()))
        if isinstance(values.get("health"), Health):
            self._one_kind(values["health"], "health")
        if isinstance(values.get("stop"), Stop):
            values["stop"] = self._stop(values["stop"])
        if isinstance(values.get("umask"), Text):
            values["umask"] = self._umask(values["umask"])
        self._env(values.get("env", {}))
        return replace(self._draft, spec=ServiceSpec(name=self._draft.name, **values))

    def _add(self, message: str, advice: str | None, *names: str) -> None:
        key = self._draft.key
        given = [name for name in names if name in self._draft.node.entries]
        path = joined(key, given[0]) if given else key
        self._faults.add(self._draft.mark(*names), path, message, advice)

    def _what_runs(self, values: Dict[str, Any]) -> None:
        given = self._draft.node.entries
        python = values.get("python")
        says_python = "python" in given and not (python is None and "python" in values)
        if "command" in given and says_python:
            self._add("either command or python says what runs, not both", None, "python")
        elif "command" not in given and not says_python and not self._misspelt():
            self._add("nothing says what runs", "give it a command (or python)")
        if values.get("shell") and says_python:
            self._add("shell belongs to command, not to python", "leave it out", "shell")
        if not says_python:
            for name in self._own.entries.keys() & set(_FOR_PYTHON):
                self._add("belongs to python, and there is no python here", None, name)
        if python is not None and not _FUNCTION.fullmatch(python):
            likely = re.sub(r"\.(\w+)$", r":\1", python.removesuffix("()"))
            advice = meant(likely) if _FUNCTION.fullmatch(likely) else None
            self._add(f"'{shortened(python)}' is not module:function", advice, "python")

    def _misspelt(self) -> bool:
        """Return whether an unknown key, told already, was probably meant to say what runs."""
        strange = self._draft.node.entries.keys() - SHAPES[ServiceSpec].keys()
        advice = {self._faults.like(name, SHAPES[ServiceSpec]) for name in strange}
        return not advice.isdisjoint({meant("command"), meant("python")})

    def _command(self, values: dict[str, Any]) -> None:
        command: Text | tuple[Text, ...] = values.pop("command")
        shell = values.get("shell", False)
        if isinstance(command, tuple):
            if shell:
                self._add("with shell: true the command is one text", None, "command")
            words = command
        elif shell:
            words = (command,)
        else:
            words = self._split(command)
        if words and words[0].strip():
            values["command"] = words
        elif words or not isinstance(command, Text) or not command.strip():
            self._add("the command is empty", None, "command")

    def _split(self, command: Text) -> tuple[Text, ...]:
        try:
            words = shlex.split(command)
        except ValueError as error:
            what = f"the command cannot be split into words: {str(error).lower()}"
            self._faults.add(command.at(), command.key, what, "write it as a list")
            return ()
        return tuple(command.part(word) for word in words)

    def _inherit_env(self, values: dict[str, Any]) -> None:
        names = values["inherit_env"]
        if names == "all":
            return
        values["inherit_env"] = names = (names,) if isinstance(names, Text) else names
        for name in names:
            if name == "all":
                what, advice = "all stands alone, not in a list", "write inherit_env: all"
            elif not _VARIABLE.fullmatch(name) or "*" in name:
                what, advice = f"'{shortened(name)}' is not the name of a variable", None
            elif OURS.fullmatch(name):
                what, advice = f"{name} is keepd's own and is never handed on", "leave it out"
            else:
                continue
            self._faults.add(name.at(), name.key, what, advice)

    def _commands(self, part: Part) -> Part:
        """Return the part with each of its commands as a tuple of words."""
        commands: dict[str, Any] = {}
        for field in SHAPES[type(part)].values():
            command = getattr(part, field.name) if field.kind is Kind.TEXTS else None
            if command is None:
                continue
            words = self._split(command) if isinstance(command, Text) else command
            if not words or not words[0].strip():
                what = f"the command of {field.name} is empty"
                self._add(what, None, type(part).__name__.lower())
            commands[field.name] = words
        return replace(part, **commands)

    def _one_kind(self, part: Ready | Health, name: str) -> None:
        given = [kind for kind in KINDS[name] if getattr(part, kind) not in {None, False}]
        if len(given) > 1:
            what = "readiness" if name == "ready" else "check"
            self._add(f"one kind of {what} is wanted, not {' and '.join(given)}", None, name)
        elif not given and not self._faulty(name):
            self._add(f"needs one of {', '.join(KINDS[name])}", None, name)

    def _ready(self, ready: Ready, log: Log) -> None:
        self._one_kind(ready, "ready")
        if ready.log is not None:
            self._pattern(ready.log)
            if log.to is LogTo.NONE:
                self._add("ready.log reads the log, and log.to is none", None, "ready")

    def _faulty(self, name: str) -> bool:
        """Return whether a kind was given, and its fault has been told already."""
        node = self._draft.node.get(name)
        return isinstance(node, Mapping) and any(kind in node.entries for kind in KINDS[name])

    def _pattern(self, pattern: str) -> None:
        assert isinstance(pattern, Text)
        try:
            re.compile(pattern)
        except re.error as error:
            at = pattern.at(error.pos or 0)
            what = f"not a regular expression: {error.msg}"
            self._faults.add(at, pattern.key, what)
        except (OverflowError, RecursionError) as error:
            what = f"not a regular expression: {error}"
            self._faults.add(pattern.at(), pattern.key, what)

    def _stop(self, stop: Stop) -> Stop:
        name = stop.signal
        if not isinstance(name, Text):
            return stop
        plain = name.removeprefix("SIG")
        if plain in _SIGNALS:
            return replace(stop, signal=plain)
        likely = plain.upper().removeprefix("SIG")
        if plain.isascii() and plain.isdigit() and int(plain) in set(signal.Signals):
            likely = signal.Signals(int(plain)).name.removeprefix("SIG")
        advice = meant(likely) if likely in _SIGNALS else self._faults.like(likely, _SIGNALS)
        what = f"'{shortened(name)}' is not the name of a signal"
        self._faults.add(name.at(), name.key, what, advice)
        return Stop(timeout=stop.timeout)

    def _umask(self, umask: Text) -> str | None:
        if _UMASK.fullmatch(umask):
            return umask
        likely = umask.lower().removeprefix("0o").removeprefix("u=")
        advice = meant(likely) if _UMASK.fullmatch(likely) else 'write it as "022"'
        what = f"'{shortened(umask)}' is no umask: up to three octal digits"
        self._faults.add(umask.at(), umask.key, what, advice)
        return None

    def _env(self, env: Dict[Any, str]) -> None:
        for name in env:
            if name in RESERVED:
                what = f"{name} is set by keepd itself"
            elif not _VARIABLE.fullmatch(name):
                what = f"'{shortened(name)}' is not the name of a variable"
            else:
                continue
            self._faults.add(name.at(), name.key, what, None)

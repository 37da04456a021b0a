"""From drafts to specs: each `${...}` filled in, each path absolute, each environment complete.

A service whose texts never ask for `${replica}` is resolved once, and its replicas share the spec.
"""

from __future__ import annotations

import os
import re
from typing import Any, Final, TypeVar

from supervisor.core.spec import Health, On, Ready, ServiceSpec
from supervisor.records import asdict, replace

from .environ import Environments
from .faults import Faults
from .nodes import Text, shortened
from .places import Overrides
from .rules import Draft
from .template import Template
from .users import Users, Who

Check = TypeVar("Check", Ready, Health)

_HOST: Final = r"(\[[0-9A-Fa-f:.]+(?:%\w+)?\]|[^\s/?#@:\[\]]+)"
_TCP: Final = re.compile(rf"{_HOST}:([0-9]{{1,5}})")
_HTTP: Final = re.compile(rf"https?://{_HOST}(?::([0-9]{{1,5}}))?(?:[/?][!-~]*)?")


class Resolver:
    """Fills in drafts with the environment of the caller, and with what it may do."""

    def __init__(self, caller: Overrides, faults: Faults) -> None:
        self._variables = caller.environ if caller.variables is None else caller.variables
        self._environments = Environments(caller.environ, faults)
        self._users = Users(caller.uid, faults)
        self._faults = faults

    def replicas(self, draft: Draft) -> tuple[ServiceSpec, ...]:
        """Return the specs of all replicas of a service; faults are told, and the rest is made."""
        template = Template(self._variables, self._faults)
        who = self._users.of(draft.spec)
        specs = [self._spec(draft, template, who)]
        if not template.replica_told:
            return (specs[0],) * draft.spec.replicas
        for number in range(1, draft.spec.replicas):
            template.replica = number
            specs.append(self._spec(draft, template, who))
        return tuple(specs[: draft.spec.replicas])

    def _spec(self, draft: Draft, template: Template, who: Who) -> ServiceSpec:
        spec = draft.spec
        expand = template.expand
        interpreter = spec.interpreter and self._program(draft, spec.interpreter, template)
        return replace(
            spec,
            command=tuple(expand(word) for word in spec.command),
            args=_each(spec.args, template),
            kwargs=_each(spec.kwargs, template),
            interpreter=interpreter,
            identity=who.identity,
            env=self._environments.of(spec, template, who.variables),
            env_file=tuple(self._path(draft, file, template) for file in spec.env_file),
            cwd=self._path(draft, spec.cwd, template),
            ready=spec.ready and self._check(spec.ready, template),
            health=spec.health and self._check(spec.health, template),
            on=spec.on and _expanded(spec.on, template),
        )

    def _path(self, draft: Draft, written: str, template: Template) -> str:
        """Return a path from the folder of the file that it is written in, as absolute."""
        file = written.mark.file if isinstance(written, Text) else draft.at.file
        if isinstance(written, Text) and (written == "~" or written.startswith("~/")):
            self._tell(written, "~ is not expanded here", "write ${HOME}")
        path = os.path.join(os.path.dirname(file), template.expand(written))
        return os.path.abspath(path)

    def _program(self, draft: Draft, written: str, template: Template) -> str:
        """Return a program: a bare name is left to the PATH."""
        if "/" in written or "$" in written:
            path = template.expand(written)
            return self._path(draft, written, template) if "/" in path else path
        return written

    def _check(self, check: Check, template: Template) -> Check:
        tcp = None if check.tcp is None else template.expand(check.tcp)
        http = None if check.http is None else template.expand(check.http)
        if tcp is not None and not _addressed(_TCP.fullmatch(tcp)):
            self._tell(check.tcp, f"'{shortened(tcp)}' is not HOST:PORT", _like_tcp(tcp))
        if http is not None and not _addressed(_HTTP.fullmatch(http)):
            what = f"'{shortened(http)}' is not a URL such as http://127.0.0.1:8000/healthz"
            likely = f"did you mean 'http://{http}'?" if "://" not in http else None
            fits = likely and _addressed(_HTTP.fullmatch(f"http://{http}"))
            self._tell(check.http, what, likely if fits else None)
        command = None if check.exec is None else _each(check.exec, template)
        return replace(check, tcp=tcp, http=http, exec=command)

    def _tell(self, text: str | None, what: str, advice: str | None) -> None:
        assert isinstance(text, Text)
        self._faults.add(text.at(), text.key, what, advice)


def _expanded(on: On, template: Template) -> On:
    commands = {name: value for name, value in asdict(on).items() if isinstance(value, tuple)}
    return replace(on, **{name: _each(command, template) for name, command in commands.items()})


def _addressed(found: re.Match[str] | None) -> bool:
    """Return whether there is a host and, if there is a port, one that can be."""
    return found is not None and (found[2] is None or 0 < int(found[2]) < 65_536)


def _like_tcp(text: str) -> str | None:
    if text.isdigit():
        return f"did you mean '127.0.0.1:{text}'?"
    if text.startswith(":") and text[1:].isdigit():
        return f"did you mean '127.0.0.1{text}'?"
    return None


def _each(value: Any, template: Template) -> Any:  # noqa: ANN401 - what JSON knows
    """Return a value with all texts in it expanded."""
    match value:
        case str():
            return template.expand(value)
        case tuple():
            return tuple(_each(item, template) for item in value)
        case list():
            return [_each(item, template) for item in value]
        case dict():
            return {str(name): _each(item, template) for name, item in value.items()}
        case _:
            return value

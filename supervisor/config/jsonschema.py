"""The JSON Schema of a config file, for editors and other programs: `keepd check --schema`.

Made by msgspec from the same records that the reader checks against. It speaks of the values
that YAML 1.2 gives, so where the reader takes any plain scalar as a text it allows numbers too.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from supervisor import records
from supervisor.core.spec import Ready, ServiceSpec

from . import units
from .document import Document
from .limits import NAMES
from .names import NAME
from .shapes import KINDS, PARTS, SHAPES, Field, Kind

_Word = str | int | float | bool
_SPECIAL: Final[Mapping[tuple[type, str], Any]] = {
    (ServiceSpec, "command"): str | list[_Word],
    (ServiceSpec, "inherit_env"): str | list[str],
}
_Bound = Annotated[int, Meta(ge=0)] | str
_PLAIN: Final[Mapping[Kind, Any]] = {
    Kind.LIMITS: dict[
        Annotated[str, Meta(pattern=f"^({'|'.join(NAMES)})$")],
        _Bound | dict[Annotated[str, Meta(pattern="^(soft|hard)$")], _Bound],
    ],
    Kind.TEXT: str,
    Kind.FLAG: bool,
    Kind.DURATION: Annotated[str, Meta(pattern=units.DURATION)],
    Kind.SIZE: Annotated[str, Meta(pattern=units.SIZE)],
    Kind.TEXTS: str | list[str],
    Kind.TEXT_MAP: dict[str, _Word],
    Kind.ANY_LIST: list[Any],
    Kind.ANY_MAP: dict[str, Any],
}


def text() -> str:
    """Return the JSON Schema (draft 2020-12) of a config file, indented."""
    return json.dumps(schema(), indent=2)


def schema() -> dict[str, Any]:
    """Return the JSON Schema of a config file."""
    structs: dict[type, Any] = {}
    for owner in (*PARTS, ServiceSpec, Document):
        structs[owner] = _struct(owner, structs)
    made: dict[str, Any] = msgspec.json.schema(structs[Document])
    parts = made["$defs"]
    # What defaults leave open, a service may say: so they have parts of their own.
    loose = json.dumps(parts["Service"])
    for name in map(str.title, KINDS):
        parts[f"{name}Defaults"] = copy.deepcopy(parts[name])
        loose = loose.replace(f"#/$defs/{name}", f"#/$defs/{name}Defaults")
    parts["Document"]["properties"]["defaults"] = {
        "$ref": "#/$defs/Defaults",
        "description": SHAPES[Document]["defaults"].help,
    }
    parts["Defaults"] = json.loads(loose) | {
        "title": "Defaults",
        "description": "Any keys of a service.",
    }
    parts["Service"]["oneOf"] = [{"required": ["command"]}, {"required": ["python"]}]
    for name, kinds in KINDS.items():
        parts[name.title()]["oneOf"] = [{"required": [kind]} for kind in kinds]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "keepd",
        "description": "A config file of keepd.",
        **made,
    }


def _struct(owner: type, structs: Mapping[type, Any]) -> Any:  # noqa: ANN401 - a type made here
    """Return a Struct that has the fields of a record as they are written in YAML."""
    members = [
        (field.name, _described(owner, field, structs), _default(field))
        if field.default is not records.MISSING
        else (field.name, _described(owner, field, structs))
        for field in SHAPES[owner].values()
    ]
    name = "Service" if owner is ServiceSpec else owner.__name__
    made = msgspec.defstruct(name, members, kw_only=True, forbid_unknown_fields=True)
    made.__doc__ = (owner.__doc__ or "").splitlines()[0]
    return made


def _described(owner: type, field: Field, structs: Mapping[type, Any]) -> Any:  # noqa: ANN401
    written = _SPECIAL.get((owner, field.name)) or _written(field, structs)
    if field.optional:
        written = written | None
    return Annotated[written, Meta(description=field.help)]


def _written(field: Field, structs: Mapping[type, Any]) -> Any:  # noqa: ANN401
    """Return the type of what stands in YAML for a field."""
    match field.kind:
        case Kind.WHOLE | Kind.NUMBER | Kind.CHOICE:
            return field.of
        case Kind.CHOICE_MAP:
            return str | list[str] | dict[str, field.of]  # type: ignore[name-defined]
        case Kind.PART:
            part = structs[field.of]
            return Literal["notify"] | part if field.of is Ready else part
        case Kind.SERVICES:
            service: Any = structs[ServiceSpec]
            return dict[Annotated[str, Meta(pattern=NAME)], service]
        case _:
            return _PLAIN[field.kind]


def _default(field: Field) -> Any:  # noqa: ANN401
    """Return a default as it would be written; a part's defaults stand with its own fields."""
    if field.default is None:
        return None
    match field.kind:
        case Kind.DURATION:
            return units.written_duration(field.default)
        case Kind.SIZE:
            return units.written_size(field.default)
        case Kind.PART | Kind.SERVICES:
            return msgspec.field(default_factory=object)  # which tells no default
        case _ if field.default in ((), {}):
            return msgspec.field(default_factory=list if field.default == () else dict)
        case _:
            return field.default

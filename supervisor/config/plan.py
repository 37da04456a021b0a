"""A config that has been read: what the master runs, and what it keeps in `applied.json`.

Every `${...}` is filled in, every path is absolute, every environment is complete. The master
imports this module: the standard library only, and nothing that weighs.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import groupby
from typing import Any

from supervisor.core.spec import (
    Backoff,
    Condition,
    Health,
    Identity,
    Limit,
    Log,
    LogFormat,
    LogTo,
    On,
    OnFull,
    Ready,
    Restart,
    ServiceSpec,
    StartLimit,
    Stop,
    Then,
)
from supervisor.records import fields, record

FORMAT = 1
_PLACES = ("name", "config", "folder", "run_dir", "log_dir")


@record(frozen=True)
class Plan:
    """One project: its places, and of each service one spec per replica."""

    name: str
    config: str  # absolute path of the main file
    folder: str  # its folder
    run_dir: str
    log_dir: str
    services: Mapping[str, tuple[ServiceSpec, ...]]


def encode(plan: Plan) -> str:
    """Return the plan as JSON on one line; equal environments and equal replicas stand once."""
    environments: dict[tuple[tuple[str, str], ...], int] = {}
    services = {
        name: [[len(list(same)), _written(spec, environments)] for spec, same in groupby(specs)]
        for name, specs in plan.services.items()
    }
    whole = {
        "format": FORMAT,
        "name": plan.name,
        "config": plan.config,
        "folder": plan.folder,
        "run_dir": plan.run_dir,
        "log_dir": plan.log_dir,
        "environments": [dict(environment) for environment in environments],
        "services": services,
    }
    # ASCII: an environment may hold bytes that are no UTF-8, and \\udcff survives only escaped
    return json.dumps(whole, separators=(",", ":"))


def decode(text: str | bytes) -> Plan:
    """Return the plan that `encode` wrote; ValueError for anything else.

    Equal parts are one object, so that a thousand services with the same backoff hold one.
    """
    whole = json.loads(text)
    try:
        if whole["format"] != FORMAT:
            raise ValueError(f"a plan of format {whole['format']!r}, not {FORMAT}")
        parts: dict[Any, Any] = {}
        services = {}
        for name, groups in whole["services"].items():
            specs: list[ServiceSpec] = []
            for count, written in groups:
                specs += [_spec(written, whole["environments"], parts)] * count
            services[name] = tuple(specs)
        return Plan(services=services, **{key: whole[key] for key in _PLACES})
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise ValueError(f"not a plan: {error!r}") from error


def outline(text: str) -> Plan:
    """Return the plan that `encode` wrote without its replicas: for who only needs its places."""
    whole = json.loads(text)
    services: dict[str, tuple[ServiceSpec, ...]] = dict.fromkeys(whole["services"], ())
    return Plan(services=services, **{key: whole[key] for key in _PLACES})


def _written(
    spec: ServiceSpec, environments: dict[tuple[tuple[str, str], ...], int]
) -> dict[str, Any]:
    """Return a spec as JSON takes it, its environment by number."""
    written = {field.name: getattr(spec, field.name) for field in fields(spec)}
    for name in ("identity", "ready", "health", "backoff", "start_limit", "stop", "on", "log"):
        part = written[name]
        if part is not None:
            written[name] = {field.name: getattr(part, field.name) for field in fields(part)}
    written["limits"] = {name: (each.soft, each.hard) for name, each in spec.limits.items()}
    written["env"] = environments.setdefault(tuple(spec.env.items()), len(environments))
    return written


def _spec(
    written: dict[str, Any], environments: list[dict[str, str]], parts: dict[Any, Any]
) -> ServiceSpec:
    """Return the spec of its JSON; `parts` holds what has been made already."""
    inherited = written["inherit_env"]
    read = {
        "command": tuple(written["command"]),
        "args": tuple(written["args"]),
        "env": environments[written["env"]],
        "env_file": tuple(written["env_file"]),
        "inherit_env": inherited if isinstance(inherited, str) else tuple(inherited),
        "depends_on": {
            name: Condition(condition) for name, condition in written["depends_on"].items()
        },
        "identity": _identity(written["identity"]),
        "limits": {name: Limit(*each) for name, each in written["limits"].items()},
        "ready": _part(Ready, written["ready"], parts),
        "health": _part(Health, written["health"], parts),
        "on": _part(On, written["on"], parts),
        "restart": Restart(written["restart"]),
        "backoff": _part(Backoff, written["backoff"], parts),
        "start_limit": _part(StartLimit, written["start_limit"], parts),
        "stop": _part(Stop, written["stop"], parts),
        "log": _part(Log, written["log"], parts),
    }
    return ServiceSpec(**(written | read))


def _identity(written: dict[str, Any] | None) -> Identity | None:
    if written is None:
        return None
    return Identity(written["uid"], written["gid"], tuple(written["groups"]))


def _part(kind: type, written: dict[str, Any] | None, parts: dict[Any, Any]) -> Any:  # noqa: ANN401 - of `kind`
    if written is None:
        return None
    written = {k: tuple(v) if isinstance(v, list) else v for k, v in written.items()}
    key = (kind, *written.items())
    if key not in parts:
        words = {"then": Then, "to": LogTo, "format": LogFormat, "on_full": OnFull}
        parts[key] = kind(
            **{
                name: words[name](value) if name in words else value
                for name, value in written.items()
            }
        )
    return parts[key]

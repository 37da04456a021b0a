"""Prints etc/reference.yaml: every key, its default and one line why, out of the code itself.

`python -m supervisor.config.reference` prints it, `--check FILE` exits with 1 where FILE is stale.
What has no default, or excludes another key, stands there as a comment with an example.
"""

from __future__ import annotations

import argparse
import sys
import textwrap
from collections.abc import Iterator
from typing import Final

from supervisor import records
from supervisor.core.spec import Health, Log, On, Ready, ServiceSpec, StartLimit

from . import units
from .document import Document
from .shapes import SHAPES, Field, Kind

_WIDTH: Final = 100
_COLUMN: Final = 44  # where the reasons begin

# What is shown where the default would say nothing; a value that begins with # is left a comment.
_EXAMPLES: Final = {
    (Document, "name"): "reference",
    (Document, "runtime_dir"): "# runtime_dir: /run/keepd/reference",
    (Document, "log_dir"): "# log_dir: /var/log/keepd/reference",
    (Document, "include"): "[services.d/*.yaml]",
    (ServiceSpec, "command"): "[sleep, infinity]",
    (ServiceSpec, "python"): "# python: shop.jobs:main",
    (ServiceSpec, "args"): "# args: [fast, 3]",
    (ServiceSpec, "kwargs"): "# kwargs: {queue: mail}",
    (ServiceSpec, "interpreter"): "# interpreter: .venv/bin/python",
    (ServiceSpec, "user"): "# user: nobody",
    (ServiceSpec, "group"): "# group: daemon",
    (ServiceSpec, "umask"): '# umask: "022"',
    (ServiceSpec, "nice"): "# nice: 5",
    (ServiceSpec, "limits"): "# limits: {nofile: 65536, core: 0}",
    (ServiceSpec, "env_file"): "[]",
    (ServiceSpec, "inherit_env"): "[]",
    (Ready, "notify"): "true",
    (Ready, "log"): "listening on",
    (Ready, "tcp"): "127.0.0.1:8000",
    (Ready, "http"): "http://127.0.0.1:8000/",
    (Ready, "after"): "2s",
    (Ready, "exec"): "[redis-cli, ping]",
    (Health, "tcp"): "127.0.0.1:8000",
    (Health, "http"): "http://127.0.0.1:8000/",
    (Health, "exec"): "[redis-cli, ping]",
    (ServiceSpec, "watchdog"): "# watchdog: 30s",
    (On, "ready"): "[./announce.sh]",
    (On, "unhealthy"): "[./page.sh, restarted]",
    (On, "exit"): "[./count.sh]",
    (On, "backoff"): "[./page.sh, later]",
    (On, "failed"): "[./page.sh, never]",
    (StartLimit, "starts"): "10",
    (Log, "rate"): "# rate: 1000",
}
_HEAD: Final = """\
Every key of a config, with its default and why it is there. Made by
`python -m supervisor.config.reference`; do not edit. It is itself a config: `keepd check` takes it.

Durations: 200ms 30s 1m 1h30m 2d. Sizes: 512B 64KiB 50MB. A number never stands without its unit.
In command, env, args, kwargs, interpreter, cwd, env_file, on, and in addresses and commands of
ready and health are expanded:
${VAR}, ${VAR:-default} and ${replica}; $$ is $, and any other $ is left alone: so with shell: true
$VAR without braces is the shell's. Relative paths start in the folder of the file they stand in.
Scalars have the meaning that the key wants: no and 010 are texts, true and false the only truths.
"""


def text() -> str:
    """Return the whole of etc/reference.yaml."""
    return "\n".join(line.rstrip() for line in _lines()) + "\n"


def _lines() -> Iterator[str]:
    yield from (f"# {line}" for line in _HEAD.splitlines())
    yield ""
    for field in SHAPES[Document].values():
        if field.kind is Kind.SERVICES:
            yield ""
        nested = {"defaults": "{}", "services": ""}.get(field.name)
        yield from _told(Document, field, 0, nested)
    yield "  example:"
    for field in SHAPES[ServiceSpec].values():
        if field.kind is Kind.PART:
            # What is not there by default is shown as a comment.
            sign, deeper = ("# ", "#   ") if field.default is None else ("", "  ")
            yield from _told(ServiceSpec, field, 4, f"{sign}{field.name}:")
            for part in SHAPES[field.of].values():
                value = _value(field.of, part)
                shown = value if value.startswith("#") else f"{part.name}: {value}"
                yield from _told(field.of, part, 4, deeper + shown)
        else:
            yield from _told(ServiceSpec, field, 4)


def _told(owner: type, field: Field, indent: int, value: str | None = None) -> Iterator[str]:
    """Return the lines of one key: its value, and its reason at the right."""
    value = _value(owner, field) if value is None else value
    line = value if value.lstrip("# ").startswith(f"{field.name}:") else f"{field.name}: {value}"
    line = " " * indent + line.rstrip()
    reasons = textwrap.wrap(" ".join(field.help.split()), _WIDTH - _COLUMN - 2)
    for part in reasons:
        yield f"{line:<{_COLUMN}}# {part}"
        line = ""


def _value(owner: type, field: Field) -> str:
    """Return what is shown for a key: its default, or an example."""
    if (owner, field.name) in _EXAMPLES:
        return _EXAMPLES[owner, field.name]
    assert field.default is not None, f"{owner.__name__}.{field.name} wants an example"
    assert field.default is not records.MISSING, f"{owner.__name__}.{field.name} wants one too"
    if field.kind is Kind.DURATION:
        return units.written_duration(field.default)
    if field.kind is Kind.SIZE:
        return units.written_size(field.default)
    if isinstance(field.default, float):
        return f"{field.default:g}"
    return {"()": "[]", "True": "true", "False": "false"}.get(
        str(field.default), str(field.default)
    )


def main(arguments: list[str]) -> int:
    """Print the reference, or say whether a file has it."""
    parser = argparse.ArgumentParser(prog="python -m supervisor.config.reference")
    parser.add_argument("--check", metavar="FILE", help="exit with 1 if FILE is stale")
    wanted = parser.parse_args(arguments).check
    if wanted is None:
        sys.stdout.write(text())
        return 0
    with open(wanted, encoding="utf-8") as file:
        fresh = file.read() == text()
    if not fresh:
        sys.stderr.write(
            f"{wanted} is stale: make it again by python -m supervisor.config.reference\n"
        )
    return 0 if fresh else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

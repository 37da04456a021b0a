"""`keepd check`: everything that is wrong with a config, at once, and nothing started."""

from __future__ import annotations

import json
import sys

from . import place, reading, show
from .outcome import DONE

TYPE_CHECKING = False  # see control/client.py
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace


def options(parser: ArgumentParser, _word: str) -> None:
    """Say what the word takes."""
    parser.description = (
        "Read a config and tell everything that is wrong with it, with file, line and column.\n"
        "Nothing is started or changed. Exit code 0: it is good; 2: it is not."
    )
    parser.add_argument("file", metavar="FILE", nargs="?", help="default: as -c FILE")
    parser.add_argument(
        "--schema", action="store_true", help="print the JSON Schema of a config file, for editors"
    )
    parser.add_argument("--json", action="store_true", help="print the faults as JSON")


def run(options: Namespace) -> int:
    """Carry out the word."""
    if options.schema:
        from supervisor.config import reader

        sys.stdout.write(reader.schema_apart().rstrip("\n") + "\n")
        return DONE
    config = options.file or place.find_config(options.config)
    plan = json.loads(reading.plan_text(config, options.runtime_dir))
    replicas = {
        name: sum(count for count, _ in groups) for name, groups in plan["services"].items()
    }
    if options.json:
        show.as_json({"config": plan["config"], "faults": [], "services": replicas})
    else:
        print(f"{config} is good: {len(replicas)} services, {sum(replicas.values())} replicas")
    return DONE

"""The plan of the house: what each room may import. A wall may be moved here, and nowhere else."""

import ast
import graphlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HOUSE = ROOT / "supervisor"
PURE = {
    *(
        "__future__",
        "collections",
        "datetime",
        "enum",
        "functools",
        "graphlib",
        "heapq",
    ),
    *("itertools", "math", "re", "signal", "typing", "zlib"),
}
RECORDS = {"supervisor.records"}
STDLIB = sys.stdlib_module_names
DOORS = {
    "core": PURE | {"supervisor.core"} | RECORDS,
    "ipc": STDLIB | {"supervisor.ipc"},
    "unix": STDLIB | RECORDS | {"supervisor.unix", "supervisor.ipc"},
    "logs": STDLIB
    | RECORDS
    | {"supervisor.logs", "supervisor.ipc", "supervisor.unix", "supervisor.core.spec"},
    "control": STDLIB | {"supervisor.control", "supervisor.unix"},
    "config": STDLIB
    | RECORDS
    | {"supervisor.config", "supervisor.core.spec", "supervisor.unix", "yaml", "msgspec"},
    "drill": STDLIB
    | RECORDS
    | {"supervisor.drill", "supervisor.control.client", "supervisor.unix", "supervisor.ipc"},
    "cli": STDLIB
    | {"supervisor.drill"}
    | {"supervisor.cli", "supervisor.control.client", "supervisor.config.reader"}
    | {"supervisor.config.plan", "supervisor.config.places", "supervisor.config.faults"}
    | {"supervisor.logs.follow", "supervisor.launch", "supervisor"},
}
EXCEPT = {  # one module, and what it alone may import beside its room's
    "supervisor.cli.up": {"supervisor.anchor"},
}
HEIGHTS = {"supervisor.master", "supervisor.anchor", "supervisor.cli", "supervisor.faces"}
LONG_LIVED = ["supervisor.anchor", "supervisor.master", "supervisor.logs.writer"]
HEAVY = {"asyncio", "dataclasses", "logging", "msgspec", "multiprocessing", "subprocess", "yaml"}
CLOCKS = {"datetime.now", "datetime.utcnow", "datetime.today", "date.today"}

Import = tuple[str, int, bool]  # module, line, whether it stands in a function


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path): path for path in sorted(HOUSE.rglob("*.py"))}


def is_module(name: str) -> bool:
    return name in MODULES or (ROOT / name.replace(".", "/")).is_dir()


def imports(module: str) -> list[Import]:
    """Return all that a module imports, wherever it stands in it."""
    path = MODULES[module]
    tree = ast.parse(path.read_text(encoding="utf-8"))
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    inner = {
        id(node)
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for node in ast.walk(function)
    }
    return [
        (name, node.lineno, id(node) in inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in targets(node, package)
    ]


def targets(node: ast.Import | ast.ImportFrom, package: str) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
        return
    above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
    base = ".".join([*above, *([node.module] if node.module else [])])
    for alias in node.names:  # from supervisor.unix import process: a module, not a name in one
        inside = f"{base}.{alias.name}"
        yield inside if base.startswith("supervisor") and is_module(inside) else base


def within(name: str, roots: set[str]) -> bool:
    return any(
        name == root or (name.startswith(root + ".") and root != "supervisor") for root in roots
    )


@pytest.mark.parametrize("room", DOORS)
def test_a_room_imports_only_what_its_door_allows(room):
    for module in MODULES:
        if within(module, {f"supervisor.{room}"}):
            allowed = DOORS[room] | EXCEPT.get(module, set())
            strangers = [(n, line) for n, line, _ in imports(module) if not within(n, allowed)]
            assert not strangers, f"{module} imports {strangers}"


def test_the_anchor_has_less_than_two_hundred_lines():
    """What has no reason to die has little to die of."""
    assert len(MODULES["supervisor.anchor"].read_text(encoding="utf-8").splitlines()) < 200


def test_nothing_imports_the_heights_from_below():
    allowed = {
        "supervisor.offspring": {"supervisor.master"},
        "supervisor.trial": {"supervisor.anchor"},
        "supervisor.__main__": {"supervisor.cli"},
        **EXCEPT,
    }
    for module in MODULES:
        ours = allowed.get(module, set()) | {".".join(module.split(".")[:2])}
        above = [n for n, _, _ in imports(module) if within(n, HEIGHTS) and not within(n, ours)]
        assert not above, f"{module} imports {above}"


def test_what_is_heavy_is_imported_where_it_belongs_and_nowhere_else():
    homes = {
        "yaml": {"supervisor.config"},
        "msgspec": {"supervisor.config"},
        "asyncio": {"supervisor.prober", "supervisor.tries", "supervisor.commands"},
        "logging": {"supervisor.worker"},
        "multiprocessing": {"supervisor.ipc"},
        "subprocess": {"supervisor.trial"},
    }
    for module in MODULES:
        for name, line, _ in imports(module):
            allowed = homes.get(name.partition(".")[0], {module})
            assert within(module, allowed), f"{module}:{line} imports {name}"


def test_there_are_no_circles():
    graph = {
        module: {
            n for n, _, _ in imports(module) if n in MODULES and n not in {module, "supervisor"}
        }
        for module in MODULES
    }
    graphlib.TopologicalSorter(graph).prepare()  # CycleError names the circle


def test_imports_stand_at_the_top_except_in_the_command_line():
    for module in MODULES:
        if not within(module, {"supervisor.cli"}):
            lazy = [(n, line) for n, line, inner in imports(module) if inner]
            assert not lazy, f"{module} imports {lazy} inside a function"


def test_imports_at_run_time_are_few_and_known():
    known = {
        "supervisor.ipc",  # multiprocessing only for those who ask for what stands on it
        "supervisor.config.reader",  # YAML only in the child that reads it
        "supervisor.probes",  # asyncio only in the prober
        "supervisor.unix.function",  # a service's own function, in any interpreter
        "supervisor.unix.setup",  # where setproctitle may be missing: it is run by any interpreter
    }
    for module, path in MODULES.items():
        text = path.read_text(encoding="utf-8")
        if "import_module" in text or "__import__" in text:
            known_here = module in known or within(module, {"supervisor.cli"})
            assert known_here, f"{module} imports at run time"


def test_nothing_sleeps():
    for path in (*HOUSE.rglob("*.py"), *(ROOT / "tests").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            named = isinstance(node, ast.ImportFrom) and node.module in {"time", "asyncio"}
            imported = named and "sleep" in {alias.name for alias in node.names}
            called = (
                isinstance(node, ast.Attribute)
                and node.attr == "sleep"
                and isinstance(node.value, ast.Name)
                and node.value.id in {"time", "asyncio"}
            )
            sleeps = imported or called
            assert not sleeps, f"{path}:{node.lineno} sleeps"


def test_the_core_formats_times_but_reads_no_clock():
    for path in (HOUSE / "core").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            clock = ast.unparse(node) if isinstance(node, ast.Attribute) else ""
            assert clock not in CLOCKS, f"{path}:{node.lineno} reads a clock"


@pytest.mark.parametrize("module", LONG_LIVED)
def test_who_lives_long_carries_nothing_heavy(module):
    script = (
        "import sys, json\n"
        "before = set(sys.modules)\n"
        f"import {module}\n"
        "print(json.dumps(sorted(set(sys.modules) - before)))"
    )
    run = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    carried = set(json.loads(run.stdout))
    assert module in carried
    assert not carried & HEAVY, f"{module} carries {carried & HEAVY}"

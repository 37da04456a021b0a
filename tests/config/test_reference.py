"""What is generated for readers is fresh, complete, and true."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from supervisor.config import reference
from supervisor.config.jsonschema import schema
from supervisor.config.shapes import KINDS, SHAPES, Kind
from tests.config.written import by

FILE = Path(__file__).parents[2] / "etc" / "reference.yaml"


def test_the_reference_in_the_repository_is_fresh():
    assert reference.main(["--check", str(FILE)]) == 0


def test_a_stale_reference_is_noticed(tmp_path):
    stale = tmp_path / "reference.yaml"
    stale.write_text(reference.text() + "# more\n", encoding="utf-8")
    run = subprocess.run(
        [sys.executable, "-m", "supervisor.config.reference", "--check", str(stale)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        cwd=FILE.parents[1],
    )
    assert run.returncode == 1
    assert "is stale" in run.stderr


def test_the_reference_is_itself_a_config_and_changes_no_default(folder):
    plan = folder.plan(reference.text())
    bare = folder.service("command: [sleep, infinity]\n")
    (example,) = plan.services["example"]
    for name in SHAPES[type(bare)]:
        assert getattr(example, name) == getattr(bare, name), name


def test_every_key_is_in_the_reference():
    text = reference.text()
    for shape in SHAPES.values():
        for name in shape:
            assert re.search(rf"^[ #]*{name}:", text, re.MULTILINE), name


def test_what_stands_there_as_a_comment_is_true_as_well(folder):
    lines = reference.text().splitlines()
    keys = [line.replace("# ", "", 1) for line in lines if re.match(r" {4}# {1,3}\w+: ?", line)]
    blocks = blocks_of(keys)
    for part, kinds in KINDS.items():
        rest = [line for name, lines in blocks.items() if name not in KINDS for line in lines]
        for kind in kinds:
            others = "|".join(other for other in kinds if other != kind)
            one = [line for line in blocks[part] if not re.match(rf" {{6}}({others}):", line)]
            text = "\n".join([*rest, *one])
            web = folder.plan(f"services:\n  web:\n{text}\n").services["web"][0]
            assert getattr(getattr(web, part), kind)
            assert (web.python, web.start_limit.starts) == ("shop.jobs:main", 10)
            assert (web.on.failed, web.watchdog) == (("./page.sh", "never"), 30)


def blocks_of(lines):
    """Return the lines of each key, with those below it."""
    found = {}
    for line in lines:
        if not line.startswith(" " * 6):
            found[line.strip().partition(":")[0]] = block = []
        block.append(line)
    return found


def test_the_schema_names_every_key_with_its_help_and_allows_no_other():
    parts = schema()["$defs"]
    for owner, shape in SHAPES.items():
        part = parts["Service" if owner.__name__ == "ServiceSpec" else owner.__name__]
        assert part["properties"].keys() == shape.keys()
        assert part["additionalProperties"] is False
        for name, field in shape.items():
            assert part["properties"][name]["description"] == field.help


def test_the_schema_says_what_a_text_must_look_like():
    parts = schema()["$defs"]
    first = parts["Backoff"]["properties"]["first"]
    assert first["type"] == "string"
    assert first["default"] == "200ms"
    assert re.search(first["pattern"], "1h30m")
    assert not re.search(first["pattern"], "30")
    assert re.search(parts["Log"]["properties"]["max_size"]["pattern"], "64KiB")
    assert parts["Restart"]["enum"] == ["always", "never", "on-failure"]
    assert parts["Service"]["oneOf"] == [{"required": ["command"]}, {"required": ["python"]}]
    assert {"required": ["tcp"]} in parts["Ready"]["oneOf"]
    assert "oneOf" not in parts["Defaults"]
    assert "oneOf" not in parts["ReadyDefaults"]


def test_every_reference_inside_the_schema_leads_somewhere():
    whole = schema()
    found = set(re.findall(r"#/\$defs/(\w+)", str(whole)))
    assert found <= whole["$defs"].keys()


def test_defaults_in_the_schema_are_written_as_the_file_writes_them(folder):
    keys = {
        name: found["default"]
        for name, found in schema()["$defs"]["Service"]["properties"].items()
        if found.get("default") not in (None, [], {})
    }
    assert {"restart", "replicas", "cwd", "shell"} <= keys.keys()
    text = yaml.safe_dump({"services": {"web": keys | {"command": "x"}}})
    assert folder.plan(text, by()).services["web"][0].restart == "always"


@pytest.mark.parametrize("kind", list(Kind))
def test_every_kind_of_value_is_used(kind):
    assert any(field.kind is kind for shape in SHAPES.values() for field in shape.values())

"""Whatever an operator writes under the keys of keepd: a plan or faults, and never an exception."""

import json
import tempfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from supervisor.config.faults import Fault
from supervisor.config.plan import Plan, decode, encode
from supervisor.config.read import read
from supervisor.config.shapes import SHAPES, Kind
from supervisor.core.spec import ServiceSpec
from tests.config.written import by

KEYS = sorted({name for shape in SHAPES.values() for name in shape} | {"user", "exec", "<<", "x"})
PLAIN = ["", "~", "0", "3", "-1", "010", "1.5", "true", "no", "30s", "0s", "1m", "50MB", "64KiB"]
WORDS = ["all", "none", "never", "always", "completed", "ready", "notify", "TERM", "a:b", "a.b"]
TEXTS = ["'echo x'", '"echo \'x"', "'${HOME}'", "'${NO}'", "'${replica}'", "'${'", "'$$'", "'a:80'"]
MORE = ["'http://a/'", "'('", "'~/x'", "'../x'", "'  '", "'*'", "'NOTIFY_SOCKET'", "web", "'\\'"]
SCALARS = st.sampled_from([*PLAIN, *WORDS, *TEXTS, *MORE])


def flow(entries):
    return "{" + ", ".join(f"{name}: {node}" for name, node in entries.items()) + "}"


NODES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda items: "[" + ", ".join(items) + "]"),
        st.dictionaries(st.sampled_from([*KEYS, "web", "A"]), inner, max_size=4).map(flow),
    ),
    max_leaves=6,
)
FITTING = {
    Kind.WHOLE: ["0", "3", "10001"],
    Kind.NUMBER: ["0", "1.5", "0.25"],
    Kind.FLAG: ["true", "false"],
    Kind.DURATION: ["0s", "200ms", "1h30m"],
    Kind.SIZE: ["64KiB", "50MB"],
    Kind.CHOICE: ["always", "never", "none", "raw", "exit"],
    Kind.TEXTS: ["a b", "all", "[a, b]", "['${replica}']", "'${HOME}/x'"],
    Kind.TEXT_MAP: ["{A: 1}", "{A: '${USER}'}"],
    Kind.CHOICE_MAP: ["[db]", "{db: started}", "{web: ready}"],
}


def node_of(field):
    """Return nodes for a field, most of them such as it wants."""
    if field.kind is Kind.PART:
        fitting = keys_of(field.of).map(flow)
    else:
        fitting = st.sampled_from(FITTING.get(field.kind, ["a:b", "TERM", "'h:1'", "x"]))
    return st.one_of(fitting, fitting, fitting, NODES)


def keys_of(owner):
    shape = SHAPES[owner].values()
    return st.fixed_dictionaries({}, optional={field.name: node_of(field) for field in shape})


SERVICES = st.one_of(
    keys_of(ServiceSpec), keys_of(ServiceSpec).map(lambda keys: {"command": "x"} | keys)
)
TOPS = st.dictionaries(st.sampled_from(["name", "log_dir", "include", "defaults", "x"]), NODES)


def whole(top, services):
    lines = [f"{name}: {node}" for name, node in top.items()]
    lines.append("services:")
    for name, keys in services.items():
        lines.append(f"  {name}:")
        lines += [f"    {key}: {node}" for key, node in keys.items()]
    return "\n".join(lines) + "\n"


CONFIGS = st.builds(
    whole, TOPS, st.dictionaries(st.sampled_from(["web", "db", "job", "'../x'"]), SERVICES)
)


@given(CONFIGS)
def test_every_config_is_a_plan_or_faults_with_their_places(text):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "keepd.yaml"
        path.write_text(text, encoding="utf-8")
        result = read(str(path), by())
    if isinstance(result, Plan):
        assert decode(encode(result)) == result
        return
    assert result
    for fault in result:
        assert isinstance(fault, Fault)
        assert fault.message
        assert "\n" not in str(fault)
        assert json.dumps(str(fault))

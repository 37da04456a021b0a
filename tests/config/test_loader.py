"""Any text is read into a tree of strings with their places, or told as faults; nothing raises."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.config.faults import Faults, Mark
from supervisor.config.loader import PARSER, PURE, Bounds, load
from supervisor.config.nodes import Mapping, Scalar, Sequence

USUAL = Bounds()
PARSERS = {"libyaml": PARSER, "pure": PURE}


@pytest.fixture(params=PARSERS)
def parser(request):
    return PARSERS[request.param]


def told(text, parser, bounds=USUAL):
    faults = Faults()
    load(text, "f", faults, bounds, parser)
    return [str(fault) for fault in faults.all()]


def tree(text, parser=PARSER):
    faults = Faults()
    node = load(text, "f", faults, parser=parser)
    assert not faults, faults.all()
    return plain(node)


def plain(node):
    match node:
        case Mapping(entries=entries):
            return {name: plain(entry.value) for name, entry in entries.items()}
        case Sequence(items=items):
            return [plain(item) for item in items]
        case Scalar(text=text):
            return text


def test_both_parsers_of_pyyaml_are_there():
    assert PARSER is not PURE


def test_every_node_knows_its_line_and_column(parser):
    faults = Faults()
    node = load("a: 1\nbé: [x, 'y', {c: z}]\n", "f", faults, parser=parser)
    assert isinstance(node, Mapping)
    entry = node.entries["bé"]
    assert entry.key.at == Mark("f", 2, 1)
    assert isinstance(entry.value, Sequence)
    assert [item.at.column for item in entry.value.items] == [6, 9, 14]


def test_f77_scalars_stay_the_strings_that_they_are(parser):
    text = "[no, on, 010, 22:22, 3.10, 2024-01-02, 1_000, 0x1f, ~, '', 1e3, true]"
    words = ["no", "on", "010", "22:22", "3.10", "2024-01-02", "1_000", "0x1f", "~", "", "1e3"]
    assert tree(text, parser) == [*words, "true"]


def test_merges_take_what_is_not_said_and_the_first_of_several_wins(parser):
    text = """
        a: &a {x: 1, y: 1}
        b: &b {y: 2, z: 2}
        c: {<<: [*a, *b], z: 3}
        d: {"<<": text}
    """
    read = tree(text, parser)
    assert read["c"] == {"x": "1", "y": "1", "z": "3"}
    assert read["d"] == {"<<": "text"}


@pytest.mark.parametrize(
    "text",
    [
        "a: !!python/object/apply:os.system [x]",
        "a: !!str 1",
        "a: !local x",
        "a: ! x",
        "!!map {a: b}",
        "- !<tag:yaml.org,2002:int> 3",
    ],
)
def test_s23_tags_are_refused(text, parser):
    assert any("tags are not allowed" in line for line in told(text, parser))


def test_f78_a_bomb_of_aliases_is_refused_quickly(parser):
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 20)]
    (line,) = told("\n".join(lines), parser)
    assert "more than 200,000 nodes, aliases counted wherever used" in line


def test_f78_a_bomb_of_merges_is_refused_too(parser):
    base = ", ".join(f"k{n}: v" for n in range(100))
    uses = "\n".join(f"u{n}: {{<<: *b}}" for n in range(2_000))
    (line,) = told(f"b: &b {{{base}}}\n{uses}", parser)
    assert "more than 200,000 nodes" in line


@pytest.mark.parametrize("opening", ["[", "{a: ", "- "])
def test_f78_deep_nesting_is_refused(opening, parser):
    (line,) = told(opening * 2_000, parser)
    assert "nested deeper than 64 levels" in line


def test_f78_depth_through_aliases_counts(parser):
    lines = ["a0: &a0 x"]
    lines += [f"a{n}: &a{n} [*a{n - 1}]" for n in range(1, 100)]
    (line,) = told("\n".join(lines), parser)
    assert "nested deeper than 64 levels" in line


@pytest.mark.parametrize(
    "text", ["a: &a [*a]", "a: &a {b: {c: *a}}", "&a [x, *a]", "a: &a {<<: *a}"]
)
def test_f78_a_cycle_is_refused(text, parser):
    (line,) = told(text, parser)
    assert line.endswith("*a would contain itself")


def test_f78_many_nodes_without_any_alias_are_refused(parser):
    (line,) = told("[" + "a," * 60 + "]", parser, Bounds(nodes=50))
    assert "more than 50 nodes" in line


def test_f78_an_alias_within_the_bound_is_fine(parser):
    assert tree("a: &a [1, 2]\nb: *a", parser) == {"a": ["1", "2"], "b": ["1", "2"]}


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("a:\n\t- b", "indent with spaces, not with tabs"),
        ("a: @x", "put quotes around a text that begins with @"),
        ("a: b: c", "put quotes around a text that contains ': '"),
        ("a: {b: x${y}}", "inside { } and [ ] put quotes around a text with ${...}"),
        ("a: *b*c", "put quotes around a text that begins with *"),
    ],
)
def test_the_usual_slips_of_syntax_get_advice(text, advice, parser):
    (line,) = told(text, parser)
    assert line.endswith(advice)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("---\na: 1\n---\nb: 2", "f:3:1: a second document begins here"),
        ("? [a]\n: b", "f:1:3: a key must be a single word, not a list"),
        ("a: *nope", "f:1:4: no anchor &nope stands above"),
        ("a: 1\nb: é\x07", "f:2:5: the character U+0007 is not allowed in YAML"),
        ('a: "x\\0"', "f:1:4: the character U+0000 can be given to no program"),
        ("<<: [1]", "f:1:1: << takes a mapping or a list of mappings, not '1'"),
    ],
)
def test_what_no_config_needs_is_refused(text, what, parser):
    assert told(text, parser)[0].startswith(what)


LETTERS = ["a", "é", "b: ", "- ", "\n", "  ", "\t", "\r", "#", "~", "@", "\\u", "'", '"']
SIGNS = ["{", "}", "[", "]", ",", "? ", ": ", "|", ">", "&x ", "*x", "<<: ", "!t "]
PIECES = st.sampled_from([*LETTERS, *SIGNS, "---\n", "...\n", "%YAML 1.1\n"])


@given(st.one_of(st.text(), st.lists(PIECES, max_size=40).map("".join)))
def test_no_text_makes_the_loader_raise(text):
    for parser in PARSERS.values():
        faults = Faults()
        node = load(text, "f", faults, Bounds(depth=8, nodes=100), parser)
        assert isinstance(node, Mapping | Sequence | Scalar | None)
        for fault in faults.all():
            assert fault.line >= 0
            assert "\n" not in str(fault)


WORDS = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), max_size=8)
TREES = st.recursive(
    WORDS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS, inner, max_size=4)
)


def quoted(value):
    match value:
        case str():
            return "'" + value.replace("'", "''") + "'"
        case list():
            return "[" + ", ".join(map(quoted, value)) + "]"
        case _:
            return "{" + ", ".join(f"{quoted(k)}: {quoted(v)}" for k, v in value.items()) + "}"


@given(TREES, st.sampled_from(list(PARSERS)))
def test_whatever_is_written_is_read(value, name):
    assert tree(quoted(value), PARSERS[name]) == value


def test_weights_are_those_of_the_expanded_tree(parser):
    node = load("a: &a [1, 2]\nb: [*a, *a]\n", "f", Faults(), parser=parser)
    assert isinstance(node, Mapping)
    assert node.height == 4
    assert node.weight == 1 + 2 + 3 + (1 + 3 + 3)  # itself, its keys, the lists

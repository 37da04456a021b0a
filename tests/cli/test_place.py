"""Where the daemon is: the quick look finds what the real reader finds, or nothing at all."""

import os

import pytest

from supervisor.cli import place
from supervisor.cli.outcome import Failure
from supervisor.config import reader
from supervisor.config.places import Overrides, Places

PLAIN = [
    ("name: shop\n", {"name": "shop"}),
    ("version: 1\nname: shop # the shop\nservices:\n  name: no\n", {"name": "shop"}),
    ("name: 'shop'\r\nruntime_dir: \"/run/x\"\r\n", {"name": "shop", "runtime_dir": "/run/x"}),
    ("---\nname:   shop\n", {"name": "shop"}),
    ("services: {web: {command: [a, 'b: c']}}\nname: shop\n", {"name": "shop"}),
    ("include: [\n  a.yaml,\n]\nname: shop\n", {"name": "shop"}),
    ("include:\n- a.yaml\n- b.yaml\nname: shop\n", {"name": "shop"}),
    (
        "name: shop\nservices:\n  a: {command: don't}\n  b: |\n    name: x\n    [[[\n",
        {"name": "shop"},
    ),
    ("services:\n  a:\n    shell: true\n    command: |\n      name: x\nname: y\n", {"name": "y"}),
    ("services: {}\n", {}),
    ("# name: no\nservices: {}\n", {}),
    ("name: shop\n\n\n# end\n", {"name": "shop"}),
    ('a: "x\\\\" # "\nname: y\n', {"name": "y"}),
    ("runtime_dir: run/here\n", {"runtime_dir": "run/here"}),
]

UNUSUAL = [
    "",
    "# nothing\n",
    "name:\n  shop\n",
    "name:\n",
    "name: shop\n  and more\n",
    "name: shop\n\n# note\n   and more\n",
    "name: &a shop\n",
    "name: !!str shop\n",
    "name: |\n  shop\n",
    "name: two words\n",
    "name: ${USER}\n",
    "name: null\n",
    "name: ~\n",
    "name: ''\n",
    "name: shop\nname: shop\n",
    "name : shop\n",
    '"name": shop\n',
    "'name': shop\n",
    "? name\n: shop\n",
    "{name: shop}\n",
    "{\nname: shop\n}\n",
    "<<: {name: x}\nservices: {}\n",
    "%YAML 1.2\n---\nname: shop\n",
    "name: a\n---\nname: b\n",
    "--- {name: b}\n",
    "name: shop\n...\nname: b\n",
    "  name: shop\n  services: {}\n",
    "\ufeffname: shop\n",
    "a: b\rname: shop\n",
    "a: b\u2028name: shop\n",
    "a: b\x85name: shop\n",
    'a: "text\nname: shop\n"\n',
    "a: 'text\nname: shop\n'\n",
    "a: [\nname: shop\n]\n",
    "a: {\nname: shop\n}\n",
    'a: "b\\" c\nname: shop\n"\n',
    'a: ["]",\nname: shop\n]\n',
    "a: x]\nb: [\nname: shop\n]\n",
    "\tname: shop\n",
    "name: shop\0\n",
    "runtime_dir: ~/run\n",
    "runtime_dir: $HOME/run\n",
    "runtime_dir: /run/with blank\n",
    "name: a: b\n",
    "name: [shop]\n",
    "name: shop\n" + "#" * (1 << 20),
]


@pytest.mark.parametrize(("text", "found"), PLAIN)
def test_plain_top_level_keys_are_found(text, found):
    assert place.top_level(text) == found


@pytest.mark.parametrize("text", UNUSUAL)
def test_what_is_not_plain_is_left_to_the_real_reader(text):
    with pytest.raises(place.Unusual):
        place.top_level(text)


class Options:
    def __init__(self, config=None, runtime_dir=None):
        self.config, self.runtime_dir = config, runtime_dir


@pytest.fixture
def bare(monkeypatch, tmp_path):
    for name in ("KEEPD_CONFIG", "KEEPD_RUNTIME_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/7")
    return tmp_path


@pytest.mark.parametrize("uid", [0, 1000])
@pytest.mark.parametrize("text", [text for text, _ in PLAIN] + UNUSUAL)
def test_the_quick_look_and_the_real_reader_never_differ(bare, monkeypatch, text, uid):
    monkeypatch.setattr(os, "geteuid", lambda: uid)
    config = bare / "keepd.yaml"
    config.write_bytes(text.encode())
    try:
        quick = place._quick(str(config))
    except place.Unusual:
        return
    places = reader.locate_apart(str(config), Overrides(uid=uid))
    assert isinstance(places, Places), places
    assert quick == places.run_dir


def test_the_option_goes_before_the_variable_and_that_before_the_config(bare, monkeypatch):
    config = bare / "keepd.yaml"
    config.write_text("name: shop\nruntime_dir: here\nservices: {}\n")
    options = Options(str(config))
    assert place.run_dir(options) == str(bare / "here")
    monkeypatch.setenv("KEEPD_RUNTIME_DIR", "/run/var")
    assert place.run_dir(options) == "/run/var"
    options.runtime_dir = "/run/opt"
    assert place.run_dir(options) == "/run/opt"


def test_a_relative_runtime_dir_on_the_command_line_is_meant_from_here(bare, monkeypatch):
    monkeypatch.chdir(bare)
    assert place.socket_path(Options(runtime_dir="run")) == str(bare / "run" / "control.sock")


def test_a_config_with_broken_services_still_tells_where_its_daemon_is(bare):
    config = bare / "keepd.yaml"
    config.write_text('"name": shop\nruntime_dir: /run/there\nservices: {web: {comand: x}}\n')
    assert place.run_dir(Options(str(config))) == "/run/there"


def test_the_config_is_the_one_named_else_the_variables_else_the_one_here(bare, monkeypatch):
    monkeypatch.chdir(bare)
    with pytest.raises(Failure, match=r"cannot find a config: .*; name one with -c FILE") as caught:
        place.find_config(None)
    assert caught.value.code == 2
    (bare / "keepd.yaml").touch()
    assert place.find_config(None) == "keepd.yaml"
    (bare / "other.yaml").touch()
    monkeypatch.setenv("KEEPD_CONFIG", "other.yaml")
    assert place.find_config(None) == "other.yaml"
    assert place.find_config("keepd.yaml") == "keepd.yaml"
    with pytest.raises(Failure, match=r"cannot find the config none\.yaml"):
        place.find_config("none.yaml")

"""Where a project keeps its things, by the rules that operators know."""

import os

import pytest

from supervisor.config.places import Overrides, Places
from supervisor.config.top import locate
from tests.config.written import by


@pytest.fixture
def at(folder):
    def located(text="services: {}\n", overrides=None, name="keepd.yaml"):
        return locate(folder.write(text, name), overrides or by())

    return located


def test_root_has_its_things_in_run_and_var_log(at, folder):
    assert at("name: shop\nservices: {}") == Places(
        name="shop",
        config=f"{folder.path}/keepd.yaml",
        folder=str(folder.path),
        run_dir="/run/keepd/shop",
        log_dir="/var/log/keepd/shop",
    )


def test_others_have_them_in_the_folders_of_their_account(at):
    mine = at("name: shop", by(uid=1000))
    assert mine.run_dir == "/run/u/keepd/shop"
    assert mine.log_dir == "/home/ada/.local/state/keepd/shop"
    assert at("name: shop", by(uid=1000, XDG_STATE_HOME="/s")).log_dir == "/s/keepd/shop"


@pytest.mark.parametrize("base", ["", "relative"])
def test_without_a_runtime_directory_people_are_told_how_to_give_one(at, folder, base):
    (fault,) = at("name: shop", by(uid=1000, XDG_RUNTIME_DIR=base))
    assert str(fault) == (
        f"{folder.path}/keepd.yaml: cannot tell where the runtime directory is: XDG_RUNTIME_DIR "
        "is not set; give one by --runtime-dir, KEEPD_RUNTIME_DIR or the key runtime_dir"
    )
    assert isinstance(folder.read("services: {}", by(uid=1000, XDG_RUNTIME_DIR=base)), tuple)


def test_the_option_goes_before_the_variable_and_that_before_the_key(at, folder):
    text = "name: shop\nruntime_dir: r\nlog_dir: ../l\n"
    asked = by(runtime_dir="o", KEEPD_RUNTIME_DIR="v")
    assert at(text, asked).run_dir == os.path.abspath("o")
    assert at(text, by(KEEPD_RUNTIME_DIR="/v/")).run_dir == "/v"
    assert at(text).run_dir == f"{folder.path}/r"
    assert at(text).log_dir == f"{folder.path.parent}/l"


def test_a_project_without_a_name_has_its_folders_and_a_hash_of_its_path(at):
    one = at(name="my shop/keepd.yaml").name
    other = at(name="my shop/other.yaml").name
    assert one.startswith("my-shop-")
    assert other.startswith("my-shop-")
    assert one != other
    assert at(name="my shop/keepd.yaml").name == one


def test_the_hash_is_the_same_through_a_link(at, folder):
    one = at(name="real/keepd.yaml")
    (folder.path / "link").symlink_to("real")
    through = locate(f"{folder.path}/link/keepd.yaml", by())
    assert through.name == one.name
    assert through.folder == f"{folder.path}/link"


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("name: ../x", "1:7: name: a name consists of letters, digits and _ . @ -"),
        ("name: [x]", "1:7: name: a text is wanted here, not a list"),
        ("log_dir: ~/x", "1:10: log_dir: '~/x' is taken as it is: nothing is expanded here"),
        ("runtime_dir: ${X}", "1:14: runtime_dir: '${X}' is taken as it is"),
    ],
)
def test_what_is_wrong_at_the_top_is_told(at, folder, text, what):
    (fault,) = at(text)
    assert f"keepd.yaml:{what}" in str(fault)
    assert any(what in line for line in folder.told(f"{text}\nservices: {{}}\n"))


def test_a_project_is_found_whatever_is_wrong_with_its_services(at):
    places = at("name: shop\nservices: {web: {comand: !x y}, web: 3}\nfoo: bar\n")
    assert places.run_dir == "/run/keepd/shop"


def test_a_user_without_home_or_name_still_has_a_place(at):
    assert at("name: x", Overrides(environ={"XDG_RUNTIME_DIR": "/r"}, uid=3_999_999)).log_dir == (
        "/.local/state/keepd/x"
    )

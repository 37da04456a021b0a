"""Includes and defaults: which file a service comes from, and what holds for it."""

import pytest

from supervisor.core.spec import Backoff, Ready, Stop


def test_globs_are_read_in_order_and_may_match_nothing(folder):
    folder.write("services: {b: {command: x}}", "services.d/b.yaml")
    folder.write("services: {a: {command: x}}\nversion: 1\n", "services.d/a.yaml")
    config = "include: [services.d/*.yaml, none.d/*.yaml]\nservices: {z: {command: x}}\n"
    assert list(folder.plan(config).services) == ["z", "a", "b"]


def test_a_plain_file_that_is_missing_is_told_where_it_is_named(folder):
    (line,) = folder.told("services: {}\ninclude:\n  - none.yaml\n")
    assert line == "keepd.yaml:3:5: cannot read none.yaml: no such file or directory"


def test_an_included_file_may_include_and_circles_are_harmless(folder):
    folder.write("include: [deep.yaml, ../keepd.yaml]\n", "more/more.yaml")
    folder.write("include: more.yaml\nservices: {deep: {command: x}}\n", "more/deep.yaml")
    assert list(folder.plan("include: ['*.yaml', more/more.yaml]\n").services) == ["deep"]


def test_an_included_file_says_nothing_about_the_project(folder):
    folder.write("name: x\nlog_dir: y\nservice: {}\n", "more.yaml")
    assert sorted(folder.told("include: more.yaml\n")) == [
        "more.yaml:1:1: name: stands in the main file only, not in an included one",
        "more.yaml:2:1: log_dir: stands in the main file only, not in an included one",
        "more.yaml:3:1: service: unknown key; did you mean 'services'?",
    ]


def test_paths_start_in_the_folder_of_the_file_that_they_stand_in(folder):
    folder.write("A=1", "sub/my.env")
    folder.write("services: {web: {command: x, env_file: my.env}}\n", "sub/web.yaml")
    folder.write("services: {job: {command: x, cwd: work}}\n", "sub/job.yaml")
    plan = folder.plan("include: sub/*.yaml\n")
    assert plan.services["web"][0].cwd == f"{folder.path}/sub"
    assert plan.services["web"][0].env["A"] == "1"
    assert plan.services["job"][0].cwd == f"{folder.path}/sub/work"


def test_defaults_hold_where_a_service_says_nothing(folder):
    plan = folder.plan("""
        defaults:
          stop: {signal: INT, timeout: 3s}
          backoff: {first: 1s, limit: 5s}
          env: {A: "1", B: "1"}
          inherit_env: [X]
        services:
          a: {command: x}
          b: {command: x, stop: {timeout: 4s}, backoff: {first: 2s}, env: {B: "2"}, inherit_env: []}
    """)
    a, b = plan.services["a"][0], plan.services["b"][0]
    assert (a.stop, a.backoff) == (Stop("INT", 3), Backoff(first=1, limit=5))
    assert (b.stop, b.backoff) == (Stop("INT", 4), Backoff(first=2, limit=5))
    assert (a.env["B"], b.env["A"], b.env["B"]) == ("1", "1", "2")
    assert (a.inherit_env, b.inherit_env) == (("X",), ())


def test_defaults_of_an_included_file_lie_over_those_of_the_main_one(folder):
    folder.write("defaults: {stop: {timeout: 4s}}\nservices: {b: {command: x}}\n", "b.yaml")
    folder.write("services: {c: {command: x}}\n", "c.yaml")
    plan = folder.plan("""
        include: [b.yaml, c.yaml]
        defaults: {stop: {signal: INT, timeout: 3s}}
        services: {a: {command: x}}
    """)
    stops = {name: specs[0].stop for name, specs in plan.services.items()}
    assert stops == {"a": Stop("INT", 3), "b": Stop("INT", 4), "c": Stop("INT", 3)}


def test_a_services_own_way_of_being_ready_replaces_the_default_one(folder):
    plan = folder.plan("""
        defaults: {ready: {tcp: "a:1", timeout: 5s}}
        services:
          a: {command: x}
          b: {command: x, ready: notify}
          c: {command: x, ready: {timeout: 6s}}
          d: {command: x, ready: ~}
    """)
    assert {name: specs[0].ready for name, specs in plan.services.items()} == {
        "a": Ready(tcp="a:1", timeout=5),
        "b": Ready(notify=True, timeout=5),
        "c": Ready(tcp="a:1", timeout=6),
        "d": None,
    }


def test_a_default_time_limit_alone_makes_nothing_wait_to_be_ready(folder):
    plan = folder.plan("""
        defaults: {ready: {timeout: 5s}}
        services: {a: {command: x}, b: {command: x, ready: notify}}
    """)
    assert plan.services["a"][0].ready is None
    assert plan.services["b"][0].ready == Ready(notify=True, timeout=5)


def test_defaults_for_python_do_not_hinder_a_command(folder):
    plan = folder.plan("""
        defaults: {interpreter: python3.11}
        services: {a: {command: x}, b: {python: "m:f"}}
    """)
    assert plan.services["a"][0].interpreter is None
    assert plan.services["b"][0].interpreter == "python3.11"


def test_an_anchor_serves_for_what_services_share(folder):
    plan = folder.plan("""
        services:
          a: &a {command: x, env: {A: "1"}}
          b: {<<: *a, restart: never}
    """)
    assert plan.services["b"][0].command == ("x",)
    assert plan.services["b"][0].restart == "never"


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "keepd.yaml:1:1: there are no services; list them under services:"),
        ("[a]", "keepd.yaml:1:1: a config is a mapping of keys, not a list; begin with services:"),
        ("services: [a]", "keepd.yaml:1:11: services: a mapping is wanted here, not a list"),
        ("services: {a: x}", "keepd.yaml:1:15: services.a: a mapping is wanted here, not 'x'"),
        ("services: {}\nversion: 2", "2:10: version: 2 must be at least 1 and at most 1"),
        ("services: {}\nincludes: x", "2:1: includes: unknown key; did you mean 'include'?"),
        ("services: {}\ndefaults: x", "2:11: defaults: a mapping is wanted here, not 'x'"),
        ("services: {}\ninclude: {}", "a text or a list of texts is wanted here, not a mapping"),
    ],
)
def test_the_top_level_is_checked(folder, text, what):
    assert folder.told(text)[0].endswith(what)


def test_a_file_that_is_too_large_is_not_read(folder):
    (line,) = folder.told("# " + "x" * 2**20)
    assert line == "keepd.yaml: cannot read keepd.yaml: more than 1,048,576 bytes"

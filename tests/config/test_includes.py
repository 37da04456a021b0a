"""Drop-ins: whatever is wrong in one is told with its own file, line and column."""

import pytest

GOOD = "services:\n  web: {command: x}\n"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("services:\n  a: {comand: x}\n", "2:7: services.a.comand: unknown key; did you mean"),
        ("services:\n  a: {command: x, replicas: no}\n", "2:29: services.a.replicas: a whole"),
        ("services:\n  a:\n    command: [x, '${NO}']\n", "3:19: services.a.command[1]: the varia"),
        ("services:\n  a: {command: x, env: {B: '${NO}'}}\n", "2:29: services.a.env.B: the vari"),
        ("services:\n  a: {command: x, env_file: no.env}\n", "2:29: cannot read sub/no.env: no"),
        ("services:\n  a: {command: x, depends_on: [wed]}\n", "2:32: services.a.depends_on.wed:"),
        ("services:\n  a: {command: x, depends_on: [a]}\n", "2:32: services.a.depends_on: it wai"),
        ("services:\n  a: {command: x, user: nobdy}\n", "2:25: services.a.user: there is no user"),
        ("services:\n  a: {command: x, ready: {tcp: 80}}\n", "2:32: services.a.ready.tcp: '80' is"),
        ("services:\n  a: {command: x, limits: {no: 1}}\n", "2:28: services.a.limits.no: there i"),
        ("services:\n  a: {}\n", "2:3: services.a: nothing says what runs"),
        ("services:\n  'a b': {command: x}\n", "2:3: services.a b: a name consists of"),
        ("defaults: {nice: 30}\n", "1:18: defaults.nice: 30 must be at least"),
        ("services:\n  a: {command: x\n", "3:1: "),
        ("services:\n\ta: {}\n", "2:1: "),
        ("services:\n  a: !x y\n", "2:6: "),
        ("- a\n", "1:1: a config is a mapping of keys, not a list"),
        ("include: [none.yaml]\n", "1:11: cannot read sub/none.yaml: no such file or directory"),
    ],
)
def test_a_fault_in_a_drop_in_has_its_own_place(folder, text, line):
    folder.write(text, "sub/one.yaml")
    faults = folder.told(f"include: [sub/*.yaml]\n{GOOD}")
    assert any(fault.startswith(f"sub/one.yaml:{line}") for fault in faults), faults
    assert all(fault.startswith("sub/one.yaml:") for fault in faults)


def test_a_service_that_two_files_define_is_told_with_both_places(folder):
    folder.write("services:\n  web: {command: x}\n", "services.d/20-web.yaml")
    folder.write("services:\n\n    web: {command: y}\n", "services.d/10-web.yaml")
    (fault,) = folder.told("include: [services.d/*.yaml]\n")
    assert fault == (
        "services.d/20-web.yaml:2:3: services.web: a service of this name stands in another file "
        "already; the first is at services.d/10-web.yaml:3:5"
    )


def test_drop_ins_are_read_in_the_order_of_their_names(folder):
    for name in ("20-b", "10-c", "100-a"):
        text = f"services: {{s{name}: {{command: x}}}}"
        folder.write(text, f"services.d/{name}.yaml")
    folder.write("services: {hidden: {command: x}}", "services.d/.hidden.yaml")
    folder.write("services: {backup: {command: x}}", "services.d/10-c.yaml~")
    plan = folder.plan("include: [services.d/*.yaml]\n")
    assert list(plan.services) == ["s10-c", "s100-a", "s20-b"]


def test_a_fault_of_a_circle_over_files_is_told_once_where_it_begins(folder):
    folder.write("services:\n  a: {command: x, depends_on: [b]}\n", "a.yaml")
    folder.write("services:\n  b: {command: x, depends_on: [a]}\n", "b.yaml")
    (fault,) = folder.told("include: ['?.yaml']\n")
    what = "services wait for each other: a -> b -> a"
    assert fault == f"a.yaml:2:32: services.a.depends_on: {what}"


def test_a_folder_or_a_file_of_others_is_told_where_it_is_named(folder):
    folder.write(GOOD, "services.d/deep.yaml/x.yaml")
    (fault,) = folder.told("include:\n  - services.d/*.yaml\n")
    assert fault == "keepd.yaml:2:5: cannot read services.d/deep.yaml: is a directory"


def test_one_file_named_twice_is_read_once(folder):
    folder.write("services: {a: {command: x}}", "services.d/a.yaml")
    (folder.path / "services.d" / "b.yaml").symlink_to("a.yaml")
    plan = folder.plan("include: [services.d/*.yaml, services.d/a.yaml]\n")
    assert list(plan.services) == ["a"]


def test_s21_whatever_anybody_may_write_is_told_where_it_is_named(folder):
    folder.write("A=1\n", "e/env")
    folder.write("services: {a: {command: x, env_file: ../e/env}}\n", "d/a.yaml")
    (folder.path / "linked").symlink_to("d")
    text = "include: [linked/a.yaml]\n"
    assert folder.plan(text).services
    folder.path.chmod(0o1777)  # as /tmp is: nobody renames what is another's
    assert folder.plan(text).services
    folder.path.chmod(0o700)
    for name, place in (
        ("keepd.yaml", "keepd.yaml"),
        ("d/a.yaml", "keepd.yaml:1:11"),
        ("d", "keepd.yaml:1:11"),
        ("e/env", "linked/a.yaml:1:38"),
        ("e", "linked/a.yaml:1:38"),
    ):
        path = folder.path / name
        before = path.stat().st_mode
        path.chmod(before | 0o002)
        fault, *others = folder.told(text)
        path.chmod(before)
        assert {other.split(": ")[0] for other in others} <= {"linked/a.yaml:1:38"}
        assert fault.startswith(f"{place}: cannot trust "), fault
        assert "anybody may write " in fault
        assert fault.endswith(" first")
    path = folder.path / "d/a.yaml"
    path.chmod(0o664)  # a group of one's own is usual
    assert folder.plan(text).services

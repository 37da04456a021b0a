"""A service is born with a complete environment, and with nothing that it was not given."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.config import envfile
from supervisor.config.environ import DEFAULT_PATH
from supervisor.config.faults import Faults
from supervisor.config.places import Overrides
from tests.config.written import ENVIRON, by

OURS = {
    "NOTIFY_SOCKET": "/run/systemd/notify",
    "LISTEN_FDS": "1",
    "LISTEN_PID": "7",
    "LISTEN_FDNAMES": "x",
    "WATCHDOG_USEC": "1000000",
    "WATCHDOG_PID": "7",
    "KEEPD_RUN": "/run/keepd/x:web/0:1",
    "KEEPD_CONFIG": "/etc/keepd.yaml",
}


def test_a_service_is_given_the_safe_few_and_no_secret(folder):
    web = folder.service("command: x\n", by(SECRET="s", LC_ALL="C", TZ="UTC", LD_PRELOAD="e.so"))
    safe = {name: ENVIRON[name] for name in ("HOME", "USER", "PATH")}
    assert web.env == safe | {"LC_ALL": "C", "TZ": "UTC"}


def test_names_are_inherited_where_they_are_set_and_all_where_all_is_asked(folder):
    around = by(SSH_AUTH_SOCK="/s", OTHER="o")
    some = folder.service("command: x\ninherit_env: [SSH_AUTH_SOCK, MISSING]\n", around)
    assert some.env["SSH_AUTH_SOCK"] == "/s"
    assert not some.env.keys() & {"OTHER", "MISSING"}
    assert folder.service("command: x\ninherit_env: OTHER\n", around).env["OTHER"] == "o"
    assert folder.service("command: x\ninherit_env: all\n", around).env == around.environ


@pytest.mark.parametrize("inherit", ["[]", "all", "[HOME]"])
def test_f82_what_belongs_to_keepd_or_its_manager_never_leaks(folder, inherit):
    web = folder.service(f"command: x\ninherit_env: {inherit}\n", by(**OURS))
    assert not web.env.keys() & OURS.keys()


@pytest.mark.parametrize("name", OURS)
def test_f82_nor_can_it_be_asked_for(folder, name):
    (line,) = folder.told_of(f"command: x\ninherit_env: [{name}]\n", by(**OURS))
    assert line.endswith(f"{name} is keepd's own and is never handed on; leave it out")


def test_the_later_wins_of_inherited_files_and_env(folder):
    folder.write("A=file1\nB=file1\nHOME=/file\n", "one.env")
    folder.write("B=file2\nC=file2\n", "two.env")
    web = folder.service("command: x\nenv_file: [one.env, two.env]\nenv: {C: own}\n")
    assert {name: web.env[name] for name in ("A", "B", "C", "HOME")} == {
        "A": "file1",
        "B": "file2",
        "C": "own",
        "HOME": "/file",
    }


def test_a_service_without_any_path_gets_a_sane_one(folder):
    bare = Overrides(environ={}, uid=0)
    assert folder.service("command: x\n", bare).env == {"PATH": DEFAULT_PATH}


def test_bytes_that_are_no_utf_8_come_through(folder):
    (folder.path / "raw.env").write_bytes(b"RAW=\xff\xfe\n")
    web = folder.service("command: x\nenv_file: raw.env\n", by(HOME="/h\udcff"))
    assert (web.env["RAW"], web.env["HOME"]) == ("\udcff\udcfe", "/h\udcff")


def parsed(text):
    faults = Faults()
    return envfile.parse(text, "e", faults), [str(fault) for fault in faults.all()]


@pytest.mark.parametrize(
    ("line", "value"),
    [
        *(("A=b", "b"), ("export A=b", "b"), ("  A = b c  ", "b c"), ("A=", ""), ("A= # no", "")),
        *(
            ("A=b # note", "b"),
            ("A=b#c", "b#c"),
            ("A='b # c' # d", "b # c"),
            ("A='$x\\n'", "$x\\n"),
        ),
        *(('A="b\\n\\"c\\" \\$d"', 'b\n"c" $d'), ("A=${B} $C", "${B} $C"), ("A=b=c", "b=c")),
        ("\tA=b\r", "b"),
    ],
)
def test_lines_of_an_env_file(line, value):
    assert parsed(f"# first\n\n{line}\n") == ({"A": value}, [])


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("A", "e:2:1: NAME=value is wanted here"),
        ("  just words", "e:2:3: NAME=value is wanted here"),
        ("=b", "e:2:1: NAME=value is wanted here"),
        ("A='b", "e:2:3: A: the quotes are not closed"),
        ('A="b" c', "e:2:3: A: the quotes are not closed"),
        ("KEEPD_SERVICE=b", "e:2:1: KEEPD_SERVICE: KEEPD_SERVICE is set by keepd itself"),
    ],
)
def test_faults_of_an_env_file_have_their_line(line, what):
    assert parsed(f"\n{line}\n") == ({}, [what])


@given(st.text())
def test_no_env_file_raises(text):
    variables, _ = parsed(text)
    assert all(name and "=" not in name and "\0" not in name for name in variables)


@given(st.text(st.characters(exclude_characters="\0\n", exclude_categories=["Cs"])))
def test_what_is_quoted_is_read(text):
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("$", "\\$")
    assert parsed(f'A="{escaped}"') == ({"A": text}, [])


def test_an_env_file_that_is_missing_is_told_where_it_is_named(folder):
    (line,) = folder.told_of("command: x\nenv_file: [none.env]\n")
    assert line.startswith("keepd.yaml:4:16: ")
    assert line.endswith("cannot read none.env: no such file or directory")

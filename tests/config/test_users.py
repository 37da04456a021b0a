"""Whom a service runs as, and within which bounds: looked up and told of before a start."""

import grp
import os
import pwd

import pytest

from supervisor.config.places import Overrides
from supervisor.core.spec import Identity, Limit
from tests.config.written import ENVIRON, by

DAEMON = pwd.getpwnam("daemon")
OF_USER = ("HOME", "USER", "LOGNAME", "SHELL")


def test_a_user_is_looked_up_with_all_groups(folder):
    groups = tuple(sorted(set(os.getgrouplist("daemon", DAEMON.pw_gid))))
    web = folder.service("command: x\nuser: daemon\n")
    assert web.identity == Identity(DAEMON.pw_uid, DAEMON.pw_gid, groups)
    by_number = folder.service(f"command: x\nuser: {DAEMON.pw_uid}\n")
    assert by_number.identity == web.identity


def test_a_group_of_its_own_is_the_first_one(folder):
    sys = grp.getgrnam("sys").gr_gid
    web = folder.service("command: x\nuser: daemon\ngroup: sys\n").identity
    assert (web.uid, web.gid) == (DAEMON.pw_uid, sys)
    assert set(web.groups) == set(os.getgrouplist("daemon", sys))
    alone = folder.service(f"command: x\ngroup: {sys}\n")
    assert (alone.identity.uid, alone.identity.gid) == (0, sys)
    assert alone.env["HOME"] == ENVIRON["HOME"]


def test_a_number_that_nobody_has_needs_a_group_too(folder):
    web = folder.service("command: x\nuser: 54321\ngroup: 54322\n", by(SHELL="/bin/zsh"))
    assert web.identity == Identity(54321, 54322, (54322,))
    assert {name: web.env[name] for name in OF_USER if name in web.env} == {"HOME": "/"}
    (line,) = folder.told_of("command: x\nuser: 54321\n")
    what = "there is no user 54321 here, whose group it would have; give a group as well"
    assert line == f"keepd.yaml:4:11: services.web.user: {what}"


@pytest.mark.parametrize(
    ("keys", "line"),
    [
        ("user: deamon", "4:11: services.web.user: there is no user 'deamon' here"),
        ("group: deamon", "4:12: services.web.group: there is no group 'deamon' here"),
    ],
)
def test_who_is_not_there_is_told_with_a_suggestion(folder, keys, line):
    assert folder.told_of(f"command: x\n{keys}\n") == [f"keepd.yaml:{line}; did you mean 'daemon'?"]


@pytest.mark.parametrize(
    ("keys", "what"),
    [
        ("user: -1", "there is no user '-1' here"),
        ("user: 4294967295", "there is no user '4294967295' here"),
        ('user: ""', "there is no user '' here"),
        ("user: ${USER}", "there is no user '${USER}' here; ${...} is not expanded in this key"),
        ('umask: "888"', "'888' is no umask: up to three octal digits; write it as \"022\""),
        ("umask: 0o22", "'0o22' is no umask: up to three octal digits; did you mean '22'?"),
        ("nice: 20", "20 must be at least -20 and at most 19"),
        ("nice: low", "a whole number is wanted here, not 'low'"),
        ("limits: 5", "a mapping is wanted here, not '5'"),
        ("limits: {no_file: 5}", "there is no such limit; did you mean 'nofile'?"),
        ("limits: {RLIMIT_CORE: 0}", "there is no such limit; did you mean 'core'?"),
        ("limits: {nofile: -1}", "or unlimited is wanted here, not '-1'; did you mean 'unlimited'"),
        ("limits: {nofile: 64KiB}", "a whole number or unlimited is wanted here, not '64KiB'"),
        ("limits: {as: 2000000000}", "not '2000000000'; did you mean '2GB'?"),
        ("limits: {cpu: 30}", "not '30'; did you mean '30s'?"),
        ("limits: {nofile: }", "a whole number or unlimited is wanted here, not nothing"),
        ("limits: {nofile: [1]}", "a whole number or unlimited is wanted here, not a list"),
        ("limits: {nofile: {soft: 5, hard: 4}}", "the soft limit must not be above the hard one"),
        ("limits: {nofile: {soft: unlimited, hard: 4}}", "must not be above the hard one"),
        ("limits: {nofile: {sotf: 5}}", "unknown key; did you mean 'soft'?"),
        ("limits: {nofile: {}}", "nothing is limited; give soft or hard, or both"),
    ],
)
def test_what_cannot_be_set_up_is_told_before_anything_starts(folder, keys, what):
    (line,) = folder.told_of(f"command: x\n{keys}\n")
    assert what in line
    assert line.startswith("keepd.yaml:4:")


def test_limits_in_their_units(folder):
    web = folder.service("""
        command: x
        limits:
          nofile: 65536
          core: 0
          as: 2GiB
          fsize: unlimited
          cpu: 1m30s
          nproc: {soft: 10}
          stack: {hard: 64MiB}
          memlock: {soft: 1KiB, hard: unlimited}
    """)
    assert web.limits == {
        "nofile": Limit(65536, 65536),
        "core": Limit(0, 0),
        "as": Limit(2**31, 2**31),
        "fsize": Limit(-1, -1),
        "cpu": Limit(90, 90),
        "nproc": Limit(10, None),
        "stack": Limit(None, 2**26),
        "memlock": Limit(1024, -1),
    }


def test_limits_of_the_defaults_hold_unless_a_service_has_its_own(folder):
    plan = folder.plan("""
        defaults: {limits: {core: 0, nofile: 100}, user: daemon, nice: 3}
        services:
          web: {command: x, limits: {nofile: 200}, user: null, nice: null}
    """)
    (web,) = plan.services["web"]
    assert web.limits == {"core": Limit(0, 0), "nofile": Limit(200, 200)}
    assert (web.identity, web.nice) == (None, None)


@pytest.mark.parametrize("inherit", ["[]", "all", "[HOME]"])
def test_s11_nothing_is_left_of_the_user_who_started_keepd(folder, inherit):
    web = folder.service(f"command: x\nuser: daemon\ninherit_env: {inherit}\n", by(LOGNAME="ada"))
    shell = DAEMON.pw_shell
    assert {name: web.env[name] for name in OF_USER} == {
        "HOME": DAEMON.pw_dir,
        "USER": "daemon",
        "LOGNAME": "daemon",
        "SHELL": shell,
    }


def test_s11_unless_the_service_says_so(folder):
    folder.write("USER=me\n", "my.env")
    web = folder.service("command: x\nuser: daemon\nenv_file: my.env\nenv: {HOME: /srv}\n")
    assert (web.env["HOME"], web.env["USER"], web.env["LOGNAME"]) == ("/srv", "me", "daemon")


def test_who_is_not_root_starts_nobody_as_somebody_else(folder):
    caller = Overrides(environ=ENVIRON, uid=DAEMON.pw_uid)
    what = "only root can start services as somebody else, and keepd is not run by root"
    for keys, key in (("user: root", "user"), ("user: daemon\ngroup: sys", "group")):
        (line,) = folder.told_of(f"command: x\n{keys}\n", caller)
        assert line.endswith(f"services.web.{key}: {what}; leave it out"), line
    web = folder.service("command: x\nuser: daemon\n", caller)
    assert (web.identity, web.env["HOME"]) == (None, DAEMON.pw_dir)


def test_each_place_of_the_same_fault_is_told(folder):
    lines = folder.told(
        "services:\n  a: {command: x, user: nobdy}\n  b: {command: x, user: nobdy}\n"
    )
    assert [line.partition(" ")[0] for line in lines] == ["keepd.yaml:2:25:", "keepd.yaml:3:25:"]

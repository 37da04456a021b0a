"""Another list for a keepd that runs: what changed is touched, the rest is not, a fault nothing."""

import json
import os
import signal
import threading

import pytest

from tests.daemon.harness import GROUPS, kill, read, tagged, until

SLEEP = '[sleep, "1000"]'
THREE = """\
services:
  db: {command: [sleep, "1000"]}
  web: {command: [sleep, "1000"], replicas: 2, depends_on: [db]}
  jobs: {command: [sleep, "1000"]}
"""


def pids(one):
    return {replica["id"]: replica["pid"] for replica in one.replicas()}


def reloaded(one, *words):
    done = one.run("reload", *words)
    assert done.returncode == 0, done.stderr
    return done.stdout


def edited(one, old, new):
    text = one.config.read_text()
    assert text.count(old) == 1, text
    one.config.write_text(text.replace(old, new))


def test_f79_one_key_of_one_of_two_hundred_services_restarts_that_one_and_a_comment_none(keepd):
    names = [f"s{n}" for n in range(200)]
    services = "".join(f"  {name}: {{command: {SLEEP}, env: {{N: '0'}}}}\n" for name in names)
    one = keepd(f"services:\n{services}").up()
    before = pids(one)
    one.config.write_text(f"{one.config.read_text()}# a comment\n")
    assert json.loads(reloaded(one, "--json"))["counts"]["untouched"] == 200
    assert pids(one) == before
    edited(one, f"s17: {{command: {SLEEP}, env: {{N: '0'}}}}", f"s17: {{command: {SLEEP}}}")
    assert "~ s17/0: restart: env.N\n" in reloaded(one)
    after = pids(one)
    assert {key for key in before if before[key] != after[key]} == {"s17/0"}
    assert "\0N=0\0" not in read(after["s17/0"], "environ")
    one.tells("s17/0 restarts (env.N)")


def test_editing_replicas_touches_only_the_difference_and_leaves_nothing(keepd):
    one = keepd(THREE).up()
    before = pids(one)
    edited(one, "replicas: 2", "replicas: 4")
    told = json.loads(reloaded(one, "--json"))
    assert [(step["id"], step["act"]) for step in told["steps"]] == [
        ("web/2", "start"),
        ("web/3", "start"),
    ]
    assert before.items() <= pids(one).items()
    edited(one, "replicas: 4", "replicas: 2")
    reloaded(one)
    until(lambda: pids(one) == before)
    until(lambda: len(tagged(one.run_dir)) == 4)
    one.tells("web/3 is removed (killed by SIGTERM after")
    groups = (one.group() / "services").glob("web.*") if GROUPS else ()
    assert sorted(group.name for group in groups) in ([], ["web.0", "web.1"])


def test_what_needs_no_restart_is_in_force_at_once(keepd):
    one = keepd(
        "services:\n  web: {command: \"trap '' TERM; while :; do echo x; sleep 0.01; done\","
        " shell: true, stop: {timeout: 100s}}\n"
    ).up()
    pid = one.pid("web/0")
    edited(one, "stop: {timeout: 100s}", "stop: {timeout: 10ms}, log: {format: raw}")
    assert "= web/0: no restart: stop.timeout 100.0 -> 0.01" in reloaded(one)
    assert one.pid("web/0") == pid
    until(lambda: one.log("web/0").endswith("\nx\n"))
    assert one.run("stop", "web").returncode == 0


def test_the_removed_and_the_renamed_stop_in_order_and_are_forgotten(keepd):
    one = keepd(THREE).up()
    jobs = one.pid("jobs/0")
    one.write("services:\n  jobs: {command: [sleep, '1000']}\n  site: {command: [sleep, '1']}\n")
    done = one.run("reload")
    assert done.returncode == 2
    assert "it removes 2 of 3 services; `keepd reload --yes` if that is meant" in done.stderr
    assert done.stderr.splitlines()[1:] == ["  - db", "  - web"]
    kill(one.process.pid, number=signal.SIGHUP)  # a signal has no --yes
    one.tells("it removes 2 of 3 services")
    until(lambda: one.log("keepd").count("it removes 2 of 3") == 2)
    assert len(pids(one)) == 4
    assert "needs" not in reloaded(one, "--yes")
    until(lambda: sorted(pids(one)) == ["jobs/0", "site/0"])
    assert one.pid("jobs/0") == jobs
    log = one.log("keepd")
    for replica in ("web/0", "web/1"):
        assert log.index(f"{replica} is removed") < log.index("db/0 stopping")
    assert one.run("stop", "db").returncode == 4


def test_what_the_operator_stopped_stays_stopped_and_starts_as_what_it_is_by_then(keepd):
    one = keepd(THREE).up()
    assert one.run("stop", "jobs").returncode == 0
    edited(one, 'jobs: {command: [sleep, "1000"]}', 'jobs: {command: [sleep, "1001"]}')
    assert "command sleep 1000 -> sleep 1001; it is stopped" in reloaded(one)
    assert one.replica("jobs/0")["state"] == "STOPPED"
    assert one.run("start", "jobs").returncode == 0
    assert "1001" in read(one.pid("jobs/0"), "cmdline")


def test_a_plan_shows_what_a_reload_would_do_and_does_nothing(keepd):
    one = keepd(THREE)
    assert one.run("plan").returncode == 3
    one.up()
    before, applied = pids(one), (one.run_dir / "applied.json").read_bytes()
    one.write(THREE.replace("replicas: 2", "replicas: 1, env: {SECRET: hunter2}"))
    for words in (("plan",), ("reload", "--dry-run")):
        told = one.run(*words)
        assert told.returncode == 0
        assert told.stdout.splitlines() == [
            "~ web/0: restart: env.SECRET",
            "- web/1: stop: removed",
            "0 to start, 1 to restart, 1 to stop, 0 changed without a restart, 2 untouched",
        ]
    assert "hunter2" not in one.run("plan", "--json").stdout
    assert pids(one) == before
    assert (one.run_dir / "applied.json").read_bytes() == applied
    assert "reload" not in one.log("keepd")


LAUGHS = "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}' if n else 'lol'] * 9)}]\n" for n in range(9)
)
WEB = "services:\n  web: {command: [sleep, '1000']}\n"
BROKEN = {  # line and column count the head that `write` puts before
    "bomb": (f"{LAUGHS}{WEB}", ":10:15: ", "more than 200,000 nodes"),
    "twice": (f"{WEB}  web: {{command: x}}\n", ":7:3: ", "for the second time"),
    "misspelt": ("services: {web: {comand: x}}\n", ":5:18: ", "did you mean 'command'?"),
    "type": ("services: {web: {command: x, replicas: many}}\n", ":5:40: ", "not 'many'"),
    "cycle": ("services: {a: {command: x, depends_on: [a]}}\n", ":5:41: ", "waits for itself"),
    "include": (f"include: [gone.yaml]\n{WEB}", ":5:11: ", "no such file"),
    "half": ("services:\n  web: {command: [sle", ":7:1: ", "did not find"),
}


def test_f75_f76_f77_f78_a_broken_list_is_refused_with_its_place_and_changes_nothing(keepd):
    one = keepd(f"{WEB}  db: {{command: [sleep, '1000']}}\n").up()
    before, applied = pids(one), (one.run_dir / "applied.json").read_bytes()
    for name, (text, place, words) in BROKEN.items():
        one.write(text)
        done = one.run("reload")
        assert done.returncode == 2, name
        assert f"{one.config}{place}" in done.stderr, (name, done.stderr)
        assert words in done.stderr, (name, done.stderr)
        assert pids(one) == before
        one.tells(done.stderr.splitlines()[1])
    assert (one.run_dir / "applied.json").read_bytes() == applied
    assert not (one.run_dir / "applied.json.new").exists()
    one.write(f"{WEB}  other: {{command: [sleep, '1000']}}\n")
    reloaded(one)
    until(lambda: sorted(pids(one)) == ["other/0", "web/0"])
    assert pids(one)["web/0"] == before["web/0"]


def test_f80_a_list_that_is_being_written_is_not_believed(keepd):
    one = keepd(THREE).up()
    before, text = pids(one), one.config.read_text()
    stop = threading.Event()

    def write():  # whole at the end, and never for long
        while not stop.is_set():
            one.config.write_text(text[: text.index("  jobs")])
            one.config.write_text(text)
            stop.wait(0.02)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        done = one.run("reload")
    finally:
        stop.set()
        writer.join()
    assert done.returncode == 2
    assert f"{one.config}: it was changed while it was read" in done.stderr
    assert pids(one) == before
    one.config.write_text(text)
    assert "5 untouched" not in reloaded(one)
    assert pids(one) == before


def test_what_a_daemon_cannot_change_is_told(keepd):
    one = keepd(THREE).up()
    edited(one, "name: test", "name: other")
    done = one.run("reload")
    assert done.returncode == 2
    assert "name is 'test', and would be 'other'; only `keepd down`" in done.stderr
    other = one.folder / "other.yaml"
    other.write_text(one.config.read_text())
    one.config = other
    assert f"cannot use {other}: keepd runs" in one.run("reload").stderr


def test_a_reload_from_elsewhere_restarts_nothing_and_its_variables_count(keepd):
    one = keepd("services:\n  web: {command: [sleep, '${N:-1000}']}\n").up()
    before = pids(one)
    environ = {**os.environ, "TERM": "other", "LANG": "C", "HOME": "/", "TZ": "UTC"}
    said = one.run_with(environ, "reload")
    assert "1 untouched" in said.stdout, said
    assert pids(one) == before
    said = one.run_with({**environ, "N": "1001"}, "reload")
    assert "command sleep 1000 -> sleep 1001" in said.stdout, said


def test_a_hang_up_is_a_reload_by_the_environment_of_the_daemon(keepd):
    one = keepd(THREE).up_detached()
    before = pids(one)
    edited(one, "replicas: 2", "replicas: 1, env: {HERE: '${HOME}'}")
    kill(one.status()["daemon"]["pid"], number=signal.SIGHUP)
    until(lambda: len(pids(one)) == 3)
    after = until(lambda: p if (p := pids(one))["web/0"] not in {None, before["web/0"]} else None)
    assert f"HERE={os.environ['HOME']}\0" in read(after["web/0"], "environ")
    assert after["db/0"] == before["db/0"]


def test_a_successor_of_the_master_has_the_plan_that_was_switched_to(keepd):
    one = keepd(THREE).up()
    edited(one, "replicas: 2", "replicas: 1")
    reloaded(one)
    master = one.status()["daemon"]["master_pid"]
    kill(master)
    until(lambda: one.answers() and one.status()["daemon"]["master_pid"] != master)
    until(lambda: sorted(pids(one)) == ["db/0", "jobs/0", "web/0"])


STOPPED = pytest.param(signal.SIGSTOP, marks=pytest.mark.soak)  # it takes the limit's 12 s


@pytest.mark.parametrize("number", [signal.SIGKILL, STOPPED])
def test_a_reader_that_dies_or_hangs_changes_nothing(keepd, number):
    one = keepd(THREE).up()
    fifo = one.folder / "env"
    os.mkfifo(fifo)
    edited(one, "jobs: {", f"jobs: {{env_file: {fifo}, ")
    before, master = pids(one), one.status()["daemon"]["master_pid"]
    said = []
    asking = threading.Thread(target=lambda: said.append(one.run("reload")))
    asking.start()
    reader = until(lambda: one.titles().get("reader"))
    kill(reader, number=number)
    one.run("status")
    asking.join()
    assert said[0].returncode == 2
    told = "took longer than 10 s" if number == signal.SIGSTOP else "killed by SIGKILL"
    assert told in said[0].stderr
    assert pids(one) == before
    assert one.status()["daemon"]["master_pid"] == master
    os.unlink(fifo)
    fifo.write_text("A=1\n")
    assert "~ jobs/0: restart: env.A" in reloaded(one)
    until(lambda: "reader" not in one.titles())


@pytest.mark.parametrize("locale", [{}, {"LC_CTYPE": "C.UTF-8"}, {"LANG": "C.UTF-8"}])
def test_a_locale_that_was_given_or_not_is_the_same_at_a_reload(keepd, locale):
    env = {key: text for key, text in os.environ.items() if not key.startswith(("LC_", "LANG"))}
    one = keepd(THREE, env=env | locale).up()
    one.config.write_text(f"{one.config.read_text()}# a comment\n")
    assert json.loads(reloaded(one, "--json"))["counts"]["untouched"] == len(pids(one))

"""What is written down for the next master, and what it believes of that."""

import re
import subprocess

import pytest

from supervisor.core.spec import ServiceSpec
from supervisor.core.states import Ended, Service, State
from supervisor.runfiles import RunFile
from tests.daemon.harness import (
    WITHOUT_GROUPS,
    alive,
    children,
    kill,
    program,
    read,
    tagged,
    until,
)
from tests.daemon.killed.losses import (
    gone,
    lose_all,
    lose_and_find,
    lose_master,
    run_up,
    up,
)

SLOT, TRACE_AT = 1024, 928  # of the run file, as supervisor/runfiles.py has it


def stranger():
    """Return a process that has nothing to do with keepd, and when it was started."""
    process = subprocess.Popen(["sleep", "1000"], start_new_session=True)
    return process, int(read(process.pid, "stat").rpartition(")")[2].split()[19])


def rewrite(one, change):
    """Put what `change` makes of the run file into its place."""
    path = one.run_dir / "runs"
    path.write_bytes(change(path.read_bytes()))


def with_trace(text, key, trace):
    """Return the run file with another process of a replica."""
    at = text.index(b'{"id":"%s"' % key.encode()) + TRACE_AT
    assert (at - TRACE_AT) % SLOT == 0
    room = SLOT - TRACE_AT - 1
    return text[:at] + trace.encode().ljust(room) + b"\n" + text[at + room + 1 :]


@pytest.mark.parametrize("boot", ["another boot", "this boot", "this boot, known by its start"])
def test_f33_f70_a_number_of_the_past_is_nobody(detached, boot):
    """The machine crashed and came up again, or the pid was given to somebody else meanwhile."""
    one = detached(f"services: {{web: {{command: {program('alone')}}}}}")
    pid = one.pid("web")
    other, start = stranger()
    try:
        lose_all(one)
        kill(pid)
        gone([pid])
        if boot == "another boot":

            def change(text):
                text = with_trace(text, "web/0", f"1 {other.pid} {start} 0 -")
                return re.sub(rb'"boot":"........', b'"boot":"00000000', text)
        else:
            mark = f"i{other.pid}" if boot == "this boot" else start - 1

            def change(text):
                return with_trace(text, "web/0", f"1 {other.pid} {mark} 0 -")

        rewrite(one, change)
        up(one)
        replica = one.becomes("web", "RUNNING", run=2)
        assert replica["restarts"] == (0 if boot == "another boot" else 1)
        assert replica["pid"] != other.pid
        one.call("stop", {"names": ["web"]})
        one.becomes("web", "STOPPED")
        assert one.run("down").returncode == 0
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


def test_f33_f70_a_number_of_the_past_may_lead_a_session_of_somebody_else(detached):
    one = detached(f"services: {{web: {{command: {program('alone')}}}}}")
    pid = one.pid("web")
    shell = ["sh", "-c", "sleep 1000 & sleep 1001 & wait"]
    with subprocess.Popen(shell, start_new_session=True) as other:
        until(lambda: len(children(other.pid)) == 2)
        theirs = children(other.pid)
        try:
            lose_all(one)
            kill(pid)
            gone([pid])
            trace = f"1 {other.pid} i{other.pid} 0 -"
            rewrite(one, lambda text: with_trace(text, "web/0", trace))
            up(one)
            one.becomes("web", "RUNNING", run=2)
            assert all(map(alive, [other.pid, *theirs]))
        finally:
            kill(other.pid, *theirs)


def test_an_up_that_failed_leaves_the_plan_known_that_services_were_born_by(keepd):
    one = keepd("services: {web: {command: [sleep, '1000']}}")
    up(one)
    pid = one.pid("web")
    lose_all(one)
    one.config.write_text(one.config.read_text().replace(str(one.log_dir), "/proc/nowhere/logs"))
    assert run_up(one).returncode == 1
    one.write("services: {web: {command: [sleep, '1000']}, more: {command: [sleep, '1000']}}")
    up(one)
    one.becomes("more", "RUNNING")
    assert (one.pid("web"), one.replica("web")["run"]) == (pid, 1)


@pytest.mark.parametrize("version", [1, 2])
def test_the_state_of_an_older_keepd_is_read(detached, version):
    """It knew processes by their start times alone, or no words of services."""
    one = detached(f"services: {{web: {{command: {program('alone')}}}}}")
    pid = one.pid("web")
    start = read(pid, "stat").rpartition(")")[2].split()[19]
    lose_all(one)

    def change(text):
        if version == 1:
            text = with_trace(text, "web/0", f"1 {pid} {start} 0 -")
        return text.replace(b'{"version":3', b'{"version":%d' % version, 1)

    rewrite(one, change)
    up(one)
    assert (one.pid("web"), one.replica("web")["run"]) == (pid, 1)
    assert not (one.folder / "two").exists()


DAMAGE = {
    "empty": lambda _: b"",
    "cut in the middle": lambda text: text[: SLOT + 300],
    "one slot is noise": lambda text: text[:SLOT] + b"\xff{[" * 341 + b"\n" + text[SLOT * 2 :],
    "the pid is none": lambda text: with_trace(text, "web/0", "1 999999999999 77 0 -"),
    "the end is none": lambda text: with_trace(text, "web/0", "1 4194300 77 0 =x"),
    "its processes are not noted": lambda text: re.sub(
        rb"\n1 \d+ i?\d+ 0 -", lambda found: b"\n1 0 0 0 -".ljust(len(found[0])), text
    ),
    "a state that there is not": lambda text: text.replace(b'"RUNNING"', b'"DANCING"'),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_f69_s26_however_the_run_file_is_damaged_nobody_is_doubled(keepd, damage):
    """Where it cannot vouch for all, what is known by its marks is ended, and begins anew."""
    one = keepd(
        f"""
        defaults: {{backoff: {{first: 10ms}}, stop: {{timeout: 200ms}}}}
        services:
          web: {{command: {program("alone", "child")}, ready: {{notify: true}}}}
          api: {{command: {program("alone")}, ready: {{notify: true}}}}
        """,
        under=WITHOUT_GROUPS,
    )
    up(one)
    lose_all(one)
    before = (one.run_dir / "runs").read_bytes()
    rewrite(one, DAMAGE[damage])
    assert (one.run_dir / "runs").read_bytes() != before
    up(one)
    until(lambda: len([p for p in tagged(one.run_dir) if "alone" in read(p, "cmdline")]) == 3)
    assert not (one.folder / "two").exists(), (one.folder / "two").read_text()
    assert one.run("down").returncode == 0
    until(lambda: tagged(one.run_dir) == [])


STRANGE = {
    "no object": lambda text: text.replace(b'{"id"', b'["id"'),
    "another name": lambda text: text.replace(b'"web/0"', b'"we//x"'),
    "a name that leads elsewhere": lambda text: text.replace(b'"web/0"', b'"../.."'),
    "a key that we do not write": lambda text: text.replace(b'"run"', b'"ran"'),
    "a run that is no number": lambda text: text.replace(b'"run":3', b'"run":""'),
    "a run below zero": lambda text: text.replace(b'"run":3', b'"run":-3'),
    "a truth that is a number": lambda text: text.replace(b'"wanted":true', b'"wanted":1234'),
    "a time in words": lambda text: text.replace(b'"since":7.5', b'"since":"7"'),
    "an end of too few words": lambda text: text.replace(b'"last":[1,', b'"last":['),
    "words that are none": lambda text: text.replace(b'"said":"well"', b'"said":[1234]'),
    "a plan that is none": lambda text: text.replace(b'"plan":"cafe"', b'"plan":["ca"]'),
}


@pytest.mark.parametrize("strange", STRANGE)
def test_s26_a_note_that_is_not_as_we_write_them_vouches_for_nobody(tmp_path, strange):
    """The file is input. A sound one beside it says only how far its runs were counted."""
    file = RunFile(str(tmp_path))
    file.plan = "cafe"
    file.begun(True)
    for name in ("web", "api"):
        last = Ended(1, "oh", 5.0, 1.0)
        file.note(
            Service(
                f"{name}/0",
                ServiceSpec(name=name, command=("x",)),
                state=State.RUNNING,
                run=3,
                wanted=True,
                since=7.5,
                last=last,
            )
        )
        file.say(f"{name}/0", "well")
    file.close()
    read_again = RunFile(str(tmp_path))
    assert read_again.past.notes.keys() == {"web/0", "api/0"}
    assert not read_again.damaged
    read_again.close()
    path = tmp_path / "runs"
    before = path.read_bytes()
    end = SLOT + TRACE_AT - 1
    note = STRANGE[strange](before[SLOT:end].rstrip())
    changed = before[:SLOT] + note.ljust(TRACE_AT - 1) + before[end:]
    assert changed != before
    path.write_bytes(changed)
    strange_one = RunFile(str(tmp_path))
    assert strange_one.damaged
    assert (strange_one.past.notes, strange_one.past.runs) == ({}, {"api/0": 3})
    strange_one.close()


@pytest.mark.parametrize("detached", [True, False])
def test_an_end_in_order_leaves_nothing_that_a_successor_would_go_on_with(keepd, detached):
    one = keepd("services: {web: {command: [sleep, '1000']}}")
    if detached:
        up(one)
        assert one.run("down").returncode == 0
    else:
        one.up()
        assert one.stop() == 0
    assert not (one.run_dir / "runs").exists()
    assert one.run("down").returncode == 3


def test_what_a_run_has_said_is_not_taken_for_words_of_the_next(tmp_path):
    file = RunFile(str(tmp_path))
    file.begun(True)
    web = Service("web/0", ServiceSpec(name="web", command=("x",)), run=3)
    for run, words in ((3, "3 jobs left"), (4, "")):
        web.run = run
        file.note(web)
        if words:
            file.say("web/0", words)
        file.note(web)
        again = RunFile(str(tmp_path))
        assert again.past.notes["web/0"]["said"] == words
        again.close()


def test_s26_words_that_grow_when_they_are_written_down_hurt_no_neighbour(keepd):
    """Of what cannot be started the name is told: here one that takes twelve bytes a letter."""
    face = "\U0001f600" * 60
    one = keepd(f"""
        defaults: {{backoff: {{first: 1h, limit: 1h}}}}
        services:
          first: {{command: [sleep, "1000"]}}
          odd: {{command: ["{face}"], replicas: 3}}
          last: {{command: [sleep, "1000"], replicas: 3}}
    """).up("first", "last")
    one.call("start")
    for number in range(3):
        one.becomes(f"odd/{number}", "BACKOFF")
    before = {replica["id"]: (replica["pid"], replica["run"]) for replica in one.replicas()}
    lose_master(one)
    after = {replica["id"]: (replica["pid"], replica["run"]) for replica in one.replicas()}
    assert after == before
    assert len(tagged(one.run_dir)) == 4


def test_s13_s17_what_is_written_down_is_for_us_alone_and_has_no_secret(detached):
    one = detached("services: {web: {command: [sleep, '1000'], env: {KEY: hunter2}}}")
    for name in ("runs", "applied.json"):
        assert (one.run_dir / name).stat().st_mode & 0o777 == 0o600
    assert b"hunter2" not in (one.run_dir / "runs").read_bytes()
    lose_and_find(one)
    assert "KEY=hunter2" in read(one.pid("web"), "environ")
    assert (one.run_dir / "runs").stat().st_mode & 0o777 == 0o600

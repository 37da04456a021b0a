"""What a service is given is what its list says: seen from inside, and told where it cannot be."""

import json
import os
import pwd
import sys
import tempfile
from pathlib import Path

import pytest

from supervisor.control.client import Refused
from tests.daemon.harness import PROGRAMS, Keepd, until
from tests.daemon.test_security import as_root

ENVIRON = [
    "with open('/proc/self/environ', 'rb') as file:",
    "    print(*sorted(file.read().decode().split('\\0'))[1:], sep='\\n')",
    "print('end', flush=True)",
]


def environment(one, key):
    """Return the environment that a service has printed."""
    until(lambda: "end" in one.lines(key))
    lines = one.lines(key)
    return dict(line.split("=", 1) for line in lines[: lines.index("end")])


@pytest.mark.parametrize("more", ["", 'umask: "022", ', "python"])
def test_s12_f82_the_environment_is_exactly_what_was_asked(keepd, tmp_path, more):
    script = tmp_path / "tell.py"
    script.write_text("\n".join(ENVIRON), encoding="ascii")
    what = f"{more}command: {json.dumps([sys.executable, '-IS', str(script)])}"
    if more == "python":
        what = "python: functions:tell_environment"
    around = {"PATH": os.environ["PATH"], "HOME": "/here", "LC_TIME": "C", "SECRET": "s"}
    around |= {"WATCHDOG_USEC": "1", "LISTEN_FDS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    one = keepd(
        f"""
        services:
          web: {{{what}, replicas: 2, restart: never,
                env: {{PORT: "80${{replica}}", EMPTY: "", PYTHONPATH: {PROGRAMS}}}}}
        """,
        env=around,
    ).up()
    for number in (0, 1):
        assert environment(one, f"web/{number}") == {
            "PATH": around["PATH"],
            "HOME": "/here",
            "LC_TIME": "C",
            "PORT": f"80{number}",
            "EMPTY": "",
            "PYTHONPATH": str(PROGRAMS),
            "KEEPD_RUN": f"{one.run_dir}:web/{number}:1",
            "KEEPD_SERVICE": "web",
            "KEEPD_REPLICA": str(number),
        }


@as_root
def test_s08_s11_a_user_by_name_all_the_way_into_the_process(keepd):
    script = "id -u; id -g; id -G; umask; nice; ulimit -n; echo $HOME $USER; echo me > /dev/stdout"
    one = keepd(
        f"""
        services:
          web: {{command: '{script}; sleep 1000', shell: true, user: daemon, cwd: /,
                umask: "027", nice: 4, limits: {{nofile: 333}}, ready: {{log: "^me$"}}}}
        """
    ).up()
    who = pwd.getpwnam("daemon")
    groups = os.getgrouplist("daemon", who.pw_gid)
    uid, gid, ids, *rest = one.lines("web/0")
    assert (int(uid), int(gid)) == (who.pw_uid, who.pw_gid)
    assert sorted(map(int, ids.split())) == sorted(set(groups))
    assert rest == ["0027", "4", "333", f"{who.pw_dir} daemon", "me"]
    pid = one.pid("web")
    assert one.call("signal", {"signal": "TERM", "names": ["web"]})["replicas"] == ["web/0"]
    until(lambda: one.replica("web")["run"] == 2 and one.replica("web")["ready"])
    assert one.pid("web") != pid
    assert one.stop() == 0


@as_root
def test_a_user_tells_its_readiness_though_it_may_not_enter_our_folder():
    with tempfile.TemporaryDirectory(prefix="kt", dir="/tmp") as folder:
        os.chmod(folder, 0o755)  # not pytest's: the next one that is started closes all of them
        one = Keepd(
            folder,
            """
            services:
              web: {command: 'systemd-notify --ready --status=hello; sleep 1000', shell: true,
                    user: daemon, cwd: /, ready: notify}
            """,
        )
        try:
            one.up()
            assert one.replica("web")["text"] == "hello"
            assert one.stop() == 0
            assert not Path(f"{one.run_dir}+notify").exists()
        finally:
            one.end()


@as_root
def test_s09_a_setup_that_fails_is_told_in_words_and_tried_again(keepd):
    one = keepd(
        """
        services:
          web: {command: sleep 1000, user: daemon, cwd: /root}
          many: {command: sleep 1000, limits: {nofile: 100000000000}}
        """
    ).up(ready=False)
    one.tells("cannot start web/0: cwd: permission denied: '/root'; next start in")
    one.tells("cannot start many/0: limits: nofile: not allowed to raise maximum limit; next")
    one.becomes("web", "BACKOFF")
    assert one.stop() == 0


def test_a_start_limit_ends_keepd_and_it_says_so_by_its_exit_code(keepd):
    one = keepd(
        """
        services:
          good: {command: sleep 1000}
          bad: {command: "exit 7", shell: true, backoff: {first: 0s},
                start_limit: {starts: 2, then: exit}}
        """
    ).up("good")
    one.call("start", {"names": ["bad"]})
    assert one.process.wait(20) == 1
    line = "not started again: 2 times within 1 min is its limit, and the end of keepd"
    assert line in one.log("keepd")
    assert one.lines("keepd")[-1] == "keepd leaves with exit code 1"
    assert "good/0 stopped" in one.log("keepd")


def test_an_operator_ends_keepd_with_0_whatever_has_failed(keepd):
    one = keepd(
        """
        services:
          bad: {command: "exit 7", shell: true, start_limit: {starts: 1}}
          job: {command: "exit 7", shell: true, restart: never}
        """
    ).up(ready=False)
    one.becomes("bad", "FATAL")
    one.becomes("job", "FATAL")
    assert one.stop() == 0
    assert "job/0 exited with 7" in one.log("keepd")


def test_a_detached_up_fails_with_what_has_failed_for_good_and_who_waits_for_it(keepd):
    one = keepd(
        """
        services:
          job: {command: "exit 7", shell: true, restart: never}
          web: {command: sleep 1000, depends_on: {job: completed}}
          face: {command: sleep 1000, depends_on: [web]}
        """
    )
    done = one.run("up", "-d")
    try:
        assert done.returncode == 1
        assert "web/0 STOPPED: waits for job: completed (job/0 is FATAL)\n" in done.stderr
        with pytest.raises(Refused) as refused:
            one.call("wait", {"names": ["face"], "timeout": 20})
        assert refused.value.kind == "failed"
        assert one.replica("face")["text"] == "waits for web: ready"
    finally:
        assert one.run("down").returncode == 0


def test_dependents_look_again_before_each_start_and_say_what_they_wait_for(keepd, tmp_path):
    flag = tmp_path / "flag"
    one = keepd(
        f"""
        defaults: {{backoff: {{first: 10ms, limit: 10ms}}}}
        services:
          db: {{command: 'test -e {flag} && echo up; sleep 1000', shell: true,
               ready: {{log: "^up$", timeout: 1h}}}}
          web: {{command: sleep 1000, depends_on: [db]}}
        """
    ).up(ready=False)
    one.becomes("web", "STOPPED", text="waits for db: ready", waiting_for=["db"])
    flag.touch()
    one.kill("db")
    web = one.becomes("web", "RUNNING", run=1)["pid"]
    flag.unlink()  # it fails: those that run are left alone
    one.kill("db")
    one.becomes("db", "STARTING", run=3)
    assert one.pid("web") == web
    one.kill("web")
    one.becomes("web", "BACKOFF", text="waits for db: ready", run=1)
    one.call("stop", {"names": ["db"]})
    one.becomes("web", "BACKOFF", text="waits for db: ready (db/0 is STOPPED)", run=1)
    flag.touch()
    one.call("start", {"names": ["db"]})
    one.becomes("web", "RUNNING", run=2)


def test_a_job_is_done_once_and_its_dependents_follow(keepd):
    one = keepd(
        """
        services:
          job: {command: 'echo part $KEEPD_REPLICA', shell: true, restart: never, replicas: 2}
          web: {command: sleep 1000, depends_on: {job: completed}}
        """
    ).up()
    for number in (0, 1):
        until(lambda: one.lines(f"job/{number}") == [f"part {number}"])  # noqa: B023
    assert [one.replica(f"job/{number}")["state"] for number in (0, 1)] == ["EXITED"] * 2
    one.kill("web")
    one.becomes("web", "RUNNING", run=2)
    assert one.replica("job/0")["run"] == 1

"""supervisor.worker: what a Python service says of itself, and its records in its log."""

import json
import signal

from tests.daemon.harness import PROGRAMS, Keepd, kill, until
from tests.daemon.test_security import as_root, reachable


def config(form):
    path = f"{PROGRAMS}:{Keepd.root}"
    return f"""
        services:
          shop: {{python: functions:report, env: {{PYTHONPATH: "{path}"}}, ready: {{notify: true}},
                 watchdog: 30s, log: {{format: {form}, records: true}}, restart: never}}
          quiet: {{command: sleep infinity}}
        """


def records(one):
    lines = one.run("logs", "--json", "-n", "all", "shop").stdout.splitlines()
    return [json.loads(line) for line in lines]


def count(one, text):
    return [line["text"] for line in records(one)].count(text)


def test_a_service_tells_how_it_is_and_logs_with_level_exception_and_fields(keepd):
    one = keepd(config("json")).up()
    assert one.replica("shop")["text"] == "at work"
    until(lambda: len(records(one)) == 3)
    told = {line["text"]: line for line in records(one)}
    assert told["printed"].keys() == {"id", "time", "text"}
    assert (told["job 7"]["level"], told["job 7"]["logger"]) == ("ERROR", "shop.jobs")
    assert told["job 7"]["fields"] == {"tries": 3}
    assert told["failed"]["exception"] == "because of\nKeyError('nothing')"
    for number in (1, 2, 3):  # the log writer comes and goes
        kill(until(lambda: one.status()["daemon"]["log_writer_pid"]))
        one.kill("shop", signal.SIGUSR1)
        until(lambda number=number: count(one, "told again") == number)
    assert len(records(one)) == 6
    assert len(list(one.run_dir.rglob("*.records"))) == 1, "only who asks for it has one"
    assert one.stop() == 0
    assert not list(one.run_dir.rglob("*.records"))


def test_in_a_log_of_text_a_record_is_in_words_and_the_terminal_shows_it_so(keepd):
    one = keepd(config("text")).up()
    until(lambda: "KeyError('nothing')" in one.lines("shop/0"))
    lines = one.lines("shop/0")
    assert "ERROR shop.jobs: job 7 tries=3" in lines
    at = lines.index("ERROR shop.jobs: failed")
    assert lines[at + 1 : at + 3] == ["because of", "KeyError('nothing')"]
    until(lambda: "ERROR shop.jobs: job 7 tries=3" in one.said())


@as_root
def test_a_service_of_another_user_reaches_its_own_fifo_for_records(keepd, tmp_path):
    reachable(tmp_path)
    script = """echo '{"message":"of nobody"}' > $KEEPD_RECORDS; exec sleep infinity"""
    one = keepd(
        f"""
        services:
          shop: {{command: {json.dumps(script)}, shell: true, user: nobody, cwd: /,
                 log: {{format: raw, records: true}}}}
        """
    ).up()
    until(lambda: one.log("shop/0") == "of nobody\n")
    (fifo,) = tmp_path.glob("run+notify/*.records")
    assert (fifo.owner(), fifo.stat().st_mode & 0o777) == ("nobody", 0o600)
    assert one.stop() == 0
    assert not fifo.parent.exists()

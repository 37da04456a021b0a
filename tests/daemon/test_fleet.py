"""Many at once, and the worst of services together: each as promised, and the reasons in words."""

from tests.daemon.harness import alive, children, kill, program, tagged, until

MANY = 1000


def test_a_thousand_are_all_up_all_restarted_and_all_gone(keepd):
    one = keepd(
        f"""
        defaults: {{backoff: {{first: 10ms}}}}
        services:
          sleeper: {{command: [sleep, "1000"], replicas: {MANY}}}
        """
    ).up()
    first = {replica["pid"] for replica in one.replicas()}
    assert len(first) == MANY
    for pid in first:
        kill(pid)

    def back():
        found = one.replicas()
        return found if all(r["ready"] and r["pid"] not in first for r in found) else None

    found = until(back, limit=40, every=0.5)
    assert {replica["run"] for replica in found} == {2}
    assert {replica["last_exit"]["signal"] for replica in found} == {"SIGKILL"}
    second = {replica["pid"] for replica in found}
    assert len(second) == MANY
    until(lambda: {*tagged(one.run_dir)} == second)
    daemon = one.status()["daemon"]
    for pid in (daemon["pid"], daemon["master_pid"]):
        assert all(map(alive, children(pid)))
    assert one.stop(limit=40) == 0
    assert tagged(one.run_dir) == []
    assert not any(map(alive, second))


def test_the_worst_together_are_each_treated_as_promised_and_the_reasons_told(either):
    one = either(
        f"""
        defaults: {{stop: {{timeout: 500ms}}}}
        services:
          good: {{command: [sleep, "1000"]}}
          deaf: {{command: {program("alone", "deaf")}, ready: {{notify: true}}}}
          clan: {{command: {program("clan", "away", "daemon")}, ready: {{notify: true}}}}
          missing: {{command: [gunicron], backoff: {{first: 1m}}}}
          brief: {{command: "exec sleep 0.01", shell: true,
                   backoff: {{first: 20ms, factor: 4, limit: 1m}}}}
        """
    ).up("good", "deaf", "clan")
    one.call("start")
    missing = one.becomes("missing", "BACKOFF", run=1)
    assert missing["last_exit"]["text"] == "no such file: 'gunicron'"
    assert missing["text"].startswith("no such file: 'gunicron', ")
    one.tells("cannot start missing/0: no such file: 'gunicron'; next start in ")
    brief = one.becomes("brief", "BACKOFF", run=5)
    assert brief["last_exit"]["text"].startswith("exited with 0 after 0.")
    assert "; next start in " in brief["text"]
    one.tells("brief/0 exited with 0 after 0.")
    clan = [pid for pid in tagged(one.run_dir) if pid != one.pid("good")]
    one.kill("clan")
    one.becomes("clan", "RUNNING", run=2)
    one.tells("clan/0 killed by SIGKILL and left processes behind")
    assert sum(map(alive, clan)) == 1  # the deaf one, which is not meant
    one.call("stop", {"names": ["deaf"]})
    deaf = one.becomes("deaf", "STOPPED")
    assert deaf["last_exit"]["text"].startswith("did not end in time (killed by SIGKILL after ")
    one.tells("deaf/0 stopped (did not end in time (killed by SIGKILL after ")
    good = one.replica("good")
    assert (good["state"], good["run"], good["restarts"]) == ("RUNNING", 1, 0)
    assert one.stop() == 0
    assert tagged(one.run_dir) == []

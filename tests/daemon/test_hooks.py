"""Commands that are told of events: what they are told, and that they hold up nobody."""

import json
import time

from tests.daemon.harness import kill, read, tagged, until


def told(one, name):
    path = one.folder / name
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def test_a_hook_gets_the_event_as_one_json_object(keepd):
    one = keepd("""
        defaults: {on: {cooldown: 0s}}
        services:
          web:
            command: sleep 1000
            env: {OUT: "told"}
            on:
              ready: sh -c 'cat >> ready'
              exit: sh -c 'cat >> "$$OUT"'
          job:
            command: sh -c 'exit 3'
            restart: never
            on: {failed: [sh, -c, 'cat >> failed']}
    """).up("web")
    (ready,) = until(lambda: told(one, "ready"))
    assert (ready["event"], ready["service"], ready["id"]) == ("ready", "web", "web/0")
    assert (ready["count"], ready["state"], ready["pid"]) == (1, "RUNNING", one.pid("web/0"))
    one.kill("web/0")
    (ended,) = until(lambda: told(one, "told"))
    assert ended["last_exit"]["signal"] == "SIGKILL"
    one.call("start", {"names": ["job"]})
    (failed,) = until(lambda: told(one, "failed"))
    assert (failed["event"], failed["last_exit"]["code"]) == ("failed", 3)


def test_events_that_come_too_soon_are_counted_into_the_next(keepd):
    one = keepd("""
        services:
          web:
            command: sh -c 'exit 1'
            backoff: {first: 50ms, factor: 1}
            on: {backoff: [sh, -c, 'cat >> backoff'], cooldown: 700ms}
    """).up(ready=False)
    first, second, *_ = until(lambda: len(told(one, "backoff")) > 1 and told(one, "backoff"))
    assert first["count"] == 1
    assert second["count"] > 2


def test_a_hook_that_hangs_holds_up_neither_a_restart_nor_other_hooks_nor_the_end(keepd):
    one = keepd("""
        services:
          hangs:
            command: sh -c 'exit 1'
            backoff: {first: 50ms, factor: 1}
            on: {exit: [sh, -c, 'sleep 1001 & sleep 1002'], timeout: 300ms, cooldown: 0s}
          web: {command: sleep 1000, on: {exit: [sh, -c, 'cat >> exit']}}
          holds: {command: sleep 1000, on: {ready: sleep 1003, timeout: 1h}}
    """).up()
    one.tells("hangs: the hook on exit failed: killed after 0.3 s")
    one.becomes("hangs/0", "BACKOFF")
    assert one.replica("hangs/0")["restarts"] > 2
    one.kill("web/0")
    until(lambda: told(one, "exit"))
    began = time.monotonic()
    assert one.stop() == 0
    assert time.monotonic() - began < 5
    assert "holds: the hook on ready failed: keepd has ended before it" in one.log("keepd")
    until(lambda: not tagged(one.run_dir))


def test_a_hook_that_fails_or_cannot_be_run_or_is_lost_is_told(keepd):
    one = keepd("""
        services:
          fails: {command: sleep 1000, on: {ready: [sh, -c, 'echo so it is; exit 4']}}
          lacks: {command: sleep 1000, on: {ready: ./nope}}
          holds: {command: sleep 1000, on: {ready: sleep 1001, timeout: 1h}}
    """).up()
    one.tells("fails: the hook on ready failed: so it is (exited with 4)")
    one.tells("lacks: the hook on ready failed: no such file: './nope'")
    until(lambda: [pid for pid in tagged(one.run_dir) if "1001" in read(pid, "cmdline")])
    kill(until(lambda: one.titles().get("prober")))
    one.tells("holds: the hook on ready failed: the prober that ran it was killed")


def test_a_hook_is_told_that_a_service_is_not_healthy(keepd):
    one = keepd("""
        services:
          web:
            command: sleep 1000
            health: {exec: [sh, -c, 'echo gone; false'], every: 100ms, failures: 2}
            on: {unhealthy: [sh, -c, 'cat >> unhealthy']}
    """).up()
    event = until(lambda: told(one, "unhealthy"))[0]
    assert event["event"] == "unhealthy"

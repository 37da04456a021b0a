"""Whose list is believed, and who sees what stands in it."""

import os
import stat

from tests.daemon.harness import read

WEB = "services: {web: {command: [sleep, '1000']}}"
SECRETS = ("hunter2", "swordfish", "tr0ub4dor", "b4tt3ry")


def test_s13_no_value_of_the_environment_is_shown_to_anybody(keepd):
    one = keepd(
        """
        services:
          web:
            command: [sleep, "1000"]
            env: {TOKEN: hunter2, TAKEN: "${GIVEN}"}
            env_file: web.env
            inherit_env: [INHERITED]
          bad: {command: [./missing], env: {TOKEN: hunter2}}
          job: {command: [sh, -c, 'exit 7'], env: {TOKEN: hunter2}, restart: never}
        """,
        env={**os.environ, "GIVEN": "swordfish", "INHERITED": "b4tt3ry"},
    )
    (one.folder / "web.env").write_text("FILED=tr0ub4dor\n")
    one.up(ready=False)
    pid = one.becomes("web", "RUNNING")["pid"]
    assert all(secret in read(pid, "environ") for secret in SECRETS)
    one.becomes("job", "FATAL")
    one.becomes("bad", "BACKOFF")
    one.config.write_text(one.config.read_text().replace("TOKEN: hunter2", "TOKEN: '-hunter2-'"))
    given = {**os.environ, "GIVEN": "swordfish", "INHERITED": "b4tt3ry"}
    for word in ("check", "status", "plan", "reload", "logs"):
        for form in ((), ("--json",)):
            done = one.run_with(given, word, *form)
            assert done.returncode in {0, 1}, done  # not all is well, as it should be
            assert not any(secret in done.stdout + done.stderr for secret in SECRETS), done
    one.tells("web/0 restarts (env.TOKEN)")
    pids = [*one.helpers(), *filter(None, (replica["pid"] for replica in one.replicas()))]
    shown = [one.said(), *(read(pid, "cmdline") for pid in pids)]
    shown += [path.read_text() for path in one.log_dir.rglob("*") if path.is_file()]
    assert not any(secret in text for secret in SECRETS for text in shown)
    kept = [path for path in one.run_dir.rglob("*") if path.is_file() and holds_secrets(path)]
    assert "applied.json" in {path.name for path in kept}
    assert {stat.S_IMODE(path.stat().st_mode) for path in kept} == {0o600}


def holds_secrets(path):
    text = path.read_bytes()
    return any(secret.encode() in text for secret in SECRETS)


def test_s21_a_list_that_anybody_may_write_is_not_believed(keepd):
    one = keepd(WEB)
    one.config.chmod(0o666)
    done = one.run("up")
    assert done.returncode == 2
    why = f"anybody may write {one.config}; `chmod o-w {one.config}` first"
    assert why in done.stderr
    assert not one.run_dir.exists()
    one.config.chmod(0o644)
    pid = one.up().pid("web/0")
    one.folder.chmod(0o777)
    done = one.run("reload")
    assert done.returncode == 2
    assert f"anybody may write {one.folder}; `chmod o-w {one.folder}` first" in done.stderr
    assert one.pid("web/0") == pid
    assert one.run("down").returncode == 0  # who may not start anything may still stop it

"""Names, values and tags in a config are words, and never a path, a shell's or Python's."""

import os

from tests.daemon.harness import LIMIT, PROGRAMS, until

BAD_NAMES = (
    *("../../up", "..", ".", ".hidden", "a/b", "/etc/cron.d/x", "a b", "-rf", "a\\nb", "é"),
    *("a" * 65, "a:b", "$HOME", "keepd", "keepd.log", "a\\0b"),
)


def test_s19_a_name_is_never_a_path(keepd):
    services = "".join(f'  "{name}": {{command: [sleep, "1000"]}}\n' for name in BAD_NAMES)
    one = keepd(f"services:\n{services}")
    done = one.run("up")
    assert done.returncode == 2
    faults = done.stderr.splitlines()[1:]
    for line, name in enumerate(BAD_NAMES, 6):
        assert any(fault.startswith(f"{one.config}:{line}:3: services.") for fault in faults), name
    assert sorted(one.folder.iterdir()) == [one.config]


def test_s19_every_name_that_is_allowed_is_one_file(keepd):
    names = ("a", "9", "a..b", "A.b@c-d_e", "a" * 64, "log", "keepd-x", "fifo.log")
    services = "".join(f"  {name}: {{command: [echo, hello]}}\n" for name in names)
    one = keepd(f"defaults: {{restart: never}}\nservices:\n{services}").up()
    one.call("wait", {"for": "completed", "timeout": LIMIT})
    for name in names:
        until(lambda name=name: one.lines(f"{name}/0") == ["hello"])
    until(lambda: {path.name for path in one.log_dir.iterdir()} == {*names, "keepd.log"})
    for words in (("status", "../log/a"), ("logs", "../log/a"), ("logs", "a/..", "a")):
        assert one.run(*words).returncode == 4, words


def test_s20_no_shell_sees_a_command_unless_it_is_asked_for(keepd):
    evil = "x; touch pwned $(touch pwned) `touch pwned` > pwned && touch pwned | tee pwned"
    one = keepd(
        f"""
        defaults: {{restart: never}}
        services:
          text: {{command: 'echo {evil}'}}
          argv: {{command: [echo, "{evil}"]}}
          value: {{command: [echo, "${{EVIL}}"]}}
          split: {{command: 'echo ${{EVIL}}'}}
          env: {{command: [printenv, GIVEN], env: {{GIVEN: "${{EVIL}}"}}}}
          function: {{python: "functions:say", args: ["${{EVIL}}"], cwd: {PROGRAMS}}}
          shell: {{command: 'for word in a b; do echo $word; done > asked; echo "$GIVEN"',
                  shell: true, env: {{GIVEN: "${{EVIL}}"}}}}
        """,
        env={**os.environ, "EVIL": evil},
    ).up()
    one.call("wait", {"for": "completed", "timeout": LIMIT})
    for name in ("text", "argv", "value", "split", "env", "function", "shell"):
        until(lambda name=name: one.lines(f"{name}/0"))
        assert one.lines(f"{name}/0") == [evil], name
    assert (one.folder / "asked").read_text() == "a\nb\n"
    assert not list(one.folder.rglob("pwned"))


TAGS = (
    '!!python/object/apply:os.system ["touch pwned"]',
    '!!python/object/new:os.system ["touch pwned"]',
    "!!python/name:os.system",
    "!!python/module:os",
    "!!binary dG91Y2g=",
    "!include /etc/passwd",
    "!<tag:yaml.org,2002:python/object/apply:os.system> [touch pwned]",
)


def test_s23_a_tag_makes_nothing_and_is_refused_with_its_place(keepd):
    services = [f"  web{n}: {{command: x, cwd:\n    {tag}\n  }}\n" for n, tag in enumerate(TAGS)]
    one = keepd(f"services:\n{''.join(services)}")
    for word in ("check", "up"):
        done = one.run(word)
        assert done.returncode == 2
        faults = done.stderr.splitlines()[1:]
        for number, tag in enumerate(TAGS):
            refused = f"{one.config}:{7 + 3 * number}:5: tags are not allowed: "
            assert any(fault.startswith(refused) for fault in faults), tag
        assert sorted(one.folder.iterdir()) == [one.config]
    assert not (one.root / "pwned").exists()

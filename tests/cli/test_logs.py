"""The log files as `keepd logs` shows them, with a daemon and without."""

import json
import os
import select
import subprocess
import sys

import pytest

from tests.cli.daemon import LIMIT, ROOT, canned, environment, keepd, served


@pytest.fixture
def project(tmp_path, run_dir):
    """A config, and what two services and keepd have written."""
    path = tmp_path / "keepd.yaml"
    path.write_text(
        f"version: 1\nname: test\nruntime_dir: {run_dir}\nlog_dir: log\n"
        "services:\n  web: {command: [x], replicas: 2}\n  db: {command: [x]}\n"
    )
    (tmp_path / "log" / "web").mkdir(parents=True)
    (tmp_path / "log" / "db").mkdir()
    write(tmp_path, "web/0", 1, "one", 3, "three", 5, "five")
    write(tmp_path, "web/1", 2, "two")
    write(tmp_path, "db/0", 4, "four \x1b[2J")
    write(tmp_path, "keepd", 0, "web/0 started")
    return path


def stamp(second):
    return f"2030-01-01T00:00:{second:02}.000000Z "


def write(folder, key, *lines):
    dated = zip(lines[::2], lines[1::2], strict=True)
    with open(folder / "log" / f"{key}.log", "a", encoding="utf-8") as file:
        file.writelines(f"{stamp(second)}{text}\n" for second, text in dated)


def words(done):
    """Return the last word of each line printed."""
    assert (done.returncode, done.stderr) == (0, "")
    return [line.split()[-1] for line in done.stdout.splitlines()]


def test_without_a_daemon_the_plan_tells_where_and_lines_are_merged_by_time(project):
    done = keepd("-c", project, "logs", "web", "db/0")
    assert words(done) == ["one", "two", "three", "\x1b[2J", "five"]
    assert done.stdout.startswith("web/0")
    assert words(keepd("-c", project, "logs"))[0] == "started"


def test_one_stream_is_shown_as_its_file_is(project):
    file = project.parent / "log" / "web" / "0.log"
    assert keepd("-c", project, "logs", "web/0").stdout == file.read_text()
    assert words(keepd("-c", project, "logs", "keepd")) == ["started"]


@pytest.mark.parametrize(
    ("typed", "shown"),
    [
        (("-n", "1"), ["two", "five"]),
        (("-n", "0"), []),
        (("-n", "all"), ["one", "two", "three", "five"]),
        (("--grep", "t[wh]"), ["two", "three"]),
        (("--grep", "e$", "-n", "1"), ["five"]),
    ],
)
def test_lines_are_chosen(project, typed, shown):
    assert words(keepd("-c", project, "logs", "web", *typed)) == shown


def test_as_json_each_line_is_an_object(project):
    done = keepd("-c", project, "logs", "web", "--json", "--grep", "t")
    assert [json.loads(line) for line in done.stdout.splitlines()] == [
        {"id": "web/1", "line": stamp(2) + "two"},
        {"id": "web/0", "line": stamp(3) + "three"},
    ]


def test_a_running_daemon_tells_where(project, run_dir, socket, tmp_path):
    other = tmp_path / "other.log"
    other.write_text("elsewhere\n")
    answer = {"log_dir": str(tmp_path), "streams": [{"id": "web/0", "path": str(other)}]}
    with served(socket, canned({"logs": answer}, tmp_path / "noted")):
        done = keepd("-c", project, "logs", "we*")
    assert words(done) == ["elsewhere"]
    assert json.loads((tmp_path / "noted").read_text()) == ["logs", {"names": ["we*"]}]


@pytest.mark.parametrize(
    ("typed", "code", "said"),
    [
        (("wbe",), 4, "cannot do that: no service in "),
        (("--grep", "["), 2, "cannot understand: argument --grep: no regular expression: "),
        (("-n", "few"), 2, "cannot understand: argument -n/--lines: 'few' is neither a number"),
    ],
)
def test_mistakes_are_told(project, typed, code, said):
    done = keepd("-c", project, "logs", *typed)
    assert (done.returncode, done.stdout) == (code, "")
    assert done.stderr.startswith(said)


@pytest.mark.parametrize("form", [(), ("--json",)])
def test_following_shows_what_comes_until_nobody_reads(project, form):
    process = subprocess.Popen(
        [sys.executable, "-m", "supervisor", "-c", project, "logs", "-f", "web", *form],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(PYTHONPATH=str(ROOT)),
    )
    try:
        assert "five" in read_until(process.stdout, "five")
        write(project.parent, "web/1", 6, "six")
        assert "web/1" in read_until(process.stdout, "six")
        process.stdout.close()
        assert process.wait(LIMIT) == 0
        assert process.stderr.read() == b""
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


def read_until(file, text):
    data = b""
    while text.encode() not in data:
        assert select.select([file], [], [], LIMIT)[0]
        chunk = os.read(file.fileno(), 65536)
        assert chunk, data
        data += chunk
    return data.decode()

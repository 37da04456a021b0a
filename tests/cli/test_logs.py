"""The log files as `keepd logs` shows them, with a daemon and without."""

import gzip
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
        {"id": "web/1", "time": stamp(2).strip(), "text": "two"},
        {"id": "web/0", "time": stamp(3).strip(), "text": "three"},
    ]


def test_json_and_since_go_through_every_format_and_compressed_files(project):
    web = project.parent / "log" / "web"
    (web / "1.000001.log.gz").write_bytes(gzip.compress((stamp(0) + "zero\n").encode() * 2))
    line = {"time": stamp(7).strip(), "service": "web", "replica": 1, "run": 1, "text": "säven"}
    with (web / "1.log").open("a") as file:
        file.write(json.dumps(line, separators=(",", ":")) + "\n")
    done = keepd("-c", project, "logs", "web/1", "--json", "--since", "2030-01-01T01:00:00+01:00")
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["text"] for line in found] == ["zero", "zero", "two", "säven"]
    assert [line["time"] for line in found] == [stamp(n).strip() for n in (0, 0, 2, 7)]


@pytest.mark.parametrize(
    ("typed", "shown"),
    [
        (("2030-01-01T00:00:03Z",), ["three", "five"]),
        (("2030-01-01T00:00:03.000001Z",), ["five"]),
        (("2030-01-01T00:00:02Z", "-n", "1"), ["two", "five"]),
        (("2030-01-01T00:00:02Z", "--grep", "t"), ["two", "three"]),
        (("1h",), ["one", "two", "three", "five"]),
        (("2031-01-01T00:00:00Z",), []),
    ],
)
def test_since_leaves_earlier_lines_out(project, typed, shown):
    assert words(keepd("-c", project, "logs", "web", "--since", *typed)) == shown


def test_of_lines_without_a_time_since_says_that_it_cannot_tell(project):
    (project.parent / "log" / "web" / "0.log").write_text("one\ntwo\n")
    done = keepd("-c", project, "logs", "web", "--since", "1h")
    assert [line.split()[-1] for line in done.stdout.splitlines()] == ["two"]  # of web/1
    assert done.stderr == (
        "cannot tell when the lines of web/0 were written (log.format: raw): none is shown\n"
    )


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
        (
            ("--since", "noon"),
            2,
            "cannot understand: argument --since: 'noon' is neither a duration",
        ),
        (
            *(("--since", "2030-01-01"), 2),
            "cannot understand: argument --since: '2030-01-01' does not tell its time zone",
        ),
        (("--since", "9" * 30), 2, "cannot understand: argument --since: '999"),
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

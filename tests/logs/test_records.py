"""Records on a FIFO of their own: read without trust, each in the log once, whatever happens."""

import errno
import json
import logging
import os
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor import worker
from supervisor.core.spec import Log, LogFormat, OnFull
from supervisor.logs import structured
from supervisor.logs.formats import Batch, Place, Rules, render
from supervisor.logs.paint import as_object, text_of
from supervisor.unix import process
from supervisor.worker import LONGEST, Handler
from tests.logs.fire import end_of
from tests.logs.house import memory, pieces, short_of_descriptors
from tests.logs.test_trouble import DROPPED

NOW = 1_795_356_763_123_456
TIME = "2026-11-22T14:12:43.123456Z"


def written(chunks, form="json", **rules):
    """Return the log that chunks become: bytes are printed, strings are on the FIFO for records."""
    place, rest, text = Place(), b"", b""
    for chunk in (*chunks, None, None):
        records = isinstance(chunk, str) or (chunk is None and not place.column)
        data = (chunk.encode() if records else chunk) if chunk is not None else b"\n"
        if chunk is None and not (place.feed.size or place.column):
            break
        data = rest + data if records else data
        rules_ = Rules(form, **rules)
        batch = Batch(place, rules_, NOW, chunk is None, ("web/0", 3), records=records)
        files, place = render(data, batch)
        if records:
            rest = data[len(data) - place.feed.size :]
        text += b"".join(bytes(part) for piece in files for part in piece)
    assert text == b"" or text.endswith(b"\n")
    return text


FULL = {
    "level": "ERROR",
    "logger": "shop.jobs",
    "message": 'no "job" 7\nat all',
    "exception": "Traceback\n  KeyError: 7",
    "fields": {"tries": 3, "who": {"name": "é\n"}},
}


@pytest.mark.parametrize("form", ["text", "json", "raw"])
def test_a_record_stands_in_the_log_with_level_logger_message_exception_and_fields(form):
    text = written([json.dumps(FULL) + "\n"], form).decode()
    if form == "json":
        (line,) = map(json.loads, text.splitlines())
        head = {"time": TIME, "service": "web", "replica": 0, "run": 3, "text": FULL["message"]}
        assert line == head | {key: FULL[key] for key in FULL if key != "message"}
        text = text_of(text.removesuffix("\n").encode()).decode() + "\n"
        shown = json.loads(as_object("web/0", written([json.dumps(FULL) + "\n"])[:-1]))
        assert (shown["level"], shown["fields"]) == ("ERROR", FULL["fields"])
        assert (shown["id"], shown["text"]) == ("web/0", FULL["message"])
    stamp = TIME + " " if form == "text" else ""
    assert text.splitlines() == [
        f'{stamp}ERROR shop.jobs: no "job" 7',
        f'{stamp}at all tries=3 who={{"name":"é\\n"}}',
        f"{stamp}Traceback",
        f"{stamp}  KeyError: 7",
    ]


JUNK = [
    "hello",
    "{}",
    '{"message":7}',
    '{"message":"a","more":1}',
    '{"message":"a","level":3}',
    '{"message":"a","fields":[]}',
    '{"message":"a","fields":{"x":NaN}}',
    '{"message":"a","fields":{"x":1e999}}',
    '{"message":"\\ud800"}',
    '{"message":"' + "x" * LONGEST + '"}',
    '{"message":"a","fields":{"x":' + "[" * 40 + "]" * 40 + "}}",
    '{"message":"a","fields":{"x":' + "[" * 30_000 + "]" * 30_000 + "}}",
    '{"message":"a","fields":{"x":' + "9" * 5000 + "}}",
    "[" * 60_000,
]


@pytest.mark.parametrize("form", ["text", "json"])
@pytest.mark.parametrize("junk", JUNK, ids=range(len(JUNK)))
def test_what_is_no_record_is_a_line_of_text_and_the_records_around_it_are_whole(junk, form):
    around = json.dumps({"message": "sound"}) + "\n"
    text = written([around, junk[:7], junk[7:] + "\n" + around], form, max_line=1_000_000)
    lines = [text_of(line).decode() for line in text.splitlines()]
    assert lines[0] == lines[-1] == "sound"
    middle = "".join(lines[1:-1]).replace(" [keepd: line continues]", "")
    assert middle == junk


@given(
    cuts=st.lists(st.integers(0, 300)),
    printed=st.lists(st.sampled_from((b"a\n", b"b", b"c\nd")), max_size=8),
    form=st.sampled_from(("text", "json", "raw")),
    dice=st.randoms(use_true_random=False),
)
def test_records_are_whole_and_in_order_however_they_were_cut_and_whatever_is_printed(
    cuts, printed, form, dice
):
    wire = "".join(json.dumps({"message": f"record é {n}"}) + "\n" for n in range(9))
    chunks = list(pieces(wire, cuts))
    for words in printed:
        chunks.insert(dice.randrange(len(chunks) + 1), words)
    lines = written(chunks, form).split(b"\n")[:-1]
    texts = lines if form == "raw" else [text_of(line) for line in lines]
    assert [text for text in texts if text.startswith(b"record")] == [
        f"record é {n}".encode() for n in range(9)
    ]
    rest = b"".join(text for text in texts if not text.startswith(b"record"))
    for mark in (b" [keepd: line continues]", b" [keepd: no newline at the end]"):
        rest = rest.replace(mark, b"")
    said = [chunk for chunk in chunks if isinstance(chunk, bytes)]
    assert rest == b"".join(said).replace(b"\n", b"")


def test_a_record_that_was_torn_by_a_death_is_shown_with_a_mark():
    text = written(['{"message":"on', "e"], "raw")
    assert text == b'{"message":"one [keepd: no newline at the end]\n'


def started(house, log, *, run=1):
    """Return the FIFOs of a run: what it prints, and its records."""
    fd = house.relay.open("web/0", run, log)
    path = house.relay.records("web/0", run, None)
    return fd, path


RECORDS = Log(format=LogFormat.JSON, records=True, max_size=60_000, max_files=999)


def logging_service(path, count, lines):
    """Return a main that logs so many records of uneven lengths, and prints lines between them."""

    def main():
        os.environ["KEEPD_RECORDS"] = path
        logger = logging.getLogger("shop")
        logger.addHandler(Handler())
        for number in range(count):
            logger.warning("number %d", number, extra={"pad": "x" * (number % 9000)})
            os.write(lines, b"printed %d\n" % number)
        return 0

    return main


@pytest.mark.parametrize(
    ("count", "log"),
    [
        (1000, RECORDS),
        (1000, Log(records=True, max_size=60_000, max_files=999)),
        pytest.param(60_000, RECORDS, marks=pytest.mark.soak),
    ],
)
def test_each_record_is_in_the_log_once_and_in_order_whoever_is_killed_meanwhile(house, count, log):
    dice, kills = random.Random(5), 0
    house.start_writer()
    fd, path = started(house, log)
    pid = process.fork("service", logging_service(path, count, fd), (fd,))
    pidfd = os.pidfd_open(pid)
    house.poller.watch(pidfd, lambda _: house.poller.forget(pidfd))
    while os.waitid(os.P_PIDFD, pidfd, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        house.until(lambda: house.relay.writer_pid == house.pid)
        house.hear(dice.uniform(0, 0.02))
        house.kill_writer()
        house.start_writer()
        kills += 1
    os.close(pidfd)
    assert end_of(pid) == 0
    house.end("web/0")
    assert kills > 1
    texts = [text_of(line) for line in house.text("web/0").split(b"\n")[:-1]]
    said = [b"WARNING shop: number %d" % number for number in range(count)]
    found = [text for text in texts if text.startswith(b"WARNING")]
    assert [text.partition(b" pad=")[0] for text in found] == said
    assert [text for text in texts if text.startswith(b"printed")] == [
        b"printed %d" % number for number in range(count)
    ]
    assert len(texts) == 2 * count
    assert house.troubles == []
    assert house.finish() == 0
    assert os.listdir(house.run_dir / "inflight") == ["notes"]
    assert not list((house.run_dir / "fifo").rglob("*.records"))


@pytest.mark.parametrize("megabytes", [25, pytest.param(100, marks=pytest.mark.soak)])
def test_junk_and_an_endless_record_cost_no_memory_and_nobody_elses_log_waits(house, megabytes):
    house.start_writer()
    _, path = started(house, Log(records=True, max_size=500_000_000))
    other = house.relay.open("web/1", 1, Log())
    wire = os.open(path, os.O_RDWR | os.O_NONBLOCK)
    house.write(wire, b'{"message":"first"}\n')
    house.until(lambda: house.paths("web/0"))
    before = memory(house.pid)
    house.write(wire, b'{"message":"')
    for number in range(megabytes):
        house.write(wire, b"x" * 1_000_000)
        os.write(other, b"%d\n" % number)
        house.until(lambda number=number: house.paths("web/1"))
        house.until(lambda number=number: house.lines("web/1")[-1:] == [b"%d" % number])
    house.write(wire, b'"}\n' + b"[" * 200_000 + b"\n" + random.Random(1).randbytes(300_000))
    house.write(wire, b'\n{"message":"last"}\n')
    os.close(wire)
    house.end("web/0")
    house.end("web/1")
    text = house.text("web/0")
    assert text.count(b"x") >= megabytes * 1_000_000
    assert text.endswith(b"Z last\n")
    assert memory(house.pid) - before < 12 << 20
    assert house.troubles == []


@pytest.mark.parametrize("steps", [8, pytest.param(400, marks=pytest.mark.soak)])
def test_with_drop_records_are_dropped_too_and_counted(house, steps):
    log = Log(records=True, on_full=OnFull.DROP, format=LogFormat.RAW)
    dice, count = random.Random(4), 0
    house.start_writer()
    _, path = started(house, log)
    wire = os.open(path, os.O_RDWR | os.O_NONBLOCK)
    for step in range(steps):
        house.until(lambda: house.relay.writer_pid == house.pid)
        blocked = house.log_dir / "web"
        if step % 2 and blocked.exists():
            with house.frozen_writer():  # else it may make another in between
                blocked.rename(house.log_dir / "away")
                blocked.write_bytes(b"in the way")
        for number in range(count, count + 500):
            house.write(wire, json.dumps({"message": f"number {number}"}).encode() + b"\n")
        count += 500
        house.hear(dice.choice((0.0, 0.005)))
        house.kill_writer()
        if blocked.is_file():
            blocked.unlink()
            (house.log_dir / "away").rename(blocked)
        house.start_writer()
    os.close(wire)
    house.end("web/0")
    at = 0
    for line in house.text("web/0").split(b"\n")[:-1]:
        if told := DROPPED.search(line):
            at += int(told[1].replace(b",", b""))
        else:
            assert line == b"number %d" % at
            at += 1
    assert at == count


def test_a_second_of_records_has_no_more_than_the_rate(house):
    house.start_writer()
    _, path = started(house, Log(records=True, rate=10, format=LogFormat.RAW))
    wire = os.open(path, os.O_RDWR | os.O_NONBLOCK)
    house.write(wire, b'{"message":"said"}\n' * 5000)
    os.close(wire)
    house.end("web/0")
    lines = house.text("web/0").split(b"\n")[:-1]
    told = [line for line in lines if line.startswith(b"[keepd: suppressed ")]
    suppressed = sum(int(line.split()[2].replace(b",", b"")) for line in told)
    assert lines.count(b"said") + suppressed == 5000
    assert lines.count(b"said") <= 10 * (len(told) + 1)


def test_a_master_that_finds_the_fifos_of_another_goes_on_with_the_records(house):
    _, path = started(house, RECORDS)
    wire = os.open(path, os.O_RDWR | os.O_NONBLOCK)
    os.write(wire, b'{"message":"kept"}\n')
    house.relay.close()
    house.__post_init__()
    assert house.relay.recover({"web/0": RECORDS}) == [("web/0", 1)]
    os.close(wire)
    house.start_writer()
    house.end("web/0")
    assert json.loads(house.text("web/0"))["text"] == "kept"
    assert not os.path.exists(path)


def test_f36_a_master_that_has_no_room_for_the_fifos_of_another_does_not_pass_them_over(
    house, monkeypatch
):
    started(house, RECORDS)
    house.relay.close()
    house.__post_init__()

    def full(*_):
        raise OSError(errno.EMFILE, "Too many open files")

    with monkeypatch.context() as patched:
        patched.setattr(os, "open", full)
        with pytest.raises(OSError, match="Too many"):
            house.relay.recover({"web/0": RECORDS})
    with monkeypatch.context() as patched:
        patched.setattr(os, "scandir", full)
        with pytest.raises(OSError, match="Too many"):
            house.relay.recover({"web/0": RECORDS})
    assert house.relay.recover({"web/0": RECORDS}) == [("web/0", 1)]


def sent(monkeypatch, tmp_path, log):
    """Return the records that log(logger) sends."""
    path = tmp_path / "fifo"
    os.mkfifo(path)
    fd = os.open(path, os.O_RDWR | os.O_NONBLOCK)
    monkeypatch.setenv("KEEPD_RECORDS", str(path))
    logger = logging.getLogger("shop")
    handler = Handler()
    logger.handlers = [handler]
    logger.setLevel("INFO")
    log(logger)
    handler.close()
    lines = os.read(fd, 1 << 20).split(b"\n")
    os.close(fd)
    assert all(structured.told(line) for line in lines if line)
    return [json.loads(line) for line in lines if line]


def test_the_handler_sends_nothing_that_is_no_record(monkeypatch, tmp_path):
    def log(logger):
        logger.info("\ud800 %s", "\udcff", extra={"nan": float("nan"), "who": object})
        circle = []
        circle.append(circle)
        logger.info("b", extra={"circle": circle})
        logger.info("c" * 100_000, extra={f"key{n}": "\x01" * 9000 for n in range(99)})
        deep = []
        for _ in range(20):
            deep = [deep]
        try:
            {}[7]
        except KeyError:
            logger.exception("d", extra={"deep": deep}, stack_info=True)

    first, second, third, last = sent(monkeypatch, tmp_path, log)
    assert first["message"] == "\\ud800 \\udcff"
    assert first["fields"]["nan"] == "nan"
    assert second["fields"]["circle"] == "[[...]]"
    assert third["message"].endswith("…")
    assert last["exception"].startswith("Traceback")
    assert "KeyError: 7\nStack" in last["exception"]


def test_the_handler_falls_back_to_stderr_where_nobody_listens(monkeypatch, capsys):
    for path in (None, "/nowhere/to/be/found"):
        if path is None:
            monkeypatch.delenv("KEEPD_RECORDS", raising=False)
        else:
            monkeypatch.setenv("KEEPD_RECORDS", path)
        logger = logging.getLogger("shop")
        logger.handlers = [Handler()]
        logger.warning("said %d", 7)
        assert capsys.readouterr().err == "WARNING shop: said 7\n"


def test_the_handler_writes_into_no_file_that_has_got_its_descriptor(monkeypatch, tmp_path, capsys):
    os.mkfifo(tmp_path / "fifo")
    monkeypatch.setenv("KEEPD_RECORDS", str(tmp_path / "fifo"))
    handler = Handler()
    logger = logging.getLogger("shop")
    logger.handlers = [handler]
    with (tmp_path / "other").open("wb") as other:
        os.dup2(other.fileno(), handler._fd)
        logger.warning("said")
        os.close(handler._fd)
    handler._fd = -1
    assert (tmp_path / "other").read_bytes() == b""
    assert capsys.readouterr().err == "WARNING shop: said\n"


def test_without_a_supervisor_nothing_happens(monkeypatch):
    for address in ("", "/nowhere/to/be/found", "@nobody here", "x" * 200):
        monkeypatch.setenv("NOTIFY_SOCKET", address)
        told = [worker.ready(), worker.beat(), worker.stopping(), worker.status("fine")]
        assert told == [False] * 4


def test_records_that_could_not_be_opened_for_want_of_descriptors_are_opened_later(house):
    house.start_writer()
    os.write(house.relay.open("web/0", 1, RECORDS), b"printed\n")
    house.until(lambda: house.paths("web/0") and house.text("web/0"))
    with short_of_descriptors(house, left=0):
        wire = os.open(house.relay.records("web/0", 1, None), os.O_RDWR)
        house.until(lambda: house.troubles)
    os.write(wire, b'{"message":"said"}\n')
    house.end("web/0")
    os.close(wire)
    assert [text_of(line) for line in house.text("web/0").splitlines()] == [b"printed", b"said"]

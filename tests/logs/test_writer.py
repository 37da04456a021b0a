"""The log writer as its master sees it: real FIFOs, real files, a real process."""

import errno
import os
import resource
import signal
import stat

import pytest

from supervisor.core.spec import Log, LogFormat, LogTo
from supervisor.logs.files import split_id
from supervisor.logs.formats import CONTINUES, UNFINISHED
from supervisor.unix import process
from tests.logs.house import House, numbered

RAW = Log(format=LogFormat.RAW)


@pytest.fixture
def written(house):
    house.start_writer()
    return house


def test_what_a_run_prints_stands_in_its_file_with_time_stamps(written):
    written.print("web/0", b"hello\nworld\n")
    assert written.lines("web/0") == [b"hello", b"world"]
    assert stat.S_IMODE(written.paths("web/0")[0].stat().st_mode) == 0o640
    assert stat.S_IMODE((written.log_dir / "web").stat().st_mode) == 0o755


def test_raw_is_as_it_came(written):
    written.print("web/0", b"\x1b[1mone\x1b[0m\r\n\n\ttwo\n", log=RAW)
    assert written.text("web/0") == b"\x1b[1mone\x1b[0m\r\n\n\ttwo\n"


def test_to_none_is_written_nowhere(written):
    fd = written.relay.open("web/0", 1, Log(to=LogTo.NONE))
    os.write(fd, b"hello\n")
    written.relay.end("web/0", 1)
    assert written.relay.position("web/0", 1) is None
    assert written.paths("web/0") == []


def test_the_beginning_of_a_line_is_written_before_its_end_is_there(written):
    fd = written.relay.open("web/0", 1, RAW)
    os.write(fd, b"name: ")
    written.until(lambda: written.text("web/0") == b"name: ")
    os.write(fd, b"keepd\n")
    written.until(lambda: written.text("web/0") == b"name: keepd\n")


def test_f54_a_rotation_parts_no_line_and_loses_none(written):
    written.print("web/0", numbered(0, 5000), log=Log(max_size=20_000, max_files=99))
    paths = written.paths("web/0")
    assert [path.name for path in paths[:2]] == ["0.000001.log", "0.000002.log"]
    assert all(path.read_bytes().endswith(b"\n") for path in paths)
    assert all(path.stat().st_size < 20_100 for path in paths)
    assert written.lines("web/0") == numbered(0, 5000).split(b"\n")[:-1]


def test_only_max_files_are_kept_and_the_numbers_go_on(written):
    log = Log(max_size=1000, max_files=3)
    written.print("web/0", numbered(0, 500), log=log)
    names = [path.name for path in written.paths("web/0")]
    written.print("web/0", numbered(500, 1000), run=2, log=log)
    later = [path.name for path in written.paths("web/0")]
    assert len(names) == len(later) == 3
    assert max(names[:2]) < min(later[:2])
    assert written.lines("web/0")[-1] == numbered(999, 1000)[:-1]


def test_numbers_go_on_after_a_new_start_and_fewer_files_are_kept_where_that_is_new(tmp_path):
    for run, files in ((1, 5), (2, 2)):
        house = House(tmp_path)
        house.start_writer()
        log = Log(max_size=1000, max_files=files)
        house.print("web/0", numbered(0, 300), run=run, log=log)
        assert house.finish() == 0
        assert len(house.paths("web/0")) == files
        house.close()
    assert int(house.paths("web/0")[0].name.split(".")[1]) > 20


def test_f56_a_line_without_end_is_written_in_pieces_with_a_mark(written):
    written.print("web/0", b"x" * 300_000 + b"\nnext\n", log=Log(max_line=65_536))
    *pieces, last, following = written.lines("web/0")
    mark = CONTINUES[:-1]
    assert all(piece == b"x" * 65_536 + mark for piece in pieces)
    assert b"".join(p.removesuffix(mark) for p in pieces) + last == b"x" * 300_000
    assert following == b"next"


def test_f56_a_line_without_end_costs_no_memory(written):
    fd = written.relay.open("web/0", 1, Log(max_line=1 << 40, max_size=1 << 40))
    written.write(fd, b"x" * (1 << 20))
    written.until(lambda: len(written.text("web/0")) > 1 << 20)
    before = memory(written.pid)
    for _ in range(40):
        written.write(fd, b"x" * (1 << 20))
    written.until(lambda: written.paths("web/0")[0].stat().st_size > 41 << 20)
    assert memory(written.pid) - before < 4 << 20


def memory(pid):
    with open(f"/proc/{pid}/statm", "rb") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


def test_f57_the_last_words_of_the_dead_are_ended_and_marked(written):
    written.print("web/0", b"one\nlast words")
    written.print("web/0", b"two\n", run=2)
    assert written.lines("web/0") == [b"one", b"last words" + UNFINISHED[:-1], b"two"]


def test_f57_a_line_left_open_by_a_power_cut_is_ended_before_the_next_run(written):
    (written.log_dir / "web").mkdir()
    (written.log_dir / "web/0.log").write_bytes(b"half a li")
    written.print("web/0", b"two\n", log=RAW)
    assert written.text("web/0") == b"half a li" + UNFINISHED + b"two\n"


def test_f58_bytes_that_are_not_utf_8_go_through(written):
    everything = bytes(range(256)).replace(b"\n", b"") + b"\xff\xfe\n"
    written.print("web/0", everything, log=RAW)
    written.print("web/1", everything)
    assert written.text("web/0") == everything
    assert written.lines("web/1") == [everything[:-1]]


def test_a_run_is_written_after_all_of_the_one_before_it(house):
    for run in (6, 7):
        fd = house.relay.open("web/0", run, Log())
        house.write(fd, numbered(run * 1000, run * 1000 + 1000))
    house.start_writer()
    house.until(lambda: house.text("web/0").count(b"\n") >= 1000)
    os.write(house.relay.open("web/0", 6, Log()), b"a late grandchild\n")
    house.hear(0.02)
    assert house.relay.position("web/0", 7) is None
    house.end("web/0", 6)
    house.end("web/0", 7)
    lines = house.lines("web/0")
    assert lines[1000] == b"a late grandchild"
    assert lines[1001:] == numbered(7000, 8000).split(b"\n")[:-1]


def test_where_a_run_begins_is_told_and_stays_true_for_a_new_writer(written):
    log = Log(max_size=1000, max_files=99, format=LogFormat.RAW)
    written.print("web/0", numbered(0, 100), log=log)
    fd = written.relay.open("web/0", 2, log)
    written.until(lambda: written.relay.position("web/0", 2))
    index, size = written.relay.position("web/0", 2)
    assert index == len(written.paths("web/0"))
    assert size == written.paths("web/0")[-1].stat().st_size
    os.write(fd, b"mine\n")
    written.until(lambda: written.text("web/0").endswith(b"mine\n"))
    written.kill_writer()
    told = []
    written.relay._runs["web/0", 2].position = None
    written.relay.opened = lambda *news: told.append(news)
    written.start_writer()
    written.until(lambda: told)
    assert told == [("web/0", 2, (index, size))]


def test_f53_a_full_disk_stops_one_stream_and_tears_nothing(written):
    small = Log(format=LogFormat.RAW, max_size=50_000, max_files=99)
    large = written.relay.open("web/0", 1, RAW)
    written.until(lambda: written.relay.position("web/0", 1))
    resource.prlimit(written.pid, resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
    for first in range(0, 8000, 1000):
        written.write(large, numbered(first, first + 1000))
        written.hear(0.005)
    written.until(lambda: written.troubles)
    assert os.strerror(errno.EFBIG) in written.troubles[0]
    full = written.text("web/0")
    assert len(full) == 100_000
    written.print("web/1", numbered(0, 5000), log=small)
    assert written.text("web/1") == numbered(0, 5000)
    resource.prlimit(written.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
    written.end("web/0")
    assert written.text("web/0") == numbered(0, 8000)
    assert written.text("web/0").startswith(full)
    assert written.troubles[1:] == ["the log of web/0 is written again"]


def test_a_writer_killed_on_a_full_disk_leaves_nothing_out(written):
    fd = written.relay.open("web/0", 1, RAW)
    written.until(lambda: written.relay.position("web/0", 1))
    resource.prlimit(written.pid, resource.RLIMIT_FSIZE, (10_007, resource.RLIM_INFINITY))
    for first in range(0, 2000, 100):
        written.write(fd, numbered(first, first + 100))
        written.hear(0.003)
    written.until(lambda: written.troubles)
    written.kill_writer()
    written.start_writer()
    written.end("web/0")
    assert written.text("web/0") == numbered(0, 2000)


def test_a_log_that_somebody_moved_away_is_begun_anew(written):
    fd = written.relay.open("web/0", 1, RAW)
    os.write(fd, b"one\n")
    written.until(lambda: written.text("web/0") == b"one\n")
    moved = written.log_dir / "web/away"
    written.paths("web/0")[0].rename(moved)

    def begun_anew():
        os.write(fd, b"two\n")
        written.hear(0.05)
        return written.text("web/0").startswith(b"two\n")

    written.until(begun_anew)
    assert moved.read_bytes().startswith(b"one\n")


@pytest.mark.parametrize("plant", [os.symlink, os.link])
def test_s14_a_planted_link_is_not_written_through(written, tmp_path, plant):
    secret = tmp_path / "secret"
    secret.write_bytes(b"")
    (written.log_dir / "web").mkdir()
    plant(secret, written.log_dir / "web/0.log")
    written.write(written.relay.open("web/0", 1, Log()), b"hello\n")
    written.until(lambda: written.troubles)
    why = {os.symlink: os.strerror(errno.ELOOP), os.link: "0.log is not a file of its own"}[plant]
    assert written.troubles[0].startswith(f"cannot write the log of web/0: {why}; ")
    assert secret.read_bytes() == b""
    (written.log_dir / "web/0.log").unlink()
    written.end("web/0")
    assert written.lines("web/0") == [b"hello"]


def test_a_writer_whose_master_is_gone_writes_what_is_there_and_leaves(house):
    house.write(house.relay.open("web/0", 1, RAW), numbered(0, 20_000))
    house.start_writer()
    house.relay._writer._sock.shutdown(2)
    assert house.reap() == 0
    assert numbered(0, 20_000).startswith(house.text("web/0"))
    house.start_writer()
    house.end("web/0")
    assert house.text("web/0") == numbered(0, 20_000)


def test_finish_writes_everything_and_keepds_own_events_last(written):
    fd = written.relay.open("web/0", 1, Log())
    written.write(fd, numbered(0, 10_000))
    written.relay.say("going down\nnow")
    written.relay.end("web/0", 1)
    assert written.finish() == 0
    assert len(written.lines("web/0")) == 10_000
    assert written.lines("keepd") == [b"going down\\nnow"]
    assert sorted(os.listdir(written.run_dir / "inflight")) == ["notes"]
    assert os.listdir(written.run_dir / "fifo/web") == []


def test_f55_two_writers_never_write_into_one_directory(written, tmp_path):
    (tmp_path / "other").mkdir()
    other = House(tmp_path / "other")
    other.log_dir = written.log_dir
    other.start_writer()
    try:
        written.print("web/0", b"one\n")
        assert other.relay.writer_pid is None
        written.kill_writer()
        other.until(lambda: other.relay.writer_pid == other.pid)
    finally:
        other.close()


def test_f55_two_streams_never_write_into_one_file(written):
    first = written.relay.open("web/0", 1, RAW)
    os.write(first, b"one\n")
    written.until(lambda: written.text("web/0") == b"one\n")
    os.link(written.log_dir / "web/0.log", written.log_dir / "web/1.log")
    os.write(written.relay.open("web/1", 1, RAW), b"other\n")
    written.until(lambda: written.troubles)
    assert "cannot write the log of web/1: 1.log is not a file of its own" in written.troubles[0]
    os.write(first, b"two\n")
    written.end("web/0")
    assert written.text("web/0") == b"one\ntwo\n"
    (written.log_dir / "web/1.log").unlink()
    written.end("web/1")
    assert written.text("web/1") == b"other\n"


def test_a_removed_fifo_of_an_ended_run_holds_up_nothing(house):
    house.relay.open("web/0", 1, Log())
    os.unlink(house.run_dir / "fifo/web/0.1")
    house.relay.end("web/0", 1)
    house.relay.open("web/0", 2, Log())
    house.start_writer()
    house.print("web/0", b"two\n", run=2)
    assert house.lines("web/0") == [b"two"]


def test_f66_hundreds_of_runs_leave_no_descriptor_open(written):
    written.until(lambda: written.relay.position("keepd", 1))
    idle = descriptors(written.pid)
    written.print("web/0", b"x\n")
    ours = descriptors(os.getpid())
    for run in range(2, 302):
        written.print("web/0", b"x\n", run=run)
    assert descriptors(os.getpid()) == ours
    written.until(lambda: descriptors(written.pid) <= idle)
    assert len(written.lines("web/0")) == 301


def test_f65_a_stream_costs_at_most_four_descriptors(written):
    before = descriptors(written.pid)
    for number in range(200):
        os.write(written.relay.open(f"web/{number}", 1, Log()), b"hello\n")
    written.until(lambda: all(written.text(f"web/{number}") for number in range(200)))
    assert descriptors(written.pid) - before <= 4 * 200


def descriptors(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


def test_an_idle_writer_does_not_wake_up(written):
    os.write(written.relay.open("web/0", 1, Log()), b"hello\n")
    written.until(lambda: written.text("web/0"))
    written.until(lambda: is_asleep(written))
    before = switches(written.pid)
    written.hear(0.5)
    assert switches(written.pid) == before


def is_asleep(house):
    before = switches(house.pid)
    house.hear(0.1)
    return switches(house.pid) == before


def switches(pid):
    with open(f"/proc/{pid}/status", "rb") as file:
        return [line for line in file if b"ctxt_switches" in line]


def test_events_are_dropped_and_counted_rather_than_waited_for(house):
    for number in range(2000):
        house.relay.say(f"event {number} {'x' * 100}")
    house.start_writer()
    house.until(lambda: b"event 0 " in house.text("keepd"))

    def told():
        house.relay.say("again")
        house.hear(0.01)
        return b"events could not be written" in house.text("keepd")

    house.until(told)


def printing_forever(house, name, text):
    """Fork a service that prints without a pause; return its pid."""
    fd = house.relay.open(name, 1, Log(max_size=1_000_000, max_files=2))

    def main():
        while True:
            os.write(fd, text)

    return process.fork("printer", main, (fd,))


def end(pid):
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


@pytest.mark.parametrize("stopped", [False, True])
def test_neither_a_flood_nor_a_service_frozen_in_a_write_holds_up_another(written, stopped):
    pid = printing_forever(written, "flood/0", b"y" * 8191 + b"\n")
    try:
        written.until(lambda: written.text("flood/0"))
        if stopped:
            os.kill(pid, signal.SIGSTOP)
        for run in range(1, 20):
            written.print("web/0", b"hello\n", run=run)
        assert len(written.lines("web/0")) == 19
    finally:
        end(pid)


@pytest.mark.parametrize(
    "name", ["../web/0", "web/..", "web/0/1", "", "/", "web/", ".x/0", "a\nb/0"]
)
def test_s19_no_name_leads_out_of_the_log_directory(name):
    with pytest.raises(ValueError, match="cannot name log files"):
        split_id(name)


def test_a_master_that_finds_several_runs_of_a_replica_tells_of_them_in_their_order(house):
    """In whatever order the directory lists their FIFOs: none has had its turn before."""
    runs = range(1, 13)
    kept = []
    for run in runs:
        fd = house.relay.open("web/0", run, RAW)
        os.write(fd, b"of run %d\n" % run)
        kept.append(os.dup(fd))  # as by the anchor
    house.relay.close()
    house.__post_init__()
    assert house.relay.recover({"web/0": RAW}) == [("web/0", run) for run in runs]
    house.start_writer()
    for run in runs:
        house.relay.end("web/0", run)
    house.until(lambda: not any(house.is_open("web/0", run) for run in runs))
    for fd in kept:
        os.close(fd)
    assert house.text("web/0") == b"".join(b"of run %d\n" % run for run in runs)

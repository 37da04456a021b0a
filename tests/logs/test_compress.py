"""Rotated files are compressed beside the writer's work, and read back as if they were not."""

import contextlib
import fcntl
import gzip
import os
import signal
import stat
from pathlib import Path

import pytest

from supervisor.core.spec import Log
from supervisor.logs import compress, gzipped
from supervisor.logs.files import rotated_name
from supervisor.logs.tail import Tail
from supervisor.unix.process import children
from tests.logs.house import House, numbered

PACKED = Log(max_size=20_000, max_files=99, compress=True)
LINES = numbered(0, 5000).split(b"\n")[:-1]


@pytest.fixture
def written(house):
    house.start_writer()
    return house


def folder(house):
    return {path.name for path in (house.log_dir / "web").iterdir()}


def all_packed(house):
    names = folder(house) - {"0.log"}
    return names and all(name.endswith(".log.gz") for name in names)


def test_rotated_files_are_compressed_and_the_current_one_is_not(written):
    written.print("web/0", numbered(0, 5000), log=PACKED)
    written.until(lambda: all_packed(written))
    assert written.lines("web/0") == LINES
    packed = [path for path in written.paths("web/0") if path.suffix == ".gz"]
    assert len(packed) > 5
    for path in packed:
        assert stat.S_IMODE(path.stat().st_mode) == 0o640
        assert len(gzip.decompress(path.read_bytes())) > 2 * path.stat().st_size
    assert "0.log" in folder(written)


def test_max_files_counts_compressed_ones_too_also_after_a_new_start(tmp_path):
    log = Log(max_size=1000, max_files=4, compress=True)
    for run in (1, 2):
        house = House(tmp_path)
        house.start_writer()
        house.print("web/0", numbered(0, 1000), run=run, log=log)
        house.until(lambda house=house: all_packed(house))
        assert len(folder(house)) == 4
        assert house.finish() == 0
        house.close()
    assert int(min(folder(house)).split(".")[1]) > 40


def test_what_was_rotated_before_compress_was_asked_for_is_compressed_with_the_next_run(written):
    written.print("web/0", numbered(0, 1000), log=Log(max_size=10_000, max_files=99))
    assert not all_packed(written)
    written.kill_writer()
    written.start_writer()
    written.print("web/0", numbered(1000, 1001), run=2, log=PACKED)
    written.until(lambda: all_packed(written))
    assert written.lines("web/0") == numbered(0, 1001).split(b"\n")[:-1]


def test_a_compressor_killed_again_and_again_loses_nothing_and_is_done_in_the_end(written):
    log = Log(max_size=1_000_000, max_files=99, compress=True)
    fd = written.relay.open("web/0", 1, log)
    kills = 0
    for first in range(0, 100_000, 1000):
        written.write(fd, numbered(first, first + 1000, width=120))
        for pid in children(written.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
                kills += 1
    written.end("web/0")
    written.until(lambda: all_packed(written))
    assert kills
    assert written.lines("web/0") == numbered(0, 100_000, width=120).split(b"\n")[:-1]
    assert any("killed by signal 9" in trouble for trouble in written.troubles)


def test_what_a_dead_compressor_left_half_done_is_removed_and_done_again(written):
    (written.log_dir / "web").mkdir()
    for name, text in {
        "0.000001.log": b"one\n",  # killed before the rename
        "0.000001.log.gz~": b"\x1f\x8bhalf",
        "0.000002.log": b"two\n",  # killed before the plain one was removed
        "0.000002.log.gz": gzip.compress(b"two\n"),
        "0.000003.log.gz~": b"of a file that is gone",
        "00.000001.log.gz~": b"somebody else's",
    }.items():
        (written.log_dir / "web" / name).write_bytes(text)
    written.print("web/0", b"three\n", log=PACKED)
    names = {"0.000001.log.gz", "0.000002.log.gz", "00.000001.log.gz~", "0.log"}
    written.until(lambda: folder(written) == names)
    assert written.text("web/0").startswith(b"one\ntwo\n")


def test_s14_s15_a_planted_link_is_not_compressed_and_nothing_is_written_through_one(
    written, tmp_path
):
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret")
    web = written.log_dir / "web"
    web.mkdir()
    (web / "0.000001.log").symlink_to(secret)
    os.link(secret, web / "0.000002.log")
    (web / "0.000003.log").write_bytes(b"three\n")
    (web / "0.000003.log.gz~").symlink_to(secret)
    (web / "0.000003.log.gz").symlink_to(secret)
    written.print("web/0", numbered(0, 2000), log=PACKED)
    written.until(lambda: not (web / "0.000003.log").exists() or written.troubles)
    assert secret.read_bytes() == b"secret"
    assert not (web / "0.000001.log.gz").exists()
    assert not (web / "0.000002.log.gz").exists()


def test_leaving_stops_compressing_and_leaves_nothing_half_done(written):
    log = Log(max_size=12_000_000, max_files=99, compress=True)
    fd = written.relay.open("web/0", 1, log)
    for _ in range(20):
        written.write(fd, os.urandom(750_000).replace(b"\n", b"") + b"\n")
    written.until(lambda: "0.000001.log.gz~" in folder(written))
    written.relay.end("web/0", 1)
    assert written.finish() == 0
    assert not any(name.endswith("~") for name in folder(written))


def test_a_flood_is_not_held_up_by_compressing(written):
    """One at a time, whatever is rotated: the writer itself compresses nothing."""
    seen = []
    fd = written.relay.open("web/0", 1, Log(max_size=100_000, max_files=99, compress=True))
    for first in range(0, 50_000, 500):
        written.write(fd, numbered(first, first + 500))
        seen.append(len(children(written.pid)))
    assert max(seen) <= 1
    written.end("web/0")


# Reading them back.


def pack(path):
    """Do with a rotated file what the child of the writer does."""
    path = Path(path)
    with path.open("rb") as source, path.with_name(path.name + ".gz").open("wb") as target:
        gzipped.pack(source.fileno(), target.fileno())
    path.unlink()


@pytest.fixture
def files(tmp_path):
    """A stream of three compressed files, a plain one, and the current one."""
    for number in range(1, 6):
        name = rotated_name("0", number) if number < 5 else "0.log"
        (tmp_path / name).write_bytes(numbered(number * 1000, number * 1000 + 1000))
        if number < 4:
            pack(tmp_path / name)
    return tmp_path


def everything(tail):
    lines = []
    while found := tail.lines():
        lines += found
    return lines


def test_the_last_lines_are_found_across_compressed_files(files):
    tail = Tail(str(files / "0.log"))
    whole = numbered(1000, 6000).split(b"\n")[:-1]
    assert tail.last(None) == whole
    assert tail.last(2500) == whole[-2500:]


def test_following_goes_through_compressed_files_and_knows_how_far_behind_it_is(files):
    tail = Tail(str(files / "0.log"), (2, 0))
    assert tail.behind() == len(numbered(2000, 6000))
    assert everything(tail) == numbered(2000, 6000).split(b"\n")[:-1]
    assert tail.lost == 0


@pytest.mark.parametrize("number", [6, 7])
def test_a_file_that_is_compressed_while_it_is_read_is_shown_once(files, number):
    """Also where it got a number that the reader did not foresee."""
    tail = Tail(str(files / "0.log"))
    with (files / "0.log").open("ab") as file:
        file.write(b"more\n")
    os.rename(files / "0.log", files / rotated_name("0", number))
    pack(files / rotated_name("0", number))
    (files / "0.log").write_bytes(b"new\n")
    assert everything(tail) == [b"more", b"new"]


def test_a_damaged_file_costs_its_own_lines_only(files):
    (files / "0.000002.log.gz").write_bytes(b"\x1f\x8b no gzip")
    lines = Tail(str(files / "0.log")).last(None)
    assert lines == numbered(1000, 2000).split(b"\n")[:-1] + numbered(3000, 6000).split(b"\n")[:-1]


def test_what_another_child_has_just_compressed_is_not_removed(tmp_path, monkeypatch):
    """The child of a writer that was killed may be in its last step: the plain file is going."""
    name = rotated_name("0", 1)
    (tmp_path / name).write_bytes(numbered(0, 1000))
    directory = os.open(tmp_path, os.O_RDONLY)
    lock = fcntl.flock

    def meanwhile(*args):
        monkeypatch.undo()
        compress._compress_one(directory, name)  # all of the other's work
        lock(*args)

    monkeypatch.setattr(fcntl, "flock", meanwhile)
    compress._compress_one(directory, name)
    os.close(directory)
    assert [path.name for path in tmp_path.iterdir()] == [name + gzipped.SUFFIX]
    assert gzip.decompress((tmp_path / f"{name}.gz").read_bytes()) == numbered(0, 1000)

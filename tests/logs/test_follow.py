"""Log files read back: the last lines, what comes after them, over every rotation."""

import os
import random
import re
import select
import shutil

import pytest

from supervisor.core.spec import Log, LogFormat
from supervisor.logs.files import rotated_name
from supervisor.logs.follow import Choice, Follower, merged, show
from supervisor.logs.paint import Painter, plain
from supervisor.logs.tail import Tail
from supervisor.unix import process
from tests.logs.fire import end_of
from tests.logs.house import numbered


class Logs:
    """The files of one stream, written and rotated as the writer does."""

    def __init__(self, folder, stem="0"):
        self.folder, self.stem = folder, stem
        self.path = str(folder / f"{stem}.log")
        self.number = 1

    def write(self, text):
        with open(self.path, "ab") as file:
            file.write(text)

    def rotate(self, max_files=99):
        os.rename(self.path, self.folder / rotated_name(self.stem, self.number))
        (self.folder / rotated_name(self.stem, self.number - max_files + 1)).unlink(missing_ok=True)
        self.number += 1


@pytest.fixture
def logs(tmp_path):
    return Logs(tmp_path)


def everything(tail):
    lines = []
    while found := tail.lines():
        lines += found
    return lines


def test_the_last_lines_are_found_across_rotated_files(logs):
    for first in range(0, 100, 10):
        logs.write(numbered(first, first + 10))
        logs.rotate()
    logs.write(numbered(100, 103))
    tail = Tail(logs.path)
    whole = numbered(0, 103).split(b"\n")[:-1]
    assert tail.last(None) == whole
    for count in (0, 1, 3, 4, 25, 103, 200):
        assert tail.last(count) == whole[len(whole) - min(count, 103) :]
    assert tail.last(2, re.compile(rb"line \d*7 ")) == [whole[87], whole[97]]
    assert tail.lines() == []


def test_long_lines_and_empty_ones_are_read_backwards_whole(logs):
    lines = [b"x" * 200_000, b"", b"y", b"", b"z" * 65_536]
    logs.write(b"\n".join(lines) + b"\n")
    assert Tail(logs.path).last(None) == lines


def test_a_line_that_is_still_open_is_told_when_it_is_whole(logs):
    logs.write(b"one\ntwo\nthr")
    tail = Tail(logs.path)
    assert tail.last(None) == [b"one", b"two"]
    assert tail.lines() == []
    logs.write(b"ee\n")
    assert tail.lines() == [b"three"]
    logs.write(b"fo")
    assert tail.lines() == []
    assert tail.rest() == b"fo"


def test_f54_following_loses_and_doubles_nothing_whenever_it_looks(logs):
    dice = random.Random(3)
    tail = Tail(logs.path)
    found, first = [], 0
    while first < 3000:
        match dice.randrange(5):
            case 0 | 1:
                text = numbered(first, first + 7)
                cut = dice.randrange(len(text))
                logs.write(text[:cut])
                found += everything(tail) if dice.random() < 0.3 else []
                logs.write(text[cut:])
                first += 7
            case 2 if os.path.exists(logs.path):
                logs.rotate()
            case 3:
                found += tail.lines()
    assert found + everything(tail) == numbered(0, first).split(b"\n")[:-1]


def test_what_was_removed_before_it_was_read_is_missing_and_the_rest_is_not(logs):
    logs.write(b"one\n")
    tail = Tail(logs.path, (0, 0))
    for text in (b"two\n", b"three\n", b"four\n"):
        logs.rotate(max_files=2)
        logs.write(text)
    assert everything(tail) == [b"one", b"three", b"four"]


def test_with_one_file_only_nothing_is_shown_twice(logs):
    logs.number = 17
    logs.write(b"one\n")
    tail = Tail(logs.path, (0, 0))
    assert everything(tail) == [b"one"]
    logs.write(b"two\n")
    os.rename(logs.path, logs.folder / rotated_name("0", 17))
    assert everything(tail) == [b"two"]
    (logs.folder / rotated_name("0", 17)).unlink()
    logs.write(b"three\n")
    assert everything(tail) == [b"three"]


def test_a_file_that_was_emptied_or_moved_away_is_followed_on(logs):
    logs.write(b"one\ntwo\n")
    tail = Tail(logs.path)
    os.truncate(logs.path, 0)
    logs.write(b"three\n")
    assert tail.lines() == [b"three"]
    os.rename(logs.path, logs.path + ".old")
    assert tail.lines() == []
    logs.write(b"four\n")
    assert tail.lines() == [b"four"]


def test_a_reader_far_behind_may_skip_and_knows_how_much(logs):
    tail = Tail(logs.path, (0, 0))
    for first in range(0, 1000, 100):
        logs.write(numbered(first, first + 100))
        logs.rotate()
    logs.write(numbered(1000, 1100))
    assert tail.behind() == len(numbered(0, 1100))
    skipped = tail.skip(3000)
    assert tail.behind() <= 3000
    assert everything(tail) == numbered(skipped, 1100).split(b"\n")[:-1]


def test_streams_are_merged_by_their_time_stamps():
    at = b"2026-11-22T14:12:43.%06dZ "
    lines = {
        "web/0": [at % 1 + b"a", b"behind a", at % 5 + b"e"],
        "web/1": [at % 2 + b"b", at % 4 + b"d"],
        "keepd": [],
    }
    found = [line[-1:] for _, line in merged(lines)]
    assert found == [b"a", b"a", b"b", b"d", b"e"]


def test_follow_over_the_real_writers_rotations_loses_and_doubles_nothing(house):
    house.start_writer()
    log = Log(max_size=5_000, max_files=99, format=LogFormat.RAW)
    fd = house.relay.open("web/0", 1, log)
    folder = house.log_dir / "web"
    folder.mkdir(exist_ok=True)
    follower = Follower()
    follower.watch(str(folder))
    tail = follower.add("web/0", str(folder / "0.log"), (0, 0))
    pid = process.fork("printer", lambda: print_slowly(fd), (fd,))
    found = []
    while len(found) < 4000:
        house.poller.wait(0.01)
        if select.select((follower,), (), (), 0)[0]:
            assert follower.news()[0] <= {"web/0"}
            found += everything(tail)
    end_of(pid)
    assert found == numbered(0, 4000).split(b"\n")[:-1]
    assert len(house.paths("web/0")) > 10
    follower.close()


def print_slowly(fd):
    for first in range(0, 4000, 40):
        os.write(fd, numbered(first, first + 40))
        select.select((), (), (), 0.0005)
    return 0


def append(path, text):
    with path.open("a") as file:
        file.write(text)


class Shown:
    """Two replicas with five lines each, and a process that shows them into a pipe."""

    def __init__(self, folder, choice):
        self.logs = {f"web/{stem}": Logs(folder, stem) for stem in "01"}
        for number, logs in enumerate(self.logs.values()):
            logs.write(numbered(0, 5) + b"line %d has no end" % (number + 3))
        paths = {stream: logs.path for stream, logs in self.logs.items()}
        self._read, write = os.pipe()
        self.said = folder / "said"
        self._pid = process.fork(
            "logs",
            lambda: show(paths, choice, write, False, lambda text: append(self.said, text)),
            (write,),
        )
        os.close(write)
        self.text = b""

    def until(self, text):
        while text not in self.text and (chunk := os.read(self._read, 4096)):
            self.text += chunk
        assert text in self.text

    def end(self):
        while chunk := os.read(self._read, 4096):
            self.text += chunk
        return end_of(self._pid)

    def look_away(self):
        os.close(self._read)
        return end_of(self._pid)


def test_show_prints_what_was_chosen_and_whose_it_is(tmp_path):
    shown = Shown(tmp_path, Choice(last=2, wanted=re.compile(rb"line [234]")))
    assert shown.end() == 0
    assert shown.text == (
        b"web/0    | line 3 xxx\nweb/0    | line 4 xxxx\n"
        b"web/1    | line 3 xxx\nweb/1    | line 4 xxxx\n"
        b"web/0    | line 3 has no end\nweb/1    | line 4 has no end\n"
    )


def test_show_follows_until_nobody_reads(tmp_path):
    shown = Shown(tmp_path, Choice(last=1, follow=True, wanted=re.compile(rb"line [48]")))
    shown.until(b"web/1    | line 4 xxxx\n")
    shown.logs["web/0"].write(b"\nline 7\n")
    shown.logs["web/0"].rotate()
    shown.logs["web/0"].write(b"line 8\n")
    shown.logs["web/1"].write(b" yet\n")
    shown.until(b"web/0    | line 8\n")
    shown.until(b"web/1    | line 4 has no end yet\n")
    assert b"line 7" not in shown.text
    assert shown.look_away() == 0


@pytest.mark.parametrize("what", ["deleted", "renamed", "renamed above"])
def test_f64_following_goes_on_when_the_directory_has_gone_and_is_made_anew(tmp_path, what):
    logs = Logs(tmp_path / "log" / "web")
    logs.folder.mkdir(parents=True)
    logs.write(b"one\n")
    read, write = os.pipe()
    streams, choice = {"web/0": logs.path}, Choice(last=1, follow=True)
    pid = process.fork("follower", lambda: show(streams, choice, write, False, print), (write,))
    os.close(write)
    assert os.read(read, 100) == b"one\n"
    logs.write(b"and a half\n")  # by then it follows
    assert os.read(read, 100) == b"and a half\n"
    if what == "deleted":
        shutil.rmtree(logs.folder)
    else:
        old = logs.folder if what == "renamed" else logs.folder.parent
        old.rename(tmp_path / "old")
    logs.folder.mkdir(parents=True)
    logs.write(b"two\n")
    assert select.select((read,), (), (), 20.0)[0]
    assert os.read(read, 100) == b"two\n"
    os.close(read)
    logs.write(b"three\n")
    assert end_of(pid) == 0


def test_following_tells_of_files_that_were_removed_before_they_were_shown(tmp_path):
    shown = Shown(tmp_path, Choice(last=1, follow=True))
    shown.until(b"web/1    | line 4 xxxx\n")
    logs = shown.logs["web/0"]
    logs.write(b"\n")
    shown.until(b"line 3 has no end\n")
    for number in range(2, 6):
        (tmp_path / rotated_name("0", number)).write_bytes(b"gone\n")
        (tmp_path / rotated_name("0", number)).unlink()
    os.rename(logs.path, tmp_path / rotated_name("0", 1))
    (tmp_path / "0.000006.log").write_bytes(b"six\n")
    logs.write(b"seven\n")
    shown.until(b"seven\n")
    shown.logs["web/1"].write(b"\n")
    shown.until(b"web/1    | line 4 has no end\n")
    shown.look_away()
    assert shown.said.read_text() == "web/0: 4 files of the log were removed before they were shown"


def test_s22_on_a_terminal_nothing_steers_the_terminal():
    assert plain(b"a\x1b[2Jb\x07\r\x9b\xff\tc\xc2\x9bd\r") == (
        "a\\x1b[2Jb\\x07\\x0d\\x9b\\xff\tc\\x9bd"
    )
    assert plain("grün 😀".encode()) == "grün 😀"


def test_prefixes_are_even_and_each_stream_has_its_colour():
    painter = Painter(colour=False)
    assert painter.paint("web/0", "hello") == b"web/0    | hello\n"
    painter.meet("worker-long/10")
    assert painter.paint("web/0", "hello") == b"web/0          | hello\n"
    painter = Painter(colour=True)
    one, other = painter.paint("web/0", "x"), painter.paint("web/1", "x")
    assert one.startswith(b"\x1b[")
    assert b"|\x1b[0m x" in one
    assert one[:5] != other[:5]

"""Log writing beside s6-log: `python -m tests.bench.bench_logs [--quick] [--dir DIR]`.

Both put a time stamp before every line, rotate at 10 MB and keep 10 files; they run in turn, so
that the ratio holds on a busy machine. What is timed ends when the last line is in its file; CPU is
that of the loggers alone, without the children that print. s6-log has a process for each child.
"""

import argparse
import contextlib
import fcntl
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from supervisor.core.spec import Log
from tests.logs.house import House

F_SETPIPE_SZ = 1031
ROOM = 1 << 20
LINE = 100
CASES = [  # children, lines in a write, bytes in all, at least so many times as fast as s6-log
    (1, 80, 800_000_000, 2.0),
    (1, 1, 200_000_000, 1.0),
    (50, 80, 800_000_000, 1.0),
    (50, 1, 200_000_000, 1.0),
]
PRINTER = r"""
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
int main(int argc, char **argv) {
  long lines = atol(argv[1]), each = atol(argv[2]), at;
  static char text[100 * 1000];
  for (at = 0; at < each * 100; at++) text[at] = at % 100 == 99 ? '\n' : 'a' + at % 26;
  for (at = 0; at < lines; at += each) {
    long left = each * 100, n;
    for (char *from = text; left > 0; from += n, left -= n)
      if ((n = write(1, from, left)) < 0) return 1;
  }
  return 0;
}
"""


@dataclass
class Figures:
    seconds: float
    cpu: float
    size: int

    @property
    def speed(self):
        return self.size / self.seconds / 1e6

    @property
    def cpu_per_gb(self):
        return self.cpu / self.size * 1e9


@dataclass
class Load:
    printer: str
    children: int
    lines: int
    size: int

    def start(self, stdouts):
        """Start one printing child for each descriptor."""
        lines = self.size // LINE // self.children // self.lines * self.lines
        command = [self.printer, str(lines), str(self.lines)]
        return [subprocess.Popen(command, stdout=fd) for fd in stdouts]


def enlarge(fd):
    with contextlib.suppress(OSError):
        fcntl.fcntl(fd, F_SETPIPE_SZ, ROOM)


def s6_log(load, root):
    loggers, pipes = [], []
    for child in range(load.children):
        read, write = os.pipe()
        enlarge(write)
        command = ["s6-log", "t", "s10000000", "n10", str(root / f"s6.{child}")]
        loggers.append(subprocess.Popen(command, stdin=read))
        os.close(read)
        pipes.append(write)
    began = time.monotonic()
    children = load.start(pipes)
    for pipe in pipes:
        os.close(pipe)
    cpu = 0.0
    for logger in loggers:
        _, logger.returncode, usage = os.wait4(logger.pid, 0)
        cpu += usage.ru_utime + usage.ru_stime
    seconds = time.monotonic() - began
    for child in children:
        child.wait()
    return Figures(seconds, cpu, load.size)


def keepd(load, root):
    house = House(root)
    house.start_writer()
    log = Log(max_size=10_000_000, max_files=10)
    names = [f"load/{child}" for child in range(load.children)]
    fds = [house.relay.open(name, 1, log) for name in names]
    pid = house.pid
    began = time.monotonic()
    children = load.start(fds)
    for name, child in zip(names, children, strict=True):
        child.wait()
        house.relay.end(name, 1)
    house.until(lambda: not any(house.is_open(name, 1) for name in names), 600)
    seconds = time.monotonic() - began
    done = []
    house.relay.finish(lambda: done.append(1))
    house.until(lambda: done)
    _, _, usage = os.wait4(pid, 0)
    house.pid = 0
    house.close()
    assert not house.troubles, house.troubles
    return Figures(seconds, usage.ru_utime + usage.ru_stime, load.size)


def once(logger, load, folder):
    root = Path(tempfile.mkdtemp(dir=folder))
    try:
        return logger(load, root)
    finally:
        shutil.rmtree(root)


def compare(load, folder, rounds):
    found = {"s6-log": [], "keepd": []}
    for _ in range(rounds):
        found["s6-log"].append(once(s6_log, load, folder))
        found["keepd"].append(once(keepd, load, folder))
    return found


def row(load, found, goal):
    best = {name: max(figures, key=lambda f: f.speed) for name, figures in found.items()}
    pairs = zip(found["keepd"], found["s6-log"], strict=True)
    ratio = statistics.median(ours.speed / theirs.speed for ours, theirs in pairs)
    cpu = {
        name: statistics.median(f.cpu_per_gb for f in figures) for name, figures in found.items()
    }
    print(
        f"{load.children:3d} children, {load.lines:2d} lines a write: "
        f"keepd {best['keepd'].speed:4.0f} MB/s {cpu['keepd']:5.2f} CPU s/GB, "
        f"s6-log {best['s6-log'].speed:4.0f} MB/s {cpu['s6-log']:5.2f} CPU s/GB; "
        f"speed {ratio:.2f}x (goal {goal:.0f}x), CPU {cpu['keepd'] / cpu['s6-log']:.2f}x",
        flush=True,
    )
    return {
        "children": load.children,
        "lines": load.lines,
        "speed": ratio,
        "goal": goal,
        "cpu": cpu,
    }


def main():
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--quick", action="store_true", help="a tenth of the bytes, one round")
    options.add_argument("--dir", default=None, help="where logs and runtime directories are made")
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--json", action="store_true")
    given = options.parse_args()
    if not shutil.which("s6-log"):
        sys.exit("cannot compare: there is no s6-log here (Debian: package s6)")
    rows = []
    with tempfile.TemporaryDirectory() as built:
        printer = f"{built}/printer"
        subprocess.run(
            ["cc", "-O2", "-x", "c", "-o", printer, "-"], input=PRINTER.encode(), check=True
        )
        for children, lines, size, goal in CASES:
            load = Load(printer, children, lines, size // 10 if given.quick else size)
            found = compare(load, given.dir, 1 if given.quick else given.rounds)
            rows.append(row(load, found, goal))
    if given.json:
        print(json.dumps(rows))
    sys.exit(not all(row["speed"] >= row["goal"] for row in rows))


if __name__ == "__main__":
    main()

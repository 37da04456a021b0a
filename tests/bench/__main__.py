"""Speed and memory beside a loop in C and supervisord: `python -m tests.bench [NAME ...]`."""

import argparse
import sys
import tempfile

from supervisor.unix import process

from . import idle, native, restart, start

_BENCHMARKS = {"start": start.main, "restart": restart.main, "idle": idle.main}


def main():
    options = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    options.add_argument("names", nargs="*", metavar="NAME", help=", ".join(_BENCHMARKS))
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--services", type=int, default=1000)
    given = options.parse_args()
    process.subreaper()  # what a supervisor leaves behind is ours to end
    with tempfile.TemporaryDirectory(prefix="bench.") as folder:
        tools = native.build(folder)
        met = [_BENCHMARKS[name](tools, given) for name in given.names or _BENCHMARKS]
    sys.exit(not all(met))


main()

"""Speed and memory beside a loop in C and supervisord: `python -m tests.bench [NAME ...]`."""

import argparse
import subprocess
import sys
import tempfile

from supervisor.unix import process

from . import idle, native, restart, start


def _program(name):
    """Return a benchmark that is a program of its own."""

    def run(_tools, _options):
        print(f"\n{name}", flush=True)
        command = [sys.executable, "-m", f"tests.bench.bench_{name}"]
        return subprocess.run(command, check=False).returncode == 0

    return run


_BENCHMARKS = {
    "start": start.main,
    "restart": restart.main,
    "idle": idle.main,
    **{name: _program(name) for name in ("logs", "ipc", "pool", "neighbours")},
}


def main():
    options = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    options.add_argument("names", nargs="*", metavar="NAME", help=", ".join(_BENCHMARKS))
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--services", type=int, default=1000)
    given = options.parse_args()
    unknown = sorted({*given.names} - {*_BENCHMARKS})
    if unknown:
        options.error(f"no such benchmark: {' '.join(unknown)}")
    process.subreaper()  # what a supervisor leaves behind is ours to end
    with tempfile.TemporaryDirectory(prefix="bench.") as folder:
        tools = native.build(folder)
        met = [_BENCHMARKS[name](tools, given) for name in given.names or _BENCHMARKS]
    sys.exit(not all(met))


main()

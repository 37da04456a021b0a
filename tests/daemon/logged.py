"""Reading the logs of a keepd under test, and letting the services that print go on by steps."""

import contextlib
import os
import re

STAMP = re.compile(rb"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z ", re.MULTILINE)


def paths(one, key):
    """Return the files of a stream, the oldest first."""
    path = one.log_dir / f"{key}.log"
    rotated = sorted(path.parent.glob(f"{path.stem}.[0-9][0-9][0-9][0-9][0-9][0-9].log"))
    return [*rotated, *([path] if path.exists() else [])]


def whole(one, key):
    """Return all that is in the files of a stream."""
    return b"".join(path.read_bytes() for path in paths(one, key))


def unstamped(one, key):
    """Return the same without time stamps; each line must have one."""
    text = whole(one, key)
    assert len(STAMP.findall(text)) == len(text.removesuffix(b"\n").split(b"\n"))
    return STAMP.sub(b"", text)


def numbered(key, count):
    """Return what prints.lines prints."""
    return "".join(f"{key} line {n} {'x' * (n % 150)}\n" for n in range(count)).encode()


def size_of(one, key):
    return sum(path.stat().st_size for path in paths(one, key))


class Gate:
    """A FIFO through which services are let go on, step by step."""

    def __init__(self, one):
        os.mkfifo(one.folder / "gate")
        self.fd = os.open(one.folder / "gate", os.O_RDWR | os.O_NONBLOCK)

    def open(self, steps):
        """Let services take so many steps."""
        with contextlib.suppress(BlockingIOError):  # they have enough to do then
            os.write(self.fd, b"." * steps)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        os.close(self.fd)


def completed(one):
    return all(replica["state"] == "EXITED" for replica in one.replicas())


def drains(one, key):
    """Tell whether a run that has ended is not wholly in the files yet."""
    name, _, number = key.partition("/")
    return list((one.run_dir / "fifo" / name).glob(f"{number}.*"))

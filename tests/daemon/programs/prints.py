"""Services that print, in the way that the first word says."""

import os
import random
import signal
import sys

NAME = f"{os.environ['KEEPD_SERVICE']}/{os.environ['KEEPD_REPLICA']}"
RUN = os.environ["KEEPD_RUN"].rpartition(":")[2]


def say(data):
    while data:
        data = data[os.write(1, data) :]


def gated():
    """Wait for a byte in the FIFO `gate`, if there is one."""
    if os.path.exists("gate"):
        gate = os.open("gate", os.O_RDONLY)
        os.read(gate, 1)
        os.close(gate)


def lines(count):
    """Print numbered lines, 500 for each byte that comes through the gate, cut anywhere."""
    dice = random.Random(NAME)
    for first in range(0, int(count), 500):
        gated()
        numbers = range(first, min(first + 500, int(count)))
        text = "".join(f"{NAME} line {n} {'x' * (n % 150)}\n" for n in numbers).encode()
        while text:
            size = dice.choice((7, 100, 3000, 30000))
            say(text[:size])
            text = text[size:]


def blob(portions, size):
    """Print a line without end, a portion for each byte that comes through the gate."""
    for _ in range(int(portions)):
        gated()
        say(b"x" * int(size))


NOISE = {
    "line": b"x",
    "flood": b"y" * 99 + b"\n",
    "junk": bytes(range(256)),
    "escapes": b"\x1b[2J\x1b]0;gotcha\x07\x9b31m\rroot# ",
}


def noise(kind):
    """Print it for ever, as fast as it can."""
    text = NOISE[kind] * (65_536 // len(NOISE[kind]))
    while True:
        say(text)


def junk():
    """Print all bytes there are, and then stay."""
    say(bytes(range(256)) * 40)
    say(random.Random(1).randbytes(200_000))
    say(b"\n\xff\xfe\0\n\r\n\x1b]52;c;eA==\x07\x1b[2J\n")
    signal.pause()


def dies(how, size):
    """Print much, and last words without a newline, and be gone in the same moment."""
    say(b"y" * 99 + b"\n") if not int(size) else say((b"y" * 99 + b"\n") * (int(size) // 100))
    say(b"last words of run %s" % RUN.encode())
    if how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    os._exit(int(how))


def family():
    """Have a child that has something to say when it is told to end, after its parent has gone."""
    told, tell = os.pipe()
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])  # for the child, from its birth on
    if os.fork() == 0:
        os.close(tell)
        os.read(told, 1)  # the end of the parent
        signal.sigwait([signal.SIGTERM])
        say(b"child of run %s\n" % RUN.encode())
        say(b"its last words")
        os._exit(0)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
    os.close(told)
    say(b"parent of run %s\n" % RUN.encode())
    with open(f"said.{RUN}", "w"):
        signal.pause()


globals()[sys.argv[1]](*sys.argv[2:])

"""A service that bears witness: of its own starts and planned ends, of a double, of every line.

It holds a lock for life, and so does its child; whoever cannot get it says so in `two`. Each start
and each planned end is a line in `journal`: NAME RUN WORD PID LINES
TIME. TERM ends it, and so does USR1
(a crash). It prints "NAME RUN NUMBER" again and again, in writes that are cut anywhere.

Words: FOLDER, then `every=S` between two lines, `life=S` after which it crashes, `child` for one in
a session of its own, `notify` to say READY=1, `tells` to print that it is ready.
"""

import fcntl
import os
import random
import select
import signal
import socket
import sys
import time

ENDS = (0, 1, 3, -signal.SIGKILL)


def note(folder, name, text):
    fd = os.open(f"{folder}/{name}", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.write(fd, text.encode() + b"\n")
    os.close(fd)


class Witness:
    def __init__(self, folder, words):
        self.folder = folder
        self.words = dict(word.partition("=")[::2] for word in words)
        self.name = f"{os.environ['KEEPD_SERVICE']}/{os.environ['KEEPD_REPLICA']}"
        self.run = os.environ["KEEPD_RUN"].rpartition(":")[2]
        self.lines = 0
        self.dice = random.Random(f"{self.name} {self.run}")

    def notes(self, word):
        words = (self.name, self.run, word, os.getpid(), self.lines, time.monotonic())
        note(self.folder, "journal", " ".join(map(str, words)))

    def hold(self):
        path = f"{self.folder}/{self.name.replace('/', '.')}.lock"
        try:
            fcntl.flock(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            note(self.folder, "two", f"{self.name} run {self.run} is not alone")

    def tells(self):
        """Say READY=1; that nobody hears it is noted, and it is said again."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told:
            while True:
                try:
                    told.connect(os.environ["NOTIFY_SOCKET"])
                    told.send(b"READY=1")
                    return
                except OSError as error:
                    note(self.folder, "unheard", f"{time.monotonic()} {self.name} {error}")
                    select.poll().poll(50)

    def print_one(self):
        text = f"{self.name} {self.run} {self.lines} {'x' * self.dice.randrange(150)}\n".encode()
        self.lines += 1
        while text:
            size = self.dice.choice((7, 60, 3000))
            text = text[os.write(1, text[:size]) :]

    def ends(self, word, code):
        self.notes(word)
        if code < 0:
            os.kill(os.getpid(), -code)
        os._exit(code)

    def live(self):
        self.hold()
        self.notes("start")
        if "child" in self.words and os.fork() == 0:
            os.setsid()
            signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
            while True:
                signal.pause()
        if "tells" in self.words:
            os.write(1, b"ready\n")
        if "notify" in self.words:
            self.tells()
        every = float(self.words.get("every", "0.1"))
        left = float(self.words.get("life", "inf")) * (0.5 + self.dice.random())
        while left > 0:
            self.print_one()
            told = signal.sigtimedwait([signal.SIGTERM, signal.SIGUSR1], every)
            if told is not None and told.si_signo == signal.SIGTERM:
                self.ends("term", 0)
            left -= every if told is None else left
        self.ends("exit", self.dice.choice(ENDS))


def live(folder, *words):
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGUSR1])
    Witness(folder, words).live()


if __name__ == "__main__":
    live(*sys.argv[1:])

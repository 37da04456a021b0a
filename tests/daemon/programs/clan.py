"""A service with descendants that nobody would wish for: deaf to TERM, each away in its own way.

All of them keep stdout open, but `hidden`, which keeps nothing that tells whose it is. Words say
which there are; the leader obeys TERM, and is ready when all are there.
"""

import os
import signal
import socket
import sys

KINDS = ("deaf", "away", "daemon", "hidden")


def become(kind):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    if kind != "deaf":
        os.setsid()
    if kind in {"daemon", "hidden"} and os.fork():
        os._exit(0)
    with open(f"{kind}.{os.getpid()}", "w"):  # for the test to find it by
        os.close(begun[1])
    if kind == "hidden":
        null = os.open(os.devnull, os.O_RDWR)
        os.dup2(null, 1)
        os.dup2(null, 2)
        os.execve("/bin/sleep", ["sleep", "1000"], {})
    while True:
        signal.pause()


begun = os.pipe()
for kind in KINDS:
    if kind in sys.argv and os.fork() == 0:
        become(kind)
os.close(begun[1])
os.read(begun[0], 1)
if "NOTIFY_SOCKET" in os.environ:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told:
        told.connect(os.environ["NOTIFY_SOCKET"])
        told.send(b"READY=1")
if "crash" in sys.argv:
    sys.exit(3)
while True:
    signal.pause()

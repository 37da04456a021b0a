"""A service that holds a lock for life, and so do its children: a second one of it says so.

Words: `deaf` ignores TERM; `child` has a child in a session of its own that is deaf too.
"""

import fcntl
import os
import signal
import socket
import sys

NAME = f"{os.environ['KEEPD_SERVICE']}.{os.environ['KEEPD_REPLICA']}"


def hold():
    lock = os.open(f"{NAME}.lock", os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        with open("two", "a") as file:
            file.write(f"{os.environ['KEEPD_RUN']} is not alone\n")


def stay():
    while True:
        signal.pause()


hold()
if "deaf" in sys.argv:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if "child" in sys.argv and os.fork() == 0:
    os.setsid()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    stay()
if "NOTIFY_SOCKET" in os.environ:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told:
        told.connect(os.environ["NOTIFY_SOCKET"])
        told.send(b"READY=1")
print(f"{os.environ['KEEPD_RUN'].rpartition(':')[2]} holds", flush=True)
stay()

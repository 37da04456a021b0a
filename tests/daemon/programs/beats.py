"""A service that tells its notify socket what its words say, each for ever or until the next.

beats.py WORD..: `ready` says READY=1; `beat` beats every 50 ms from then on; `child` lets a child
say the rest; `stuck` lets a thread print every 50 ms, while the one that should beat is stuck;
anything else is said as it stands.
"""

import os
import select
import socket
import sys
import threading


def prints():
    while True:
        print("alive", flush=True)
        select.poll().poll(50)


told = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
told.connect(os.environ["NOTIFY_SOCKET"])
names = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")
print(*(os.environ.get(name) for name in names), os.getpid(), flush=True)
pause = None
for word in sys.argv[1:]:
    if word == "beat":
        pause = 50
    elif word == "child":
        if os.fork():
            select.poll().poll()
    elif word == "stuck":
        threading.Thread(target=prints).start()
        select.poll().poll()
    else:
        told.send({"ready": "READY=1"}.get(word, word).encode())
while True:
    select.poll().poll(pause)
    told.send(b"WATCHDOG=1")

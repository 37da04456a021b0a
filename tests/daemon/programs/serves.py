"""An HTTP service: serves.py PORT [mute]. It answers, or with `mute` accepts and never does.

Where a file `sick` is in its folder, it answers 500.
"""

import os
import signal
import socket
import sys

with socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=100) as door:
    print("listens", flush=True)
    while "mute" in sys.argv:
        signal.pause()
    while True:
        visitor, _ = door.accept()
        with visitor:
            visitor.recv(4096)
            sick = os.path.exists("sick")
            visitor.sendall(b"HTTP/1.1 500 Sick\r\n\r\n" if sick else b"HTTP/1.1 200 OK\r\n\r\n")

"""A service with a neighbour's care: each message to its socket is printed, and sent back."""

import os
import socket

with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as door:
    door.bind("echo.sock")
    door.listen()
    print("listens", flush=True)
    while True:
        visitor, _ = door.accept()
        while data := visitor.recv(4096):
            os.write(1, data + b"\n")
            visitor.send(data)

"""A service that tells its notify socket more than it should, and READY=1 last."""

import os
import signal
import socket

with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told:
    told.connect(os.environ["NOTIFY_SOCKET"])
    told.send(b"STOPPING=1\nSTATUS=lies\nMAINPID=1\nERRNO=2\nBUSERROR=x")
    told.send(b"FDSTORE=1\nFDNAME=lies")
    told.send(b"MAINPID=1\nREADY=1\nSTATUS=lies")
while True:
    signal.pause()

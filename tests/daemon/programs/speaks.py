"""A service that is ready at once, and says in its status how often it has been sent USR1."""

import itertools
import os
import signal
import socket

signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
told = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
told.connect(os.environ["NOTIFY_SOCKET"])  # once: whoever hears us has to stay the same
told.send(b"READY=1")
for times in itertools.count(1):
    signal.sigwait({signal.SIGUSR1})
    told.send(f"STATUS=asked {times} times".encode())

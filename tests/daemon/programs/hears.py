"""A service that prints the name of every signal it hears, and ends by TERM."""

import signal
import sys

heard = signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP, signal.SIGCONT}
signal.pthread_sigmask(signal.SIG_BLOCK, heard)
print("listens", flush=True)
while True:
    number = signal.sigwait(heard)
    print(signal.Signals(number).name, flush=True)
    if number == signal.SIGTERM:
        sys.exit(0)

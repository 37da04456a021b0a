"""Services that are Python functions."""

import os
import signal


def wait():
    print(*os.environ)
    while True:
        signal.pause()

"""Services that are Python functions."""

import os
import signal


def wait():
    print(*os.environ)
    while True:
        signal.pause()


def say(*words):
    print(*words)


def tell_environment():
    print(*(f"{name}={value}" for name, value in sorted(os.environ.items())), sep="\n")
    print("end")

"""Functions that are services, for the tests of births by an interpreter's zygote."""

import atexit
import os
import signal
import sys
import threading


def shell(script):
    os.execvp("sh", ["sh", "-c", script])


def arguments(*args, **kwargs):
    print(args, kwargs, os.getcwd(), os.environ.get("COLOUR"))


def returns():
    return "what a function returns is nobody's exit code"


def leaves(code):
    sys.exit(code)


def raises():
    raise ValueError("as it must be")


def prints_and_waits():
    print("at once, and not in blocks")
    print("this too", file=sys.stderr)
    signal.pause()


def leaves_loose_ends():
    atexit.register(print, "exit handlers are run")
    threading.Thread(target=lambda: print("threads are joined")).start()
    print("not yet flushed", end="")
    sys.stdout.write("")


def hangs():
    signal.pause()


def descriptors():
    for name in sorted(os.listdir("/proc/self/fd")):
        try:
            print(name, os.readlink(f"/proc/self/fd/{name}"))
        except OSError:  # the one that lists
            continue
    print("end")


class Deep:
    @staticmethod
    def method():
        print("found")


NOT_A_FUNCTION = 7

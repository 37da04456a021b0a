"""Functions that are services, for the tests of births by an interpreter's zygote."""

import atexit
import os
import resource
import signal
import socket
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


def set_up():
    """Print all that can be set up, and whether what was given up can be had again."""
    print(os.getresuid(), os.getresgid(), sorted(os.getgroups()), os.getcwd())
    print(oct(os.umask(0)), os.getpriority(os.PRIO_PROCESS, 0))
    for name in ("NOFILE", "CORE"):
        print(name, *resource.getrlimit(getattr(resource, f"RLIMIT_{name}")))
    for call in (os.setuid, os.setgid, os.seteuid, lambda _: os.setgroups([0])):
        try:
            call(0)
        except PermissionError:
            print("denied")
    sys.stdout.flush()
    with open("/dev/stdout", "w", encoding="ascii") as again:
        again.write("and again\n")


def ready():
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.sendto(b"READY=1\nSTATUS=it is me", os.environ["NOTIFY_SOCKET"])
    signal.pause()


if __name__ == "__main__":
    globals()[sys.argv[1]]()

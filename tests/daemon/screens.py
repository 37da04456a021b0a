"""A terminal for a keepd."""

import contextlib
import os


class Screen:
    """A pseudo-terminal: what a keepd shows on it, and keys that are pressed on it."""

    def __init__(self):
        self.fd, self.slave = os.openpty()
        os.set_blocking(self.fd, False)
        self.shown = b""

    def press(self, key):
        os.write(self.fd, key)

    def look(self):
        """Return all that has been shown so far."""
        with contextlib.suppress(BlockingIOError, OSError):
            while data := os.read(self.fd, 1 << 16):
                self.shown += data
        return self.shown

    def __enter__(self):
        return self

    def __exit__(self, *_):
        os.close(self.fd)
        os.close(self.slave)

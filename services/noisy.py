"""Prints without end. Lesson: rotation, and that no line is lost where one file ends.

Its lines are numbered, so that one can see it: `sort -n` over all of its log files knows no gap
and no double. It is tame enough to be watched; give it `RATE: "20000"` to see what the log writer
bears, and that the other services do not mind.
"""

from __future__ import annotations

import itertools
import os
import time

RATE = float(os.environ.get("RATE", "1"))  # lines a second
TURN = max(0.1, 1 / RATE)  # seconds between two writes


def main() -> None:
    """Print numbered lines until TERM."""
    numbers = itertools.count(1)
    while True:
        lines = itertools.islice(numbers, round(RATE * TURN))
        print("".join(f"{n:9} {'la ' * (n % 30)}\n" for n in lines), end="", flush=True)
        time.sleep(TURN)


if __name__ == "__main__":
    main()

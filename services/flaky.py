"""Crashes now and then. Lesson: backoff, and how a good life makes earlier failures forgotten.

It lives for up to a few seconds and fails. keepd waits a little before the first restart, longer
before each further one, and begins anew when it has lived for `reset_after`. `keepd status` shows
the waiting in words, and nothing else is disturbed.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time


def main() -> None:
    """Live for a while, then crash."""
    longest = float(os.environ.get("LONGEST", "6"))
    life = random.uniform(0.1, longest)
    print(f"flaky is up, and will fall over in {life:.1f} s", flush=True)
    time.sleep(life)
    if random.random() < 0.5:
        os.kill(os.getpid(), signal.SIGKILL)  # as when memory runs out: ended by a signal
    print("flaky cannot go on", file=sys.stderr, flush=True)
    sys.exit(1)


if __name__ == "__main__":
    main()

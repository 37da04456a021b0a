"""`python -m tests.sim SEED` shows one schedule; `python -m tests.sim FIRST:LAST` runs many."""

import gc
import sys
import time

from .schedule import BrokenPromiseError, replay


def main(word):
    if ":" not in word:
        return show(int(word))
    first, last = map(int, word.split(":"))
    gc.set_threshold(200_000)  # the worlds leave little behind, and it is looked for too often
    before = time.process_time()
    try:
        steps = [replay(seed) for seed in range(first, last)]
    except BrokenPromiseError as broken:
        print(broken)
        return 1
    spent = time.process_time() - before
    print(
        f"{len(steps)} schedules, {sum(steps)} steps, at least {min(steps)}, {spent:.1f} s of CPU"
    )
    return 0


def show(seed):
    try:
        print(f"held for {replay(seed, trace=print)} steps")
    except BrokenPromiseError as broken:
        print(broken)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

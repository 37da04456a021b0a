"""Logs what it did. Lesson: records with a level and fields, and a service that says how it is.

`supervisor.worker` is what a Python service may import of keepd: a logging handler that keeps
level, logger, exception and extra fields apart from the text (`log: {records: true}`; see
`keepd logs --json reports`), and ready, status and beat. Without keepd it does no harm: run by
hand this program logs to stderr.
"""

from __future__ import annotations

import itertools
import logging
import random
import time

from supervisor import worker

log = logging.getLogger("reports")


def report(number: int) -> None:
    """Make a report; each tenth fails."""
    began = time.monotonic()
    time.sleep(random.uniform(0.01, 0.2))
    if number % 10 == 0:
        raise ValueError(f"report {number} makes no sense")
    took = round(time.monotonic() - began, 3)
    log.info("report %d is made", number, extra={"report": number, "seconds": took})


def main(pause: float = 5.0) -> None:
    """Make reports until TERM."""
    logging.basicConfig(level="INFO", handlers=[worker.Handler()])
    worker.ready()
    for number in itertools.count(1):
        worker.beat()  # from the loop that does the work: a thread would beat for a hung one too
        worker.status(f"{number - 1} reports made")
        try:
            report(number)
        except ValueError:
            log.exception("cannot make a report", extra={"report": number})
        time.sleep(pause)


if __name__ == "__main__":
    main()

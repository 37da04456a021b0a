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


def report():
    """Say how it is, and log records until told to end."""
    import logging  # noqa: PLC0415 - nothing of it is for the others here

    from supervisor import worker  # noqa: PLC0415

    class Short(logging.Formatter):
        def formatException(self, ei):  # noqa: N802 - logging's name
            return f"because of\n{ei[1]!r}"

    handler = worker.Handler()
    handler.setFormatter(Short())
    logging.basicConfig(level="INFO", handlers=[handler])
    logger = logging.getLogger("shop.jobs")
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
    worker.status("at work")
    worker.ready()
    worker.beat()
    print("printed", flush=True)
    logger.error("job %d", 7, extra={"tries": 3})
    try:
        {}["nothing"]
    except KeyError:
        logger.exception("failed")
    while True:
        signal.sigwait({signal.SIGUSR1})
        logger.info("told again", extra={"pad": "x" * 10_000})

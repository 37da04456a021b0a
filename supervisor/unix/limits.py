"""Limits of our own process, and what of them must not reach a service."""

from __future__ import annotations

import contextlib
import resource
from collections.abc import Iterator


def address_space() -> int:
    """Return how much we have of what RLIMIT_AS bounds, in bytes."""
    with open("/proc/self/statm", "rb") as file:
        return int(file.read().split()[0]) * resource.getpagesize()


def raise_nofile() -> int:
    """Raise our soft limit of descriptors to the hard one; return the soft one we were born with.

    That old value belongs to the children: programs that use select() break above 1024.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):  # "unlimited" may be more than the kernel gives
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return soft


@contextlib.contextmanager
def lowered_nofile(soft: int) -> Iterator[None]:
    """Have this soft limit meanwhile, so that a process spawned in it is born with it.

    Descriptors that are open stay usable; no new one can be opened above the limit.
    """
    ours, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == ours:
        yield
        return
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, hard), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (ours, hard))

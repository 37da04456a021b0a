"""Crash-safe Process, Pool, Queue and Lock. Usable without the daemon; knows nothing of it.

What stands on multiprocessing is imported when it is asked for: the daemon's own processes, which
use the pidfd, the relay and the file lock, never carry it.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .crash import TaskCrashed, TaskTimeout
    from .filelock import FileLock
    from .lock import Lock, RLock
    from .pool import Pool
    from .process import Process
    from .queue import JoinableQueue, Queue, SimpleQueue
    from .relay import RelayQueue

__all__ = [
    "FileLock",
    "JoinableQueue",
    "Lock",
    "Pool",
    "Process",
    "Queue",
    "RLock",
    "RelayQueue",
    "SimpleQueue",
    "TaskCrashed",
    "TaskTimeout",
]


def __getattr__(name: str) -> object:
    homes = {
        "FileLock": "filelock",
        "Lock": "lock",
        "RLock": "lock",
        "Pool": "pool",
        "TaskCrashed": "crash",
        "TaskTimeout": "crash",
        "Process": "process",
        "JoinableQueue": "queue",
        "Queue": "queue",
        "SimpleQueue": "queue",
        "RelayQueue": "relay",
    }
    if name not in homes:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{homes[name]}"), name)

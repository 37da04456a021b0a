"""Signals: a clean slate, and a descriptor that tells which have come.

Handlers do nothing here and nowhere else: the interpreter writes the signal's number into a pipe,
and the loop reads it when it is ready to act. A signal can so neither be lost between a check and
a wait nor interrupt anything half done.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterable, Iterator
from types import FrameType

# CPython ignores these two, and so do our own processes: a peer that has gone is an error to be
# handled where it happens, not our death. What we start gets them back (see every birth).
OURS_IGNORED = frozenset({signal.SIGPIPE, signal.SIGXFSZ})
# What has no meaning for a loop of ours, and would end it all the same.
_STRAY = frozenset(
    {signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM, signal.SIGVTALRM, signal.SIGPROF}
    | {signal.SIGIO, signal.SIGPWR, *range(signal.SIGRTMIN, signal.SIGRTMAX + 1)}
)
_FIXED = frozenset({signal.SIGKILL, signal.SIGSTOP})
ALL = frozenset(signal.valid_signals())


def let_through() -> None:
    """Block no signal, whatever we were started with."""
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def reset(*, mask: bool = True) -> None:
    """Give every signal its default action and empty the mask, whatever we were started with.

    Only SIGPIPE and SIGXFSZ stay ignored. Whoever ignored SIGCHLD or blocked SIGTERM before us
    would otherwise decide over the services.
    """
    signal.set_wakeup_fd(-1)
    for signum in ALL - _FIXED:
        ours = signal.SIG_IGN if signum in OURS_IGNORED else signal.SIG_DFL
        if signal.getsignal(signum) is not ours:
            signal.signal(signum, ours)
    if mask:
        let_through()


@contextlib.contextmanager
def held_back() -> Iterator[None]:
    """Block every signal meanwhile: between fork and reset a child would run our handlers."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ALL)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def number(name: str) -> int:
    """Return the number of "TERM", "SIGTERM" or "15"; ValueError in words if there is none."""
    if name.isdecimal() and int(name) in ALL:
        return int(name)
    word = name.upper().removeprefix("SIG")
    base, plus, offset = word.partition("+")
    known = signal.Signals.__members__.get("SIG" + base)
    if known is None or (plus and not offset.isdecimal()):
        raise ValueError(f"no such signal: {name!r}")
    found = int(known) + int(offset or 0)
    if found not in ALL:
        raise ValueError(f"no such signal: {name!r}")
    return found


def _nothing(_signum: int, _frame: FrameType | None) -> None:
    """Be the handler of every signal that is listened to."""


class SignalPipe:
    """The wake-up descriptor: readable when a signal that is listened to has come.

    A process that has one is not ended by signals that mean nothing to it.
    """

    def __init__(self, signums: Iterable[int] = ()) -> None:
        self._read, self._write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        for signum in _STRAY.difference(signums):  # to ignore one that waits is to lose it
            signal.signal(signum, signal.SIG_IGN)
        self.listens(signums)

    def listens(self, signums: Iterable[int]) -> None:
        """Hear of these signals too, from now on."""
        for signum in signums:
            signal.signal(signum, _nothing)
            signal.siginterrupt(signum, False)

    def fileno(self) -> int:
        """Return the descriptor to wait on."""
        return self._read

    def take(self) -> list[int]:
        """Return the signals that have come since the last call, each once, in order."""
        came: dict[int, None] = {}
        with contextlib.suppress(BlockingIOError):
            while chunk := os.read(self._read, 4096):
                came.update(dict.fromkeys(chunk))
        return list(came)

    def close(self) -> None:
        """Listen no longer: the signals get their default action back."""
        reset()
        os.close(self._read)
        os.close(self._write)

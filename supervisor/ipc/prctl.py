"""One property of this very process, set in the kernel: what Python has no word for."""

from __future__ import annotations

import ctypes
import errno
import os

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36


def prctl(option: int, value: int) -> None:
    """Set it; OSError if the kernel refuses."""
    libc = ctypes.CDLL(None, use_errno=True)
    while libc.prctl(option, ctypes.c_ulong(value), 0, 0, 0) == -1:
        number = ctypes.get_errno()
        if number != errno.EINTR:
            raise OSError(number, f"prctl {option}: {os.strerror(number)}")

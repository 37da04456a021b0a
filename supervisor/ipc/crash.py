"""What became of a task whose worker died while it ran: the error that its caller gets."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from multiprocessing import ProcessError


@dataclass(frozen=True, slots=True)
class Death:
    """The end of a worker. `exitcode` is negative for a signal, None where nobody knows it."""

    pid: int | None
    exitcode: int | None

    def __str__(self) -> str:
        name = self.signal
        how = name.name if name else f"exit code {self.exitcode}"
        return f"worker {self.pid} died ({how})"

    @property
    def signal(self) -> signal.Signals | None:
        """The signal that ended it, if one did and has a name."""
        number = -(self.exitcode or 0)
        return signal.Signals(number) if number in signal.valid_signals() else None


class TaskCrashed(ProcessError):  # noqa: N818 - as TimeoutExpired is no TimeoutExpiredError
    """The worker that ran the task died, and the task may not run again.

    `signal` is what killed it (None: it exited), `exitcode` is as subprocess has it, `attempts` is
    how often the task was begun, and `pid` is the worker's.
    """

    def __init__(self, text: str, death: Death, attempts: int) -> None:
        super().__init__(text, death, attempts)
        self.signal = death.signal
        self.exitcode = death.exitcode
        self.pid = death.pid
        self.attempts = attempts

    def __str__(self) -> str:
        return str(self.args[0])


class TaskTimeout(TaskCrashed):
    """The task ran for longer than `task_timeout`, and its worker was killed."""

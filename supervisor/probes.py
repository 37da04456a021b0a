"""The master's side of all probes: what is being asked, and the prober that asks it.

The prober is a process of its own, forked when first needed and again when it has died; then all
that is still being asked is asked anew. Its death costs time, never an answer. Nothing here
blocks, and news of a run that is asked about no longer are dropped.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import os
import select
import signal
import socket
import time
from collections.abc import Callable, Mapping
from typing import Any

from supervisor import records
from supervisor.core.spec import Health, Ready
from supervisor.unix import process
from supervisor.unix.lines import LineConnection
from supervisor.unix.poller import Poller

# Where the log of a run begins: path of the stream's current file, the number that the file it
# begins in has or will get when it is rotated, and the offset in that file.
Begin = tuple[str, int, int]
Order = Mapping[str, Any]  # to bear a command by, as a zygote takes it

TRY_LIMIT = 2.0  # seconds that one try may take to find out whether a service is ready
EXEC_LIMIT = 10.0  # and those of a command
PACE = 0.5  # seconds at least from one birth of a prober to the next


def _live(sock_fd: int, pause: float) -> int:
    """Be the prober, after a pause; leave at once where the master has gone meanwhile.

    The one import at run time: asyncio and all that comes with it must stay out of the master.
    """
    hangup = select.poll()
    hangup.register(sock_fd, select.POLLRDHUP)
    if hangup.poll(pause * 1000):
        return 0
    return int(importlib.import_module("supervisor.prober").main(sock_fd))


class Probes:
    """Asks on behalf of many runs at once.

    ready(id, run) is told once, note(id, run, why) often, and health(id, run, why) for each failed
    check, and with None for the first that is passed after that. They are called from inside the
    poller's wait, never from start() or stop(); with one exception: that there can be no prober is
    noted at once.
    """

    def __init__(
        self,
        poller: Poller,
        ready: Callable[[str, int], None],
        note: Callable[[str, int, str], None],
        health: Callable[[str, int, str | None], None],
    ) -> None:
        """Ask nothing yet; there is no process before the first start()."""
        self.pid: int | None = None  # of the prober that lives
        self._poller = poller
        self._ready = ready
        self._note = note
        self._health = health
        self.hooked: Callable[[int, str], None] = lambda _number, _why: None
        self._hooks: set[int] = set()  # commands that run, or are on their way to the prober
        self._asked: dict[str, dict[str, Any]] = {}  # by id: one run of a replica at a time
        self._connection: LineConnection | None = None
        self._pidfds: set[int] = set()  # of probers that live or are to be reaped
        self._born = -PACE

    def start(
        self, key: str, run: int, check: Ready | Health, more: Begin | Order | None = None
    ) -> None:
        """Ask until it is ready, or about its health for as long as it is not forgotten.

        Where `log` is set, its log is read from `more` on; a command is run by the order `more`.
        """
        self.forget(key)
        live = isinstance(check, Health)
        how = {name: value for name, value in records.asdict(check).items() if value is not None}
        how["limit"] = check.timeout if live else EXEC_LIMIT if check.exec else TRY_LIMIT
        message = {"probe": key, "run": run, "live": live, "check": how}
        message["order" if check.exec else "begin"] = more
        self._asked[key] = message
        if self._connection is not None:
            self._connection.send(message)
        else:
            self._begin()

    def stop(self, key: str, run: int) -> None:
        """Ask no longer; an unknown run is fine."""
        if self._is_asked(key, run):
            self.forget(key)

    def hook(self, number: int, order: Order, limit: float) -> None:
        """Run a command once; hooked(number, why) is called when it is over, "" if all went well.

        It may be called at once where there can be no prober.
        """
        self._hooks.add(number)
        if self._connection is None:
            self._begin()
        if self._connection is not None:
            self._connection.send({"hook": number, "order": order, "limit": limit})

    def hurry(self, limit: float) -> None:
        """Leave so many seconds to all hooks that run."""
        if self._connection is not None:
            self._connection.send({"hurry": limit})

    def again(self) -> None:
        """Start a prober where there should be one, and could not be; called now and then."""
        if self._asked and self._connection is None:
            self._begin()

    def close(self) -> None:
        """End the prober."""
        self._asked.clear()
        self._hooks.clear()
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        for pidfd in self._pidfds:
            process.send_signal(pidfd, signal.SIGKILL)
            self._poller.forget(pidfd)
            os.close(pidfd)
        self._pidfds.clear()
        self.pid = None

    def _is_asked(self, key: str, run: int) -> bool:
        return key in self._asked and self._asked[key]["run"] == run

    def forget(self, key: str) -> None:
        """Ask nothing more of this replica, whatever its run."""
        asked = self._asked.pop(key, None)
        if asked is not None and self._connection is not None:
            self._connection.send({"forget": key, "run": asked["run"]})

    def _begin(self) -> None:
        try:
            self._connection = self._fork()
        except OSError as error:  # tried again with the next start(), or again()
            words = (error.strerror or str(error)).lower()
            for key, asked in list(self._asked.items()):
                self._note(key, asked["run"], f"cannot start the prober: {words}")
            self._lose_hooks(f"cannot start the prober: {words}")
            return
        for asked in self._asked.values():
            self._connection.send(asked)

    def _lose_hooks(self, why: str) -> None:
        lost, self._hooks = self._hooks, set()
        for number in lost:
            self.hooked(number, why)

    def _fork(self) -> LineConnection:
        now = time.monotonic()
        pause = min(max(0.0, self._born + PACE - now), PACE)
        self._born = now + pause
        ours, theirs = socket.socketpair()
        with theirs:
            fd = theirs.fileno()
            try:
                self._hold(process.fork("prober", functools.partial(_live, fd, pause), keep=(fd,)))
                return LineConnection(ours, self._poller, self._heard, self._died)
            except OSError:
                ours.close()  # which ends the prober, if it has been born
                raise

    def _hold(self, pid: int) -> None:
        pidfd = process.pidfd_open(pid)
        self._pidfds.add(pidfd)
        self._poller.watch(pidfd, lambda _: self._reap(pidfd))
        self.pid = pid

    def _reap(self, pidfd: int) -> None:
        self._poller.forget(pidfd)
        self._pidfds.discard(pidfd)
        with contextlib.suppress(ChildProcessError):  # reaped as one of the master's children
            os.waitid(os.P_PIDFD, pidfd, os.WEXITED | os.WNOHANG)
        os.close(pidfd)

    def _heard(self, message: dict[str, Any]) -> None:
        match message:
            case {"ready": str(key), "run": int(run)}:
                if self._is_asked(key, run):
                    del self._asked[key]
                    self._ready(key, run)
            case {"note": str(key), "run": int(run), "text": str(text)}:
                if self._is_asked(key, run):
                    self._note(key, run, text)
            case {"hooked": int(number), "text": str(text)}:
                self._hooks.discard(number)
                self.hooked(number, text)
            case {"passed": str(key), "run": int(run)}:
                if self._is_asked(key, run):
                    self._health(key, run, None)
            case {"failed": str(key), "run": int(run), "text": str(text)}:
                if self._is_asked(key, run):
                    self._health(key, run, text)

    def _died(self) -> None:
        self._connection = None
        self.pid = None
        for pidfd in self._pidfds:
            # Never two, even if it has only lost its socket.
            process.send_signal(pidfd, signal.SIGKILL)
        self._lose_hooks("the prober that ran it was killed")
        if self._asked and self._connection is None:
            self._begin()

"""The log writer: the only process that writes log files.

It is the single consumer of one RelayQueue whose producers are the FIFOs of all runs, under a lock
on the log directory that the kernel releases with it. It may be killed at any instant; what it has
not committed its successor completes. It parses nothing that a service says, keeps no line in
memory, never blocks on the master, and lets the trouble of one stream hold up no other.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import time
from collections.abc import Callable
from typing import Any

from supervisor.ipc.filelock import FileLock
from supervisor.ipc.relay import RelayQueue
from supervisor.unix.poller import Poller

from . import rivals
from .compress import Compressor
from .files import LogDirectory
from .formats import Rules
from .lanes import LAST_TURNS, Lane, Run, lane_of
from .masters import Masters
from .notes import Notebook
from .stream import Stream

_RETRY = 1.0  # seconds between two tries of what could not be written
_LAST_WORDS = 2.0  # seconds for the master to take what is told to it
_LOCK_PATIENCE = 5.0
_LOOK = 1.0  # seconds for another log writer to be gone by itself


class Writer:
    """The loop: hear the master, take turns with the streams, sleep when all is quiet."""

    def __init__(self, anchor: socket.socket, run_dir: str, log_dir: str) -> None:
        folder = os.path.join(run_dir, "inflight")
        os.makedirs(folder, 0o700, exist_ok=True)
        self._log_dir = log_dir
        self._top = LogDirectory(log_dir, self._moved)
        self._folder = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._lock = FileLock(log_dir)
        self._poller = Poller()
        self._queue: RelayQueue[str] = RelayQueue()
        self._poller.watch(self._queue.fileno(), lambda _: None)
        self._master = Masters(anchor, self._poller, self._heard, self._left_alone)
        self._lanes: dict[str, Lane] = {}
        self._ending: dict[str, Lane] = {}  # to be emptied without waiting for more
        self._stuck: dict[str, Lane] = {}  # to be tried again
        self._muted: dict[str, Lane] = {}  # to be told of what is suppressed
        self._gzip = Compressor(self._poller, self._top, self._trouble)
        self._leaving = False
        self._quitting = False
        self._watched = False  # nothing may outlive the anchor

    def run(self, bereaved: Callable[[], None] | None = None) -> int:
        """Write logs until told to leave, or left alone; return the exit code."""
        self._watched = bereaved is not None
        if not self._locked():
            return 1
        self._book = Notebook(self._folder)
        for name in list(self._book.slots):
            self._turn(self._lane(name))
        while not self._leaving:
            self._poller.wait(self._limit())
            if self._watched:
                self._master.urge()
            self._round()
        if bereaved is not None and not self._quitting:
            bereaved()
        self._leave()
        return 0

    def _left_alone(self) -> None:
        self._leaving = True

    def _locked(self) -> bool:
        if self._lock.acquire(_LOOK):
            return True
        told = False
        rivals.end_stopped(self._log_dir)
        while not self._lock.acquire(_LOCK_PATIENCE):
            self._poller.wait(0)
            if not told:
                self._master.tell({"trouble": "cannot write logs: another log writer does"})
                told = True
            if self._leaving:
                return False
        return True

    def _moved(self) -> None:
        """Have the lock on the log directory that has been put into the place of ours."""
        lock = FileLock(self._log_dir)
        if not lock.acquire(0):
            raise OSError("another log writer writes into the new log directory")
        self._lock.release()
        self._lock = lock

    def _limit(self) -> float | None:
        if self._ending:
            return 0.0
        rest = self._queue.rest()
        self._poller.change(self._queue.fileno(), 0 if rest else select.EPOLLIN)
        limits = [rest] if rest else []
        limits += [lane.patience() or 0.0 for lane in self._muted.values()]
        if self._stuck:
            soonest = min(lane.retry_at for lane in self._stuck.values())
            limits.append(max(soonest - time.monotonic(), 0.0))
        others = (self._gzip.limit(), self._master.patience() if self._watched else None)
        limits += [limit for limit in others if limit is not None]
        return min(limits, default=None)

    def _round(self) -> None:
        if not self._queue.rest():
            for name in dict.fromkeys(map(lane_of, self._queue.poll(0))):
                if name in self._stuck:
                    self._stuck[name].drop(self._queue)
                else:
                    self._turn(self._lanes[name])
        for lane in list(self._ending.values()):
            self._turn(lane)
        for lane in [lane for lane in self._muted.values() if not lane.patience()]:
            self._turn(lane)
        self._gzip.go_on()
        if self._stuck:
            now = time.monotonic()
            for lane in [lane for lane in self._stuck.values() if lane.retry_at <= now]:
                self._turn(lane)

    def _turn(self, lane: Lane) -> bool:
        """Write one batch of a stream; tell whether there may be more of it at once."""
        try:
            more = self._step(lane)
        except Exception as error:  # noqa: BLE001 - one stream's trouble must not end the others
            self._stop(lane, error)
            return False
        if lane.stream and lane.stream.compressible:
            lane.stream.compressible = False
            self._gzip.want(lane.id)
        self._muted.pop(lane.id, None)
        if lane.patience() is not None:
            self._muted[lane.id] = lane
        if self._stuck.pop(lane.id, None):
            self._master.tell({"trouble": f"the log of {lane.id} is written again"})
        return more

    def _step(self, lane: Lane) -> bool:
        stream = lane.stream
        if stream is None:
            stream = lane.stream = Stream(lane.id, self._top, self._book, self._folder)
        stream.recover()
        if lane.id in self._stuck:
            lane.leave(self._queue)  # it may have been another run whose words were dropped
        if not lane.runs:
            return self._retire(lane, stream)
        run = lane.runs[0]
        if not lane.begun and (not self._begin(lane, stream, run) or not run.ended):
            return True  # what there is of it is told by the queue
        if lane.id not in self._queue:
            self._hear(lane)
        taken = lane.take(self._queue)
        if not taken:
            stream.tell_omissions()
        if taken or not run.ended:
            return bool(taken)
        stream.end_line()
        stream.end_record()
        self._finish(lane, run)
        return bool(lane.runs)

    def _retire(self, lane: Lane, stream: Stream) -> bool:
        """Forget a stream of which only a note was left, if nobody has asked for it to the end."""
        if self._quitting:
            stream.end_line()
            stream.end_record()
            stream.forget()
            del self._lanes[lane.id]
        return False

    def _begin(self, lane: Lane, stream: Stream, run: Run) -> bool:
        try:
            run.open()
        except FileNotFoundError:
            if not run.ended:
                raise
            self._finish(lane, run)  # somebody has removed it, and what was in it
            return False
        place = stream.begin(run.number, run.rules)
        lane.begun = True
        self._hear(lane)
        self._tell_begun(lane, run, place)
        return True

    def _tell_begun(self, lane: Lane, run: Run, place: tuple[int, int]) -> None:
        index, size = place
        self._master.tell({"opened": lane.id, "run": run.number, "index": index, "size": size})

    def _finish(self, lane: Lane, run: Run) -> None:
        lane.leave(self._queue)
        run.close()
        lane.runs.popleft()
        lane.begun = False
        self._master.tell({"drained": lane.id, "run": run.number})
        if lane.runs:
            self._ending[lane.id] = lane  # the next run is due
            return
        self._ending.pop(lane.id, None)
        del self._lanes[lane.id]
        assert lane.stream is not None
        lane.stream.forget()

    def _hear(self, lane: Lane) -> None:
        """Have the run that is read in the queue; in no hurry unless it is over."""
        run = lane.runs[0]
        lane.listen(self._queue)
        if run.ended:
            self._ending[lane.id] = lane
        else:
            self._ending.pop(lane.id, None)

    def _stop(self, lane: Lane, error: Exception) -> None:
        """Leave a stream alone for a while; its FIFO fills up, or is emptied, nobody else's."""
        lane.leave(self._queue)
        self._ending.pop(lane.id, None)
        self._muted.pop(lane.id, None)
        drops = bool(lane.runs) and lane.runs[0].rules.drop and lane.stream is not None
        if lane.id not in self._stuck:
            why = error.strerror or str(error) if isinstance(error, OSError) else repr(error)
            what = "dropping what it prints and " if drops else ""
            told = f"cannot write the log of {lane.id}: {why}; {what}trying again every second"
            self._master.tell({"trouble": told})
        lane.retry_at = time.monotonic() + _RETRY
        self._stuck[lane.id] = lane
        if drops:
            lane.begin_to_drop(self._queue)

    def _lane(self, name: str) -> Lane:
        if name not in self._lanes:
            self._lanes[name] = Lane(name)
        return self._lanes[name]

    def _heard(self, message: dict[str, Any]) -> None:
        match message:
            case {"open": str(name), "run": int(number), "fifo": str(fifo), "log": dict(log)}:
                self._open(name, Run(number, fifo, Rules(**log)))
            case {"records": str(fifo), "of": str(name), "run": int(number)}:
                self._take_records(self._lane(name), number, fifo)
            case {"end": str(name), "run": int(number)}:
                self._end(name, number)
            case {"quit": True}:
                self._leaving = self._quitting = True
            case _:
                self._master.tell({"trouble": f"cannot understand the master: {message}"})

    def _open(self, name: str, run: Run) -> None:
        lane = self._lane(name)
        for known in lane.runs:
            if known.number == run.number:  # it is told anew: its rules may be others
                known.rules = run.rules
                if lane.begun and lane.stream is not None and known is lane.runs[0]:
                    lane.stream.rules = run.rules
                    self._tell_begun(lane, known, lane.stream.begin(run.number, run.rules))
                return
        if lane.runs and run.number < lane.runs[0].number:  # it was drained: its turn has passed
            self._master.tell({"drained": name, "run": run.number})
            return
        with contextlib.suppress(OSError):  # tried again, and told, when it is its turn
            run.open()  # now: as long as we have it open, its bytes are kept
        lane.runs.append(run)
        if len(lane.runs) == 1 and lane.id not in self._stuck:
            self._ending[name] = lane

    def _take_records(self, lane: Lane, number: int, fifo: str) -> None:
        try:
            lane.take_records(number, fifo, self._queue)
        except OSError as error:
            self._stop(lane, error)

    def _end(self, name: str, number: int) -> None:
        lane = self._lanes.get(name)
        for run in lane.runs if lane else ():
            if run.number == number:
                run.ended = True
        if lane and lane.begun and lane.id not in self._stuck:
            self._hear(lane)

    def _trouble(self, text: str) -> None:
        self._master.tell({"trouble": text})

    def _leave(self) -> None:
        """Write what is there, a bounded amount of each run, and tell the master the rest."""
        for lane in list(self._lanes.values()):
            for _ in range(LAST_TURNS * max(len(lane.runs), 1)):
                if self._lanes.get(lane.id) is not lane or not self._turn(lane):
                    break
        self._gzip.close()
        end = time.monotonic() + _LAST_WORDS
        while self._master.backlog and time.monotonic() < end:
            self._poller.wait(end - time.monotonic())
        self._master.close()
        self._lock.release()


def main(
    sock_fd: int, run_dir: str, log_dir: str, bereaved: Callable[[], None] | None = None
) -> int:
    """Be the log writer of one keepd, until a master tells it to leave, or all others are gone.

    On the socket the anchor hands over that of each new master. In the latter case `bereaved` is
    called first.
    """
    os.umask(0o022)
    return Writer(socket.socket(fileno=sock_fd), run_dir, log_dir).run(bereaved)

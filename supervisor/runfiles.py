"""The run file: what is known of every replica, for a successor, should we be killed.

`RUN_DIR/runs` is text, a thousand and twenty-four bytes a replica: a note of the core (see
core/memory.py), and a line with the process of its latest run. Each is written by one pwrite within
one page, so that it is there whole or not at all, and before whatever follows from it is done: that
a run is being born stands here before there is a process of it.

Between the order of a birth and the moment its process is known, that newborn shares our birth
lock: a descriptor that its exec closes. A successor that gets the lock knows that no process is on
its way any more. (flock, and not fcntl: record locks are not inherited.)
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
from collections.abc import Mapping
from typing import Any

from supervisor.core import memory
from supervisor.core.service import Service
from supervisor.records import record
from supervisor.unix import process

VERSION = 3  # 1 knew processes by their start times alone, 2 no words of services
_SLOT = 1024
_TRACE_AT = 928  # where in a slot the process stands
_SAID = '%s,"said":%s}'
_LOCKS = "births"
_MARK = re.compile(r"i?[0-9]+")
_END = re.compile(r"-|=(failed|-?[0-9]{1,9})?")
_MOST_PID = 2**22  # PID_MAX_LIMIT of linux/threads.h
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@-]*/[0-9]{1,6}")


@record(frozen=True)
class Trace:
    """The process of a run, as far as it is known; pid 0: it was ordered, and no more is known."""

    run: int
    pid: int = 0
    mark: str = "0"  # as kin.mark() has it: with it a pid names one process
    asked: bool = False  # it has been told to end
    end: str | None = None  # once nothing of it is left: its code, "failed", "" for nobody knows


@record(frozen=True)
class Past:
    """What a run file says; notes and traces by id."""

    notes: dict[str, dict[str, Any]]
    traces: dict[str, Trace]
    begun: bool = False  # what was to be started at first has been; False once all is to stop
    code: int = 0  # what keepd is to end with, once all is to stop
    runs: dict[str, int] | None = None  # the latest run of each, where all else is of another boot


class RunFile:
    """The run file of one runtime directory, and the birth lock of this master."""

    def __init__(self, run_dir: str, *, make: bool = True) -> None:
        """Open both; OSError, also where there is none and none is to be made."""
        flags = os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT if make else 0)
        self._fd = os.open(f"{run_dir}/runs", flags, 0o600)
        self._path = f"{run_dir}/runs"
        self._locks = f"{run_dir}/{_LOCKS}"
        self._slots: dict[str, int] = {}  # id: number
        self._free: list[int] = []
        self._plans: dict[str, str] = {}  # id: the mark of the plan that its spec is of
        self._runs: dict[str, int] = {}  # id: the number of its latest run
        self._by: dict[str, int] = {}  # id: the master that has ordered that run
        self._noted: dict[str, str] = {}  # id: the latest note, without the words of that run
        self._said: dict[str, str] = {}  # id: what that run says of itself
        self.plan = ""  # the mark of the plan in force
        self.groups = ""  # the base of our cgroups
        self.damaged = False  # what an earlier master wrote is not wholly there any more
        self.past = self._read()
        os.makedirs(self._locks, 0o700, exist_ok=True)
        self._others = _held_by_others(self._locks)
        self.number = max(self._others, default=0) + 1
        path = f"{self._locks}/{self.number}"
        self._lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        for number in list(self._others):  # those of whom nobody is on its way are let go
            self.being_born(number)

    def being_born(self, number: int) -> bool:
        """Return whether a newborn of master `number` may be on its way to its exec still."""
        fd = self._others.get(number)
        if fd is None:
            return False
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        os.close(self._others.pop(number))
        with contextlib.suppress(OSError):
            os.unlink(f"{self._locks}/{number}")
        return False

    def note(self, service: Service) -> None:
        """Write down a replica as it is now; OSError where there is no room for it."""
        key = service.id
        if key not in self._plans or not (service.next or service.removed):
            self._plans[key] = self.plan
        if self._runs.get(key) != service.run:
            self._by[key] = self.number
            self._said.pop(key, None)
        self._runs[key] = service.run
        marks = {"id": key, "plan": self._plans[key], "by": self._by.get(key, self.number)}
        self._write(key, {**marks, **memory.note(service)})

    def trace(self, key: str, trace: Trace) -> None:
        """Write down the process of a run, after the note of that run."""
        end = "-" if trace.end is None else f"={trace.end}"
        text = f"{trace.run} {trace.pid} {trace.mark} {int(trace.asked)} {end}"
        room = _SLOT - _TRACE_AT - 1
        os.pwrite(self._fd, text.ljust(room).encode("ascii") + b"\n", self._at(key) + _TRACE_AT)

    def say(self, key: str, words: str) -> None:
        """Write down what a run says of itself, as much as there is room for; OSError."""
        self._said[key] = words
        if key in self._noted:
            self._put(key)

    def forget(self, key: str) -> None:
        """Remember of a replica that is removed nothing but the number of its latest run."""
        self._plans.pop(key, None)
        self._said.pop(key, None)
        past = memory.forgotten(self._runs.pop(key, 0))
        self._write(key, {"id": key, "plan": "", "by": self.number, **past})

    def _write(self, key: str, noted: Mapping[str, Any]) -> None:
        self._noted[key] = json.dumps(noted, separators=(",", ":"))
        self._put(key)

    def _put(self, key: str) -> None:
        text = self._noted[key]
        room = _TRACE_AT - 1 - len(_SAID % (text[:-1], '""'))
        if said := memory.cut(self._said.get(key, ""), room):
            text = _SAID % (text[:-1], json.dumps(said))
        os.pwrite(self._fd, text.ljust(_TRACE_AT - 1).encode("ascii") + b"\n", self._at(key))

    def begun(self, begun: bool, code: int = 0) -> None:
        """Write down whether all that was wanted at first is in the notes, and still holds.

        `code` is what keepd is to end with.
        """
        head = {"version": VERSION, "begun": begun, "code": code, "groups": self.groups, **_here()}
        text = json.dumps(head, separators=(",", ":"))
        os.pwrite(self._fd, text.ljust(_SLOT - 1).encode("ascii") + b"\n", 0)

    def remove(self) -> None:
        """Leave nothing behind: all has ended in order."""
        for path in (self._path, f"{self._locks}/{self.number}"):
            with contextlib.suppress(OSError):
                os.unlink(path)

    def close(self) -> None:
        """Let go of the descriptors; what is written stays."""
        for fd in (self._fd, self._lock, *self._others.values()):
            os.close(fd)
        self._others.clear()

    def _at(self, key: str) -> int:
        number = self._slots.get(key)
        if number is None:
            number = self._free[-1] if self._free else len(self._slots) + 1
            os.pwrite(self._fd, b" " * (_SLOT - 1) + b"\n", number * _SLOT)  # has room, or fails
            self._slots[key] = number
            del self._free[-1:]
        return number * _SLOT

    def _read(self) -> Past:
        text = b"".join(iter(lambda: os.read(self._fd, 1 << 20), b""))
        head = _object(text[:_SLOT])
        if head.get("version") not in range(1, VERSION + 1):
            os.ftruncate(self._fd, 0)
            return Past({}, {})
        self.groups = str(head.get("groups", ""))
        notes: dict[str, dict[str, Any]] = {}
        traces: dict[str, Trace] = {}
        self.damaged = len(text) % _SLOT not in {0, _TRACE_AT}  # the last may have no process yet
        for number in range(1, -(-len(text) // _SLOT)):
            slot = text[number * _SLOT : (number + 1) * _SLOT]
            noted = _note(slot[:_TRACE_AT])
            if not noted:
                self._free.append(number)
                self.damaged = self.damaged or bool(slot[:_TRACE_AT].strip(b" \n\0"))
                continue
            key = noted["id"]
            self._slots[key], notes[key] = number, noted
            self._plans[key], self._runs[key] = noted["plan"], noted.get("run", 0)
            self._by[key], self._said[key] = noted["by"], noted["said"]
            trace = _trace(slot[_TRACE_AT:])
            known = trace is not None and trace.run == noted.get("run", 0)
            traces[key] = trace if trace and known else Trace(noted.get("run", 0))
        here = {name: head.get(name) for name in _here()} == _here()
        if here and not self.damaged:
            return Past(notes, traces, bool(head.get("begun")), _code(head))
        self._slots.clear()  # of another boot: all is gone; or nobody knows who is not noted
        self._free.clear()
        self._plans.clear()
        self._runs.clear()
        self._by.clear()
        self._said.clear()
        os.ftruncate(self._fd, 0)
        return Past({}, {}, runs={key: noted.get("run", 0) for key, noted in notes.items()})


def check(run_dir: str) -> None:
    """Read the run file, and leave it as it is; ValueError if it is not one that we can go on with.

    One of a later version is not: what it says more may be what keeps two copies from running.
    """
    try:
        with open(f"{run_dir}/runs", "rb") as file:
            head, *slots = iter(lambda: file.read(_SLOT), b"")
    except (FileNotFoundError, ValueError):  # nobody has run there yet
        return
    version = _object(head).get("version")
    if not isinstance(version, int) or version > VERSION:
        raise ValueError(f"the state of the keepd that runs is of format {version}, not {VERSION}")
    for slot in slots:
        if slot[:_TRACE_AT].strip() and not _note(slot[:_TRACE_AT]):
            raise ValueError(f"the state of the keepd that runs cannot be read: {slot[:80]!r}")


def _here() -> dict[str, str]:
    """Return what pids and times mean something in: this boot, and this namespace."""
    return {"boot": process.boot_id(), "pids": os.readlink("/proc/self/ns/pid")}


def _code(head: Mapping[str, Any]) -> int:
    code = head.get("code", 0)
    return code if type(code) is int else 0


def _object(line: bytes) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except ValueError:  # never written, or not by us
        return {}
    return found if isinstance(found, dict) else {}


def _note(line: bytes) -> dict[str, Any]:
    """Return what is noted of a replica; nothing if that is not what we write."""
    noted = _object(line)
    ours = {name: noted.pop(name, 0) for name in ("id", "plan", "by")}
    ours["said"] = noted.pop("said", "")
    sound = (
        isinstance(ours["id"], str)
        and isinstance(ours["plan"], str)
        and isinstance(ours["said"], str)
        and type(ours["by"]) is int
        and _ID.fullmatch(ours["id"]) is not None
        and memory.is_sound(noted)
    )
    return {**ours, **noted} if sound else {}


def _trace(line: bytes) -> Trace | None:
    words = line.decode("ascii", "replace").split()
    if len(words) != 5 or not all(word.isdecimal() for word in (*words[:2], words[3])):
        return None
    run, pid, asked = int(words[0]), int(words[1]), words[3] != "0"
    if pid > _MOST_PID or not _END.fullmatch(words[4]):
        return None
    mark = words[2] if _MARK.fullmatch(words[2]) else "0"
    return Trace(run, pid, mark, asked, words[4][1:] if words[4][0] == "=" else None)


def _held_by_others(folder: str) -> dict[int, int]:
    """Return the birth locks of earlier masters, open: descriptors by number."""
    found: dict[int, int] = {}
    for name in os.listdir(folder):
        if name.isdecimal():
            with contextlib.suppress(FileNotFoundError):
                found[int(name)] = os.open(f"{folder}/{name}", os.O_RDWR | os.O_CLOEXEC)
    return found

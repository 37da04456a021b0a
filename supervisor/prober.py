"""The prober process: asks the services that cannot tell by themselves how they are.

What may block on a name, a socket, a certificate or a command blocks here and hurts nobody: each
try has a limit, all probes run at once, and an idle prober sleeps without a wake-up. It knows no
states and decides nothing; it ends when the master's end of the socket is closed. As it needs
asyncio, which the master must not carry, the master imports this module only in the child it
forked for it.

The master says, one JSON object a line,
    {"probe": id, "run": n, "live": false | true, "check": {tcp | http | log | exec, every, limit},
     "begin": ..., "order": ...}
    {"forget": id, "run": n}
    {"hook": n, "order": ..., "limit": seconds}
    {"hurry": seconds}
and hears {"ready": id, "run": n} once where it is not `live`; else {"passed": id, "run": n} after
the first try and after each that was not passed before, and {"failed": id, "run": n, "text": words}
for each that went wrong. {"note": id, "run": n, "text": words, "cannot": whether} says why it is
not ready whenever that has changed, or that its health cannot be looked at, which is not its fault.
{"hooked": n, "text": words} says that a hook is over, and what went wrong.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import functools
import json
import os
import socket
import ssl
import zlib
from collections.abc import Awaitable, Callable
from typing import Any

from supervisor.commands import Commands
from supervisor.core.words import exit_words
from supervisor.tries import LogLines, Names, try_exec, try_http, try_tcp
from supervisor.unix.words import CannotError

MAX_LINE = 16 << 20  # bytes of one message: an order has a whole environment in it
LATE = 1.0  # seconds; a try that takes so much longer than its limit was stopped together with us
# What says nothing about a service: we are short of something.
_OURS = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS, errno.EADDRNOTAVAIL}

Try = Callable[[], Awaitable[str | None]]  # None: all is well; else why not, in words


class Probe:
    """What is asked about one run."""

    def __init__(self, message: dict[str, Any]) -> None:
        self.key, self.run = str(message["probe"]), int(message["run"])
        self.message = message
        self.every, self.limit = message["check"]["every"], message["check"]["limit"]
        self.forgotten: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.task: asyncio.Task[None] | None = None

    async def pause(self, seconds: float) -> bool:
        """Wait; return whether it is still asked for."""
        await asyncio.wait([self.forgotten], timeout=max(seconds, 0.0))
        return not self.forgotten.done()

    def words(self, error: Exception) -> str:
        """Return why a try failed, as a person would say it."""
        match error:
            case TimeoutError():
                return f"no answer within {self.limit:g} s"
            case ssl.SSLError():
                return f"TLS failed: {error.reason or error}"
            case socket.gaierror():
                return f"unknown host: {error.strerror}"
            case CannotError():
                return str(error)
            case OSError(errno=int(number)):
                return os.strerror(number).lower()
        return f"{type(error).__name__}: {error}"


class Prober:
    """All probes that are going on, each a task that ends when it is ready or forgotten."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        """Send what is found out to `writer`."""
        self._writer = writer
        self._names = Names()
        self._probes: dict[tuple[str, int], Probe] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._hooks: set[asyncio.Task[None]] = set()
        self._made: Commands | None = None

    @property
    def _commands(self) -> Commands:
        if self._made is None:
            self._made = Commands()
        return self._made

    def heard(self, message: dict[str, Any]) -> None:
        """Begin or forget a probe, as the master says."""
        match message:
            case {"probe": str(), "run": int(), "live": live}:
                probe = Probe(message)
                self._probes[probe.key, probe.run] = probe
                probe.task = self._begin(self._watch(probe) if live else self._await_ready(probe))
            case {"forget": str(key), "run": int(run)}:
                known = self._probes.pop((key, run), None)
                if known is not None and known.task is not None:
                    known.forgotten.set_result(None)
                    known.task.cancel()

            case {"hook": int(number), "order": dict(order), "limit": limit}:
                hook = self._begin(self._run_hook(number, order, limit))
                self._hooks.add(hook)
                hook.add_done_callback(self._hooks.discard)
            case {"hurry": limit}:
                for hook in self._hooks:
                    asyncio.get_running_loop().call_later(limit, hook.cancel)

    async def _run_hook(self, number: int, order: dict[str, Any], limit: float) -> None:
        why = "keepd has ended before it"
        try:
            async with asyncio.timeout(limit):
                code, line = await self._commands.run(order)
            why = "" if code == 0 else f"{line} ({exit_words(code)})" if line else exit_words(code)
        except TimeoutError:
            why = f"killed after {limit:g} s"
        except (CannotError, OSError) as error:
            why = str(error)
        finally:
            await self._say({"hooked": number, "text": why})

    def _begin(self, what: Any) -> asyncio.Task[None]:  # noqa: ANN401 - a coroutine
        task: asyncio.Task[None] = asyncio.create_task(what)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _await_ready(self, probe: Probe) -> None:
        said = None
        with contextlib.ExitStack() as stack:
            attempt = self._attempt(probe, stack)
            while True:
                why, ours = await self._tried(probe, attempt)
                if why is None:
                    break
                if why != said:
                    said = why
                    await self._note(probe, why, ours=ours)
                if not await probe.pause(probe.every):
                    return
        del self._probes[probe.key, probe.run]
        await self._say({"ready": probe.key, "run": probe.run})

    async def _watch(self, probe: Probe) -> None:
        """Try for as long as it is asked for; of many that begin together each has its own time."""
        now = asyncio.get_running_loop().time
        passed, said = False, None
        attempt = self._attempt(probe, contextlib.ExitStack())
        rest = probe.every * (0.5 + zlib.crc32(probe.key.encode()) / 2**33)
        while await probe.pause(rest):
            began = now()
            why, ours = await self._tried(probe, attempt)
            took = now() - began
            rest = probe.every - took
            if why is not None and (ours or took > probe.limit + LATE):
                if why != said:
                    await self._note(probe, why, ours=True)
                said = why
                continue
            if why is not None:
                await self._say({"failed": probe.key, "run": probe.run, "text": why})
            elif not passed or said:
                await self._say({"passed": probe.key, "run": probe.run})
            passed, said = why is None, None

    def _attempt(self, probe: Probe, stack: contextlib.ExitStack) -> Try:
        match probe.message["check"]:
            case {"tcp": str(address)}:
                return functools.partial(try_tcp, self._names, address, probe.limit)
            case {"http": str(url)}:
                return functools.partial(try_http, self._names, url, probe.limit)
            case {"exec": list()}:
                order = probe.message["order"]
                return lambda: try_exec(self._commands, order)
        lines = LogLines(probe.message["check"]["log"], probe.message["begin"])
        stack.callback(lines.close)
        return lines.search

    async def _tried(self, probe: Probe, attempt: Try) -> tuple[str | None, bool]:
        """Return what one try says, and whether that is our fault rather than the service's."""
        try:
            async with asyncio.timeout(probe.limit):
                return await attempt(), False
        except Exception as error:  # noqa: BLE001 - whatever the other side does, the rest goes on
            ours = isinstance(error, OSError) and error.errno in _OURS
            return probe.words(error), ours or isinstance(error, CannotError)

    async def _note(self, probe: Probe, text: str, *, ours: bool) -> None:
        await self._say({"note": probe.key, "run": probe.run, "text": text, "cannot": ours})

    async def _say(self, message: dict[str, Any]) -> None:
        with contextlib.suppress(ConnectionError):  # the master has gone, and so shall we
            self._writer.write(json.dumps(message).encode() + b"\n")
            await self._writer.drain()


async def _serve(sock: socket.socket) -> None:
    reader, writer = await asyncio.open_connection(sock=sock, limit=MAX_LINE)
    prober = Prober(writer)
    with contextlib.suppress(ConnectionError):  # the master has gone, which is no error
        async for line in reader:
            prober.heard(json.loads(line))


def main(sock_fd: int) -> int:
    """Serve the master at the other end of `sock_fd` until it closes it."""
    asyncio.run(_serve(socket.socket(fileno=sock_fd)))
    return 0

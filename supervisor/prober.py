"""The prober process: asks the services that cannot tell by themselves whether they are ready.

What may block on a name, a socket or a certificate blocks here and hurts nobody: each try has a
limit, all probes run at once, and an idle prober sleeps without a wake-up. It knows no states and
decides nothing; it ends when the master's end of the socket is closed. As it needs asyncio, which
the master must not carry, the master imports this module only in the child it forked for it.

The master says, one JSON object a line,
    {"probe": id, "run": n, "ready": {tcp | http | log, every}, "begin": ...}
    {"forget": id, "run": n}
and hears {"ready": id, "run": n} once, and {"note": id, "run": n, "text": words} whenever the
reason why it is not ready has changed.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import os
import socket
import ssl
from collections.abc import Awaitable, Callable
from typing import Any

from supervisor.tries import TRY_LIMIT, LogLines, Names, try_http, try_tcp

MAX_LINE = 1 << 20  # bytes of one message

Try = Callable[[], Awaitable[str | None]]  # None: ready; else why not, in words


def _words(error: Exception) -> str:
    """Return why a try failed, as a person would say it."""
    match error:
        case TimeoutError():
            return f"no answer within {TRY_LIMIT:g} s"
        case ssl.SSLError():
            return f"TLS failed: {error.reason or error}"
        case socket.gaierror():
            return f"unknown host: {error.strerror}"
        case OSError(errno=int(number)):
            return os.strerror(number).lower()
    return f"{type(error).__name__}: {error}"


class Prober:
    """All probes that are going on, each a task that ends when it is ready or forgotten."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        """Send what is found out to `writer`."""
        self._writer = writer
        self._names = Names()
        self._forgotten: dict[tuple[str, int], asyncio.Future[None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def heard(self, message: dict[str, Any]) -> None:
        """Begin or forget a probe, as the master says."""
        match message:
            case {"probe": str(key), "run": int(run)}:
                forgotten = asyncio.get_running_loop().create_future()
                self._forgotten[key, run] = forgotten
                task = asyncio.create_task(self._probe(message, forgotten))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
            case {"forget": str(key), "run": int(run)}:
                if (known := self._forgotten.pop((key, run), None)) is not None:
                    known.set_result(None)

    async def _probe(self, message: dict[str, Any], forgotten: asyncio.Future[None]) -> None:
        key, run, every = message["probe"], message["run"], message["ready"]["every"]
        said = None
        with contextlib.ExitStack() as stack:
            attempt = self._attempt(message, stack)
            while not forgotten.done():
                why = await self._tried(attempt)
                if why is None:
                    break
                if why != said and not forgotten.done():
                    said = why
                    await self._say({"note": key, "run": run, "text": why})
                await asyncio.wait([forgotten], timeout=every)
        if not forgotten.done():
            del self._forgotten[key, run]
            await self._say({"ready": key, "run": run})

    def _attempt(self, message: dict[str, Any], stack: contextlib.ExitStack) -> Try:
        match message["ready"]:
            case {"tcp": str(address)}:
                return functools.partial(try_tcp, self._names, address)
            case {"http": str(url)}:
                return functools.partial(try_http, self._names, url)
        lines = LogLines(message["ready"]["log"], message["begin"])
        stack.callback(lines.close)
        return lines.search

    async def _tried(self, attempt: Try) -> str | None:
        try:
            async with asyncio.timeout(TRY_LIMIT):
                return await attempt()
        except Exception as error:  # noqa: BLE001 - whatever the other side does, the rest goes on
            return _words(error)

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

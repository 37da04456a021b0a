"""One try to find out whether a service does its work: a connection, a request, a look at its log.

Each returns None if it does, else in words why not; what goes wrong on the way is raised. Nothing
here decides when to try again. No proxy is asked, no redirect followed, no certificate checked:
it is asked whether a service answers, not who it is.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import re
import socket
import ssl
import struct
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

from supervisor.commands import Commands
from supervisor.core.words import exit_words
from supervisor.logs.paint import text_of
from supervisor.logs.tail import Tail

MAX_HEAD = 65_536  # bytes that a status line may have
OK = range(200, 400)
READS = 16  # chunks of a log that one try reads, so that a flood does not hold up the others

Addresses = list[tuple[Any, ...]]  # as socket.getaddrinfo() returns them


class Names:
    """Turns names into addresses, so that one which takes minutes delays only its own probes.

    Each name has one look-up at a time, in a thread of its own, that all tries wait for; a try
    that gives up leaves it running for the next.
    """

    def __init__(self) -> None:
        """Begin without look-ups."""
        self._lookups: dict[tuple[str, int], asyncio.Future[Addresses]] = {}

    async def addresses(self, host: str, port: int) -> Addresses:
        """Return where to connect to; socket.gaierror if there is no such name."""
        look_up = functools.partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
        with contextlib.suppress(socket.gaierror):
            return look_up(flags=socket.AI_NUMERICHOST)
        lookup = self._lookups.get((host, port))
        if lookup is None:
            thread = ThreadPoolExecutor(max_workers=1)
            lookup = asyncio.get_running_loop().run_in_executor(thread, look_up)
            thread.shutdown(wait=False)
            self._lookups[host, port] = lookup
            lookup.add_done_callback(functools.partial(self._forget, (host, port)))
        return await asyncio.shield(lookup)

    def _forget(self, key: tuple[str, int], lookup: asyncio.Future[Addresses]) -> None:
        del self._lookups[key]
        if not lookup.cancelled():
            lookup.exception()  # nobody may be waiting for it any more


async def _connect(names: Names, host: str, port: int, limit: float) -> socket.socket:
    """Return a connection to the first address that takes one, or raise the last one's error."""
    addresses = await names.addresses(host, port)
    error: OSError = ConnectionRefusedError()
    for family, kind, protocol, _, address in addresses:
        sock = socket.socket(family, kind, protocol)
        sock.setblocking(False)
        try:
            async with asyncio.timeout(limit / len(addresses)):
                await asyncio.get_running_loop().sock_connect(sock, address)
        except OSError as failed:  # TimeoutError is one
            error = failed
        except asyncio.CancelledError:
            sock.close()
            raise
        else:
            if sock.getsockname() != sock.getpeername():
                return sock
            # Where nobody listens TCP may connect to itself; the port must be free at once again.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.close()
    raise error


async def try_tcp(names: Names, address: str, limit: float) -> str | None:
    """Connect to HOST:PORT; return why it cannot be used, or None."""
    host, _, port = address.rpartition(":")
    (await _connect(names, host.strip("[]") or "127.0.0.1", int(port), limit)).close()
    return None


async def try_http(names: Names, url: str, limit: float) -> str | None:
    """GET a URL; return why its answer is not good enough, or None."""
    parts = urlsplit(url)
    tls = parts.scheme == "https"
    host = parts.hostname or "127.0.0.1"
    sock = await _connect(names, host, parts.port or (443 if tls else 80), limit)
    options: dict[str, Any] = {"ssl": _trusting(), "server_hostname": host} if tls else {}
    reader, writer = await asyncio.open_connection(sock=sock, limit=MAX_HEAD, **options)
    try:
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        request = f"GET {target} HTTP/1.1\r\nHost: {parts.netloc.rpartition('@')[2]}\r\n"
        request += "User-Agent: keepd\r\nAccept: */*\r\nConnection: close\r\n\r\n"
        writer.write(request.encode())
        return _judged(await reader.readline())
    finally:
        writer.transport.abort()


def _judged(status: bytes) -> str | None:
    """Return what a status line says against it."""
    if not status:
        return "connection closed without an answer"
    version, _, rest = status.decode("latin-1").strip().partition(" ")
    if not version.startswith("HTTP/") or not rest[:3].isdigit():
        return "no HTTP answer"
    return None if int(rest[:3]) in OK else f"HTTP {rest}"


def _trusting() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


class LogLines:
    """Reads what a run has printed from its log files, a part at each try, over rotations."""

    def __init__(self, pattern: str, begin: tuple[str, int, int]) -> None:
        """Search from `begin` on: path of the current file, the number of ours, offset in ours."""
        self._pattern = pattern
        path, *since = begin
        self._tail = Tail(path, (since[0], since[1]))

    def close(self) -> None:
        """Let go of the file."""
        self._tail.close()

    async def search(self) -> str | None:
        """Return None once a whole line matches, leaving its time stamp aside; re.error."""
        for _ in range(READS):
            if any(map(self._matches, self._tail.lines())):
                return None
        return f"no line of its log matches {self._pattern!r} yet"

    def _matches(self, line: bytes) -> bool:
        return re.search(self._pattern, text_of(line).decode("utf-8", "replace")) is not None


async def try_exec(commands: Commands, order: dict[str, Any]) -> str | None:
    """Run a command; return why it does not say yes, or None. CannotError if it cannot be run."""
    code, line = await commands.run(order)
    if code == 0:
        return None
    return f"{line} ({exit_words(code)})" if line else f"the check {exit_words(code)}"

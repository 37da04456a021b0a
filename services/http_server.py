"""An HTTP server. Lesson: be ready when /healthz answers, and end cleanly when told to.

keepd asks /healthz until it answers 200, and only then starts what depends on this service. TERM
ends the accepting of requests; those that are being answered are answered. `/` shows what the
worker has done; `/crash` ends the process the hard way, to watch it come back.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sqlite3
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

DATABASE = os.environ.get("JOBS_DB", "jobs.sqlite3")
NAME = os.environ.get("KEEPD_REPLICA", "http_server")


class Handler(BaseHTTPRequestHandler):
    """Answers in JSON."""

    def do_GET(self) -> None:
        """Answer one request."""
        match self.path:
            case "/":
                self.answer(200, {"served_by": NAME, "jobs": jobs()})
            case "/healthz":
                self.answer(200, {"ok": True})
            case "/crash":
                os._exit(3)
            case _:
                self.answer(404, {"error": "no such page"})

    def answer(self, code: int, body: object) -> None:
        """Send one JSON object."""
        data = json.dumps(body).encode() + b"\n"
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, form: str, *args: object) -> None:
        """Print a request as one line, in one write, without a time: keepd knows the time."""
        if self.path != "/healthz":
            print(f"{self.address_string()} {form % args}", flush=True)


def jobs() -> dict[str, int]:
    """Count the jobs by state."""
    with contextlib.closing(sqlite3.connect(DATABASE, timeout=5)) as database:
        return dict(database.execute("select state, count(*) from jobs group by state"))


def main() -> None:
    """Serve until TERM."""
    address = (os.environ.get("HOST", "127.0.0.1"), int(os.environ.get("PORT", "8099")))
    server = ThreadingHTTPServer(address, Handler)
    server.daemon_threads = False  # server_close() waits for requests that are being answered

    def stop(*_: object) -> None:
        # shutdown() waits for the loop below, so it must not be called from inside of it.
        threading.Thread(target=server.shutdown).start()

    signal.signal(signal.SIGTERM, stop)
    print(f"serving on http://{address[0]}:{address[1]}", flush=True)
    server.serve_forever(poll_interval=0.1)
    server.server_close()
    print("every request is answered, bye", flush=True)


if __name__ == "__main__":
    main()

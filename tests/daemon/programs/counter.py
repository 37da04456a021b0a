"""A WSGI application that counts its visits in redis, and cannot do without it."""

import os
import socket


def redis(*words):
    """Ask redis, in its own protocol; return the first line of its answer."""
    request = b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w) for w in words)
    with socket.create_connection(("127.0.0.1", int(os.environ["REDIS_PORT"])), timeout=5) as sock:
        sock.sendall(request)
        with sock.makefile("rb") as answer:
            return answer.readline().strip()


def app(environ, start_response):
    words = (b"PING",) if environ["PATH_INFO"] == "/healthz" else (b"INCR", b"visits")
    try:
        answer, status = redis(*words), "200 OK"
    except OSError as error:
        answer, status = str(error).encode(), "503 Service Unavailable"
    start_response(status, [("Content-Type", "text/plain"), ("Content-Length", str(len(answer)))])
    return [answer]

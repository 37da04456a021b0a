"""A daemon that answers in fixed words, behind a real control socket; and the real command line."""

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.control.served import served

ROOT = Path(__file__).parents[2]
LIMIT = 60

__all__ = [
    "LIMIT",
    "ROOT",
    "Refusal",
    "canned",
    "environment",
    "keepd",
    "replica",
    "served",
    "whole",
]


def environment(**more):
    """Return an environment in which nothing of ours is set beside `more`."""
    ours = ("KEEPD_CONFIG", "KEEPD_RUNTIME_DIR", "NO_COLOR", "XDG_RUNTIME_DIR")
    kept = {name: value for name, value in os.environ.items() if name not in ours}
    return {**kept, "PYTHONPATH": str(ROOT), **more}


def keepd(*typed, cwd="/", env=None, stdin=subprocess.DEVNULL):
    """Run one command line to its end."""
    return subprocess.run(
        [sys.executable, "-m", "supervisor", *map(str, typed)],
        cwd=cwd,
        env=env or environment(),
        stdin=stdin,
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )


class Refusal:
    """What a method answers instead of a result."""

    def __init__(self, kind, message, **data):
        self.kind, self.message, self.data = kind, message, data


def canned(answers, noted=None):
    """Return what serves fixed answers: method -> result, Refusal, or a function of the params.

    Each request is written as a line of JSON into the file `noted`.
    """

    def method(name, answer):
        def respond(params, reply):
            if noted:
                with open(noted, "a", encoding="utf-8") as file:
                    file.write(json.dumps([name, params]) + "\n")
            value = answer(params) if callable(answer) else answer
            if isinstance(value, Refusal):
                reply.error(value.kind, value.message, **value.data)
            else:
                reply.result(value)

        return respond

    return lambda poller: {name: method(name, answer) for name, answer in answers.items()}


def replica(key, state="RUNNING", **more):
    """Return one replica as `status` tells it."""
    up = state in ("RUNNING", "STARTING", "STOPPING")
    return {
        "id": key,
        "state": state,
        "wanted": True,
        "ready": state == "RUNNING",
        "healthy": state == "RUNNING",
        "pid": 4243 if up else None,
        "run": 1,
        "restarts": 0,
        "uptime": 75.2 if up else None,
        "last_exit": None,
        "next_start_in": None,
        "waiting_for": [],
        "text": "",
        **more,
    }


def whole(*replicas):
    """Return the status object of these replicas."""
    services = {}
    for one in replicas:
        name = one["id"].partition("/")[0]
        service = services.setdefault(name, {"wanted": 0, "replicas": []})
        service["wanted"] += one["wanted"]
        service["replicas"].append(one)
    daemon = {
        "pid": 4242,
        "master_pid": 4244,
        "log_writer_pid": 4245,
        "uptime": 7512.0,
        "config": "/srv/shop/keepd.yaml",
        "version": "0.1.0",
    }
    return {"version": 1, "daemon": daemon, "services": services}

"""What the operator asked for: one immutable record per replica.

Options are fields with defaults, and are listed nowhere else: the schema, its messages and
etc/reference.yaml are derived from these classes. A field's `help` is its one line in the
reference; a field without one is no key, but follows from others. `live` is said of those that a
process which runs need not be restarted for, `early` of those that mean nothing any more once the
list is read (see plan.py). Durations are floats in seconds, sizes are bytes.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Annotated, Any

from supervisor.records import field, record

Seconds = Annotated[float, "duration"]
Size = Annotated[int, "size"]


class Restart(enum.StrEnum):
    """When a service that ended by itself is started again."""

    ALWAYS = "always"
    ON_FAILURE = "on-failure"
    NEVER = "never"


class Condition(enum.StrEnum):
    """What a dependency must have reached before its dependent starts."""

    STARTED = "started"
    READY = "ready"
    COMPLETED = "completed"


class Then(enum.StrEnum):
    """What follows when a start limit is exceeded."""

    FAIL = "fail"
    EXIT = "exit"


class LogTo(enum.StrEnum):
    """Where the words of a service go."""

    FILE = "file"
    NONE = "none"


class LogFormat(enum.StrEnum):
    """How a line stands in the log file."""

    TEXT = "text"
    JSON = "json"
    RAW = "raw"


class OnFull(enum.StrEnum):
    """What becomes of words that the disk does not take."""

    BLOCK = "block"
    DROP = "drop"


@record(frozen=True)
class Backoff:
    """How long to wait before the next start: `first`, growing by `factor`, up to `limit`."""

    first: Seconds = field(default=0.2, metadata={"help": "pause after the first failure"})
    factor: float = field(default=2.0, metadata={"help": "each further pause is so much longer"})
    limit: Seconds = field(default=60.0, metadata={"help": "the longest pause"})
    jitter: float = field(default=0.2, metadata={"help": "share of the pause added at random"})
    reset_after: Seconds = field(
        default=10.0, metadata={"help": "so long a good life makes earlier failures forgotten"}
    )

    def delay(self, failures: int, dice: float) -> float:
        """Return the pause before start number `failures` + 1; `dice` is in [0, 1)."""
        try:
            pause = min(self.first * self.factor ** (failures - 1), self.limit)
        except OverflowError:  # beyond any limit
            pause = self.limit if self.first else 0.0
        return pause * (1 + self.jitter * dice)


@record(frozen=True)
class StartLimit:
    """At most `starts` starts `within` a time; what exceeds it fails for good, or ends keepd."""

    starts: int = field(metadata={"help": "so many starts are allowed"})
    within: Seconds = field(default=60.0, metadata={"help": "in so long a time"})
    then: Then = field(
        default=Then.FAIL,
        metadata={"help": "fail: the service is FATAL; exit: keepd stops all and exits with 1"},
    )


@record(frozen=True)
class Stop:
    """How a service is told to end, and when patience ends."""

    signal: str = field(default="TERM", metadata={"help": "the signal that asks it to end"})
    timeout: Seconds = field(default=10.0, metadata={"help": "after this, KILL to all of it"})


@record(frozen=True)
class Ready:
    """How a service tells that it can do its work: exactly one of the kinds."""

    notify: bool = field(
        default=False, metadata={"help": "it sends READY=1 to NOTIFY_SOCKET (sd_notify(3))"}
    )
    log: str | None = field(default=None, metadata={"help": "a line of its log matches this regex"})
    tcp: str | None = field(default=None, metadata={"help": "HOST:PORT accepts a connection"})
    http: str | None = field(
        default=None, metadata={"help": "a GET of this URL answers 2xx or 3xx"}
    )
    exec: tuple[str, ...] | None = field(
        default=None,
        metadata={"help": "this command, run as the service is, exits with 0; it has 10s"},
    )
    after: Seconds | None = field(default=None, metadata={"help": "it has lived for so long"})
    timeout: Seconds = field(
        default=30.0, metadata={"help": "not ready by then is a failed start", "live": True}
    )
    every: Seconds = field(
        default=0.25, metadata={"help": "the pause between two tries", "live": True}
    )


@record(frozen=True)
class Health:
    """How it is found out whether a service that was ready still does its work: one of the kinds.

    Whoever fails is stopped and started again, as after any other failure.
    """

    tcp: str | None = field(default=None, metadata={"help": "HOST:PORT accepts a connection"})
    http: str | None = field(
        default=None, metadata={"help": "a GET of this URL answers 2xx or 3xx"}
    )
    exec: tuple[str, ...] | None = field(
        default=None, metadata={"help": "this command, run as the service is, exits with 0"}
    )
    every: Seconds = field(default=10.0, metadata={"help": "from one check to the next"})
    timeout: Seconds = field(default=2.0, metadata={"help": "no answer by then is a failed check"})
    failures: int = field(
        default=3,
        metadata={"help": "so many failed checks in a row are one failure of the service"},
    )


@record(frozen=True)
class On:
    """Commands that are run when something has happened to a replica.

    Each gets the event as one JSON object on stdin. None of them delays anything.
    """

    ready: tuple[str, ...] | None = field(default=None, metadata={"help": "it can do its work"})
    unhealthy: tuple[str, ...] | None = field(
        default=None, metadata={"help": "it is restarted because it is not healthy"}
    )
    exit: tuple[str, ...] | None = field(
        default=None, metadata={"help": "a run of it is over, however it ended"}
    )
    backoff: tuple[str, ...] | None = field(
        default=None, metadata={"help": "it has failed, and is started again after a pause"}
    )
    failed: tuple[str, ...] | None = field(
        default=None, metadata={"help": "it has failed for good, and is not started again"}
    )
    timeout: Seconds = field(
        default=10.0, metadata={"help": "after this, KILL to the command (at keepd's end after 2s)"}
    )
    cooldown: Seconds = field(
        default=10.0,
        metadata={"help": "pause after one; events meanwhile are counted into the next"},
    )


@record(frozen=True)
class Log:
    """What becomes of what a service prints."""

    to: LogTo = field(default=LogTo.FILE, metadata={"help": "file | none"})
    format: LogFormat = field(
        default=LogFormat.TEXT,
        metadata={
            "help": "text: RFC 3339 UTC time first; json: an object a line; raw: as it came",
            "live": True,
        },
    )
    max_size: Size = field(
        default=50_000_000,
        metadata={"help": "a file is rotated before it exceeds this", "live": True},
    )
    max_files: int = field(
        default=10,
        metadata={"help": "files kept of one replica, the current one included", "live": True},
    )
    max_line: Size = field(
        default=65_536,
        metadata={"help": "a longer line is written in pieces with a mark", "live": True},
    )
    rate: int | None = field(
        default=None,
        metadata={
            "help": "lines a second; those beyond are suppressed and counted (default: no limit)",
            "live": True,
        },
    )
    records: bool = field(
        default=False,
        metadata={
            "help": "true: it may send records: level, logger, fields (supervisor.worker.Handler)"
        },
    )
    compress: bool = field(
        default=False,
        metadata={"help": "true: files that were rotated are compressed by gzip", "live": True},
    )
    on_full: OnFull = field(
        default=OnFull.BLOCK,
        metadata={
            "help": "disk full: block: the service waits; drop: the log tells how much",
            "live": True,
        },
    )


@record(frozen=True)
class Limit:
    """A bound that the kernel sets: -1 is unlimited, None is what keepd has itself."""

    soft: int | None = None
    hard: int | None = None


@record(frozen=True)
class Identity:
    """Whose rights a process has, by number; `groups` are all of its groups."""

    uid: int
    gid: int
    groups: tuple[int, ...]


@record(frozen=True, kw_only=True)
class ServiceSpec:
    """One service as the list has it; with `${replica}` filled in, one replica of it."""

    name: str
    command: tuple[str, ...] = field(
        default=(),
        metadata={"help": "argv; a string is split as a shell would, without running one"},
    )
    shell: bool = field(default=False, metadata={"help": "true: command is given to sh -c"})
    python: str | None = field(
        default=None, metadata={"help": "module:function, instead of command"}
    )
    args: tuple[Any, ...] = field(default=(), metadata={"help": "arguments of the function"})
    kwargs: Mapping[str, Any] = field(
        default_factory=dict, metadata={"help": "keyword arguments of the function"}
    )
    interpreter: str | None = field(
        default=None, metadata={"help": "the Python that runs it (default: keepd's own)"}
    )
    replicas: int = field(
        default=1, metadata={"help": "so many copies; each knows its ${replica}", "early": True}
    )
    env: Mapping[str, str] = field(
        default_factory=dict, metadata={"help": "environment; ${VAR}, ${VAR:-default}, $$ is $"}
    )
    env_file: tuple[str, ...] = field(
        default=(), metadata={"help": "files of NAME=value lines", "early": True}
    )
    inherit_env: tuple[str, ...] | str = field(
        default=(), metadata={"help": "names taken over beside the safe few; or all", "early": True}
    )
    cwd: str = field(
        default=".", metadata={"help": "working directory, from the config file's folder"}
    )
    user: str | None = field(
        default=None,
        metadata={"help": "whom it runs as, with all groups of that user: a name or a number"},
    )
    group: str | None = field(
        default=None, metadata={"help": "its first group (default: that of the user)"}
    )
    identity: Identity | None = None  # what user and group mean; None: what keepd has itself
    umask: str | None = field(
        default=None, metadata={"help": "what is not permitted on files that it makes, in octal"}
    )
    nice: int | None = field(
        default=None, metadata={"help": "-20 (first in line for the CPU) to 19 (last)"}
    )
    limits: Mapping[str, Limit] = field(
        default_factory=dict,
        metadata={"help": "rlimits by name: a value, unlimited, or {soft: .., hard: ..}"},
    )
    depends_on: Mapping[str, Condition] = field(
        default_factory=dict,
        metadata={"help": "service: started | ready | completed; a list means ready", "live": True},
    )
    ready: Ready | None = field(
        default=None, metadata={"help": "when it counts as ready (default: at exec)"}
    )
    health: Health | None = field(
        default=None, metadata={"help": "how it is checked once it is ready (default: not at all)"}
    )
    watchdog: Seconds | None = field(
        default=None, metadata={"help": "WATCHDOG=1 to NOTIFY_SOCKET within it, or it is restarted"}
    )
    restart: Restart = field(
        default=Restart.ALWAYS, metadata={"help": "always | on-failure | never", "live": True}
    )
    backoff: Backoff = field(
        default_factory=Backoff, metadata={"help": "the pauses between restarts", "live": True}
    )
    start_limit: StartLimit | None = field(
        default=None, metadata={"help": "when to give up (default: never)", "live": True}
    )
    stop: Stop = field(default_factory=Stop, metadata={"help": "how it is stopped", "live": True})
    on: On | None = field(
        default=None, metadata={"help": "commands run after events", "live": True}
    )
    log: Log = field(default_factory=Log, metadata={"help": "what becomes of its output"})

    @property
    def ends_all(self) -> bool:
        """Return whether keepd ends with it: its start limit says so, and is all that ends it."""
        limit = self.start_limit
        return limit is not None and limit.then is Then.EXIT and self.restart is not Restart.NEVER

    @property
    def start_timeout(self) -> float:
        """Return how long a start may take, in seconds."""
        return self.ready.timeout if self.ready else 30.0

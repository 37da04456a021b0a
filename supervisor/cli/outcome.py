"""How a word ends: the exit codes, and the one exception that carries a failure to the top."""

from __future__ import annotations

TYPE_CHECKING = False  # see control/client.py
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

DONE = 0
FAILED = 1
USAGE = 2  # or a bad config
NO_DAEMON = 3
NO_SERVICE = 4
TIMED_OUT = 5

_CODES = {"no-such-service": NO_SERVICE, "timeout": TIMED_OUT, "bad-params": USAGE}
_CODES |= {"bad-config": USAGE, "needs-yes": USAGE}


class Failure(Exception):  # noqa: N818 (said to people as it is)
    """A word failed: exit `code`; `kind` and `data` are for programs, the rest for people."""

    def __init__(
        self,
        code: int,
        kind: str,
        message: str,
        lines: Sequence[str] = (),
        data: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.kind = kind
        self.message = message
        self.lines = lines  # told after the message
        self.data = data or {}


def code_of(kind: str) -> int:
    """Return the exit code of an error kind of the control socket."""
    return _CODES.get(kind, FAILED)

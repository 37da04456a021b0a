"""The words of the control protocol: JSON-RPC 2.0, one object a line.

Both ends import this, the command line at every start: it must stay light. Nothing here reads,
writes or waits.
"""

from __future__ import annotations

TYPE_CHECKING = False  # importing typing takes longer than all the rest of this
if TYPE_CHECKING:
    from typing import Any

    Message = dict[str, Any]

PROTOCOL = 1
MAX_REQUEST = 1 << 20  # bytes of one request line

NO_SUCH_METHOD = "no-such-method"
BAD_REQUEST = "bad-request"  # not JSON, no object, too long, no method
BAD_PARAMS = "bad-params"
DENIED = "denied"
BUSY = "busy"  # so many connections or open requests that one more is not taken
INTERNAL = "internal"

_CODES = {
    BAD_REQUEST: -32600,
    NO_SUCH_METHOD: -32601,
    BAD_PARAMS: -32602,
    INTERNAL: -32603,
}
_OTHER = -32000


def request(number: int, method: str, params: Message) -> Message:
    """Return a request that wants an answer."""
    return {"jsonrpc": "2.0", "id": number, "method": method, "params": params}


def result(key: object, value: object) -> Message:
    """Return the good answer to request `key`."""
    return {"jsonrpc": "2.0", "id": key, "result": value}


def error(key: object, kind: str, message: str, data: Message | None = None) -> Message:
    """Return the bad answer to request `key`: `kind` is for programs, `message` for people."""
    body = {
        "code": _CODES.get(kind, _OTHER),
        "message": message,
        "data": {**(data or {}), "kind": kind},
    }
    return {"jsonrpc": "2.0", "id": key, "error": body}


def key_of(message: Message) -> str | float | None:
    """Return the id that a request is answered by; None for one that is no id.

    NaN and 1e999 come through Python's JSON, and could not be sent back as JSON.
    """
    found = message.get("id")
    if isinstance(found, float):
        return found if -1e308 < found < 1e308 else None
    return found if isinstance(found, str | int) else None


def fault(message: Message) -> tuple[str, str] | None:
    """Return kind and words of what is wrong with a request; None for a good one."""
    method, params = message.get("method"), message.get("params", {})
    if message.get("jsonrpc") != "2.0":
        return BAD_REQUEST, 'cannot understand the request: it wants "jsonrpc": "2.0"'
    if not isinstance(method, str):
        return BAD_REQUEST, "cannot understand the request: method is a string"
    if key_of(message) != message.get("id"):
        return BAD_REQUEST, "cannot understand the request: id is a string or a number"
    if not isinstance(params, dict):
        return BAD_PARAMS, "cannot understand the request: params is an object"
    return None

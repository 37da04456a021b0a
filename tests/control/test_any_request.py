"""Whatever comes over the control socket: one answer to each request, and nobody is hurt by it."""

import contextlib
import json
import os
import socket

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from supervisor.control.server import Server
from supervisor.core.events import StartWanted, TimePassed
from supervisor.core.spec import ServiceSpec
from supervisor.core.supervisor import Supervisor
from supervisor.unix.poller import Poller
from supervisor.verbs import Desk, Verbs

NOW = 1000.0
WORDS = ("status", "start", "stop", "restart", "signal", "wait", "down", "reload", "logs")
KINDS = {"bad-request", "bad-params", "no-such-method", "no-such-service", "timeout", "failed"}


class House:
    """A server with the words of a master whose services are only decided about."""

    def __init__(self, path):
        self.poller, self.trouble, self.signals = Poller(), [], []
        specs = {name: (ServiceSpec(name=name, command=("x",)),) * 2 for name in ("web", "db")}
        self.core = Supervisor(specs, seed=0)
        self.core.handle(StartWanted(("web/0",)), NOW)
        desk = Desk(
            supervisor=self.core,
            handle=lambda event: self.core.handle(event, NOW),
            status=lambda ids: {"services": list(ids)},
            signal=lambda key, number: self.signals.append(number) or key == "web/0",
            reload=lambda asked: asked.reply.result({"variables": asked.variables}),
            upgrade=lambda reply: reply.result({}),
            config="keepd.yaml",
            now=lambda: NOW,
            log_dir="/log",
            anchor_pid=1,
        )
        self.verbs = Verbs(desk)
        self.path = path
        self.server = Server(self.poller, path, self.verbs.table(), self.trouble.append)

    def answers(self, pieces):
        """Send the pieces, each by itself, and the end; return all that is answered."""
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(self.path)
            for piece in pieces:
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    client.sendall(piece)
                self.poller.wait(0)
            client.shutdown(socket.SHUT_WR)
            client.setblocking(False)
            data = b""
            for _ in range(3 * len(pieces) + 60):
                self.poller.wait(0)
                self.core.handle(TimePassed(), NOW)
                self.verbs.look()
                with contextlib.suppress(BlockingIOError, ConnectionResetError):
                    data += client.recv(1 << 20)
        self.poller.wait(0)
        assert data.endswith(b"\n") or not data
        return [json.loads(line, parse_constant=pytest.fail) for line in data.splitlines()]

    def close(self):
        self.server.close()
        self.poller.close()


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    folder = tmp_path_factory.mktemp("control")
    os.chmod(folder, 0o700)
    found = House(str(folder / "s"))
    yield found
    found.close()


NAMES = st.sampled_from(
    ["web", "web/0", "db/1", "*", "w*", "[", "[!]", "keepd", "../web", "", "no"]
)
TEXTS = st.one_of(NAMES, st.text(max_size=20))
SCALARS = st.one_of(
    *(st.none(), st.booleans(), st.integers(), st.floats(), TEXTS),
    st.sampled_from(["TERM", "sigkill", "ready", "stopped", 9, 0, 10**400, 1e300, -1.0]),
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3)
)
PARAMS = st.fixed_dictionaries(
    {},
    optional={
        "names": st.lists(NAMES, max_size=4) | VALUES,
        "signal": SCALARS | VALUES,
        "for": SCALARS | VALUES,
        "timeout": SCALARS | VALUES,
        "variables": st.dictionaries(TEXTS, TEXTS, max_size=2) | VALUES,
        "yes": VALUES,
        "dry_run": VALUES,
    },
)
REQUESTS = st.fixed_dictionaries(
    {"jsonrpc": st.just("2.0"), "id": st.integers() | SCALARS},
    optional={"method": st.sampled_from(WORDS) | TEXTS, "params": PARAMS | VALUES},
)


def request(method, **params):
    return {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}


@given(REQUESTS)
@example(request("wait", timeout=float("nan")))
@example(request("wait", names=["db"], timeout=10**400))
@example(request("logs", names=5))
@example(request("reload", variables={"A": "\ud800"}))
@example(request("reload", variables={"A": "\0"}))
@example({**request("version"), "id": float("nan")})
@example({**request("version"), "id": float("inf")})
def test_every_request_has_one_answer_and_none_is_a_fault_of_ours(house, message):
    (*answers,) = house.answers([json.dumps(message).encode() + b"\n"])
    assert house.trouble == []
    if not answers:  # it is waited for, until the one who asks is gone
        assert message["method"] == "wait"
        return
    (answer,) = answers
    assert answer["jsonrpc"] == "2.0"
    assert answer["id"] in {message["id"], None} or isinstance(message["id"], float)
    if "error" in answer:
        assert answer["error"]["data"]["kind"] in KINDS | {"stopping"}
        assert answer["error"]["message"].startswith("cannot ")
    given = answer.get("result", {}).get("variables") or {}
    assert not any(b"\0" in text for text in map(os.fsencode, [*given, *given.values()]))
    assert house.verbs.waiters == []
    assert all(1 <= number <= 64 for number in house.signals)


GOOD = b'{"jsonrpc":"2.0","id":1,"method":"version"}\n'
QUIET = b'{"jsonrpc":"2.0","method":"version"}\n'
PIECES = st.one_of(
    st.sampled_from(
        [GOOD, GOOD, QUIET, b"\n", b"{", b"}", b'"', b"[]\n", b"\xff\n", b"nul", b"l\n"]
    ),
    st.binary(max_size=30),
)


@given(st.lists(PIECES, max_size=12), st.integers(1, 60))
def test_whatever_the_bytes_and_the_cuts_the_good_lines_before_the_first_bad_are_answered(
    house, pieces, size
):
    data = b"".join(pieces)
    good = 0
    for line in data.split(b"\n")[:-1]:
        if line.strip() and line + b"\n" not in {GOOD, QUIET}:
            break
        good += line + b"\n" == GOOD
    answers = house.answers([data[at : at + size] for at in range(0, len(data), size)])
    assert [answer["id"] for answer in answers[:good]] == [1] * good
    assert all("result" in answer for answer in answers[:good])
    assert len(house.answers([GOOD])) == 1
    assert house.trouble == []


def test_s25_a_pattern_that_takes_minutes_to_understand_is_refused(house):
    message = request("status", names=["[" * 100_000])
    (answer,) = house.answers([json.dumps(message).encode() + b"\n"])
    assert answer["error"]["data"]["kind"] == "no-such-service"
    assert len(answer["error"]["message"]) < 500

"""What is noted of a replica: all that matters, and never more than there is room for."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.core import memory
from supervisor.core.service import AT_REST, Cause, Ended, Service, State
from supervisor.core.spec import Ready, ServiceSpec

TIMES = st.floats(0, 1e8).map(lambda at: round(at, 3))
COUNTS = st.integers(0, 10**7)
CODES = st.none() | st.integers(-64, 255)
ENDS = st.builds(Ended, CODES, st.text(max_size=200), TIMES, TIMES)
REPLICAS = st.builds(
    Service,
    id=st.sampled_from(("web/0", f"{'x' * 64}/99999")),
    spec=st.just(ServiceSpec(name="web", ready=Ready(tcp="localhost:80"))),
    state=st.sampled_from(State),
    cause=st.sampled_from(Cause),
    deadline=st.none() | TIMES,
    last=st.none() | ENDS,
    starts=st.lists(TIMES, max_size=30).map(sorted).map(tuple),
    reason=st.text(max_size=200),
    **dict.fromkeys(("run", "failures", "restarts"), COUNTS),
    **dict.fromkeys(("since", "born_at"), TIMES),
    **dict.fromkeys(("wanted", "removed", "due", "born"), st.booleans()),
    **dict.fromkeys(("patient", "killed", "exited"), st.booleans()),
    code=CODES,
)
MATTERS = ("state", "run", "wanted", "removed", "failures", "restarts", "since")
OF_STATE = dict.fromkeys(AT_REST, ("due", "deadline")) | {
    State.STARTING: ("born", "born_at", "cause"),
    State.RUNNING: ("born", "born_at", "cause"),
    State.STOPPING: (
        *("born", "born_at", "cause", "patient", "killed", "exited", "code", "deadline"),
    ),
}


@given(REPLICAS)
def test_what_is_noted_and_recalled_is_the_same_in_all_that_matters(replica):
    noted = json.loads(json.dumps(memory.note(replica)))
    after = Service(replica.id, replica.spec)
    memory.recall(after, noted, 0.0)
    for name in (*MATTERS, *OF_STATE[replica.state]):
        assert getattr(after, name) == getattr(replica, name), name
    starts = replica.starts[len(replica.starts) - len(after.starts) :]
    assert after.starts == pytest.approx(starts, abs=0.001)
    assert bool(after.starts) == bool(starts)
    assert (after.last is None) == (replica.last is None)
    if replica.last:
        assert after.last.code == replica.last.code
        assert replica.last.reason.startswith(after.last.reason)
    if replica.state is State.STOPPING:
        assert replica.reason.startswith(after.reason)


@given(REPLICAS)
def test_no_note_is_longer_than_its_place(replica):
    assert len(json.dumps([replica.id, memory.note(replica)])) <= memory.SIZE


@pytest.mark.parametrize("letter", ["x", "ü", "\n", '"', "\\", "'", "🐍", "\x7f", "\ud800"])
@pytest.mark.parametrize("state", State)
def test_no_note_is_longer_than_its_place_at_the_extremes(letter, state):
    end = Ended(-64, letter * 9999, 98765432.101234, 98765432.101234)
    flags = dict.fromkeys(("wanted", "removed", "due", "born"), True)
    flags |= dict.fromkeys(("patient", "killed", "exited"), True)
    times = dict.fromkeys(("since", "born_at", "deadline"), 98765432.101234)
    counts = dict.fromkeys(("run", "failures", "restarts"), 9_999_999)
    replica = Service("x" * 64 + "/99999", ServiceSpec(name="x"), **flags, **times, **counts)
    replica.state, replica.cause, replica.code = state, Cause.UNHEALTHY, -64
    replica.last, replica.reason = end, letter * 9999
    replica.starts = tuple(1e7 + 1e6 * n + 0.123 for n in range(90))
    noted = memory.note(replica)
    assert len(json.dumps([replica.id, noted])) <= memory.SIZE
    assert noted["starts"]


def test_an_everyday_note_keeps_sixteen_starts_and_all_words():
    replica = Service("web/0", ServiceSpec(name="web"), state=State.BACKOFF, run=20, wanted=True)
    replica.starts = tuple(123456.7 + n for n in range(20))
    replica.last = Ended(None, "no such file: '/usr/local/bin/gunicron'", 123480.0, 0.0)
    noted = memory.note(replica)
    assert noted["last"][1] == replica.last.reason
    assert len(noted["starts"]) == 16

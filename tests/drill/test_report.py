"""What is told of a drill, and when it has failed."""

import pytest

from supervisor.drill.lines import Lines
from supervisor.drill.report import Fault, Outcome, as_data, broken, table

FAULTS = [
    Fault("master", "master", "kill", 1.0, 1.0, 0.12),
    Fault("master", "master", "stop", 2.0, 2.0, 0.02),
    Fault("master", "master", "kill", 3.0, 3.0, 1.5),
    Fault("writer", "writer", "kill", 4.0, 4.0),
]
GROWN = (
    "keepd itself, before and after: 4 and 4 processes, 80 and 81 descriptors, 31.0 and 32.0 MiB"
)


def test_a_drill_in_which_all_went_well():
    outcome = Outcome(7, 30.0, faults=FAULTS[:3], asked=2, lines=Lines(1000))
    outcome.before = {"processes": 4, "descriptors": 80, "memory": 31 << 20}
    outcome.after = {"processes": 4, "descriptors": 81, "memory": 32 << 20}
    assert table(outcome) == [
        "             KILLED STOPPED  BACK AFTER (MEDIAN, LONGEST)",
        "master            2       1  120 ms, 1.5 s",
        "",
        "restarts of services: 2 asked for by a hit, 0 not asked for",
        "doubles seen: 0",
        "lines of the witnesses: 1000 written, 0 lost, 0 doubled, 0 torn",
        GROWN,
        "every promise was kept",
    ]
    assert as_data(outcome)["faults"] == {
        "master": {"killed": 2, "stopped": 1, "median": 0.12, "longest": 1.5}
    }


@pytest.mark.parametrize(
    ("seen", "told"),
    [
        ({"doubles": ["web/0: runs 1 and 2 lived at the same time"]}, "lived at the same time"),
        ({"not_asked": ["web/0 was restarted"]}, "web/0 was restarted"),
        ({"missing": ["master"]}, "master was not back in time"),
        ({"lines": Lines(9, lost=1)}, "1 lines of the witnesses were lost"),
        ({"lines": Lines(9, doubled=2)}, "2 lines of the witnesses were doubled"),
        ({"lines": Lines(9, torn=3)}, "3 lines of the witnesses were torn"),
    ],
)
def test_each_broken_promise_is_told(seen, told):
    outcome = Outcome(7, faults=FAULTS, **seen)
    (line,) = broken(outcome)
    assert told in line
    assert table(outcome)[-2:] == ["broken:", f"  {line}"]
    assert as_data(outcome)["broken"] == [line]


def test_who_was_interrupted_is_not_praised():
    assert "interrupted" in table(Outcome(7, faults=FAULTS, interrupted=True))[-1]
    assert table(Outcome(7))[-1] == "nobody was hit"

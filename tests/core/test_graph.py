"""Who depends on whom."""

import graphlib
import itertools

import pytest

from supervisor.core.graph import Graph, cycle
from supervisor.core.spec import Condition

LONG = 5_000
CHAIN = {str(n): {str(n + 1): Condition.READY} for n in range(LONG)} | {str(LONG): {}}
DIAMOND = {
    "web": {"app": Condition.READY, "cache": Condition.STARTED},
    "app": {"db": Condition.READY},
    "cache": {"db": Condition.READY},
    "db": {},
    "alone": {},
}


def test_what_is_depended_on_comes_first():
    order = Graph(DIAMOND).order
    assert sorted(order) == sorted(DIAMOND)
    for name, needs in DIAMOND.items():
        assert all(order.index(other) < order.index(name) for other in needs)


@pytest.mark.parametrize(
    ("names", "found"),
    [
        ([], []),
        (["db"], ["db"]),
        (["app"], ["db", "app"]),
        (["cache", "app"], ["db", "app", "cache"]),
        (["web", "alone", "web"], ["alone", "app", "cache", "db", "web"]),
    ],
)
def test_a_closure_is_all_that_is_needed_and_nothing_else(names, found):
    closure = Graph(DIAMOND).closure(names)
    assert sorted(closure) == sorted(found)
    assert closure == [name for name in Graph(DIAMOND).order if name in found]


def test_above_is_everything_that_needs_it_each_once_the_nearest_first():
    above = list(Graph(DIAMOND).above("db"))
    assert sorted(above) == ["app", "cache", "web"]
    assert above[-1] == "web"
    assert list(Graph(DIAMOND).above("web")) == []


def test_above_does_not_go_beyond_what_is_known():
    assert list(Graph(DIAMOND).above("db", known={"cache", "app"})) == []
    assert sorted(Graph(DIAMOND).above("db", known={"app"})) == ["cache", "web"]


def test_a_chain_of_5000_is_no_trouble():
    graph = Graph(CHAIN)
    assert graph.order == tuple(str(n) for n in range(LONG, -1, -1))
    assert len(graph.closure(["0"])) == LONG + 1
    assert sum(1 for _ in graph.above(str(LONG))) == LONG
    assert cycle(CHAIN) == []


@pytest.mark.parametrize(
    "needs",
    [
        {"a": ["a"]},
        {"a": ["b"], "b": ["a"]},
        {"web": ["app"], "app": ["db", "log"], "db": ["web"], "log": []},
        {**{str(n): [str(n + 1)] for n in range(LONG)}, str(LONG): ["0"]},
    ],
)
def test_a_cycle_is_told_each_needing_the_next_and_the_first_again(needs):
    found = cycle(needs)
    assert found[0] == found[-1]
    assert len(set(found)) == len(found) - 1
    assert all(other in needs[name] for name, other in itertools.pairwise(found))


def test_what_does_not_go_round_has_no_cycle():
    assert cycle(DIAMOND) == []


def test_a_graph_is_not_made_of_what_goes_round():
    with pytest.raises(graphlib.CycleError):
        Graph({"a": {"b": Condition.READY}, "b": {"a": Condition.READY}})

"""The simulated world bites: it catches every fault that is put into the core on purpose."""

import pytest

from .mutants import MUTANTS, Mutant
from .schedule import REAL, BrokenPromiseError, replay

SEEDS = 500  # each mutant is caught by one of so many


def replay_all(core):
    for seed in range(SEEDS):
        replay(seed, core)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mutant_is_caught(mutant):
    with pytest.raises(BrokenPromiseError):
        replay_all(mutant.core())


def test_the_core_itself_keeps_its_promises_for_the_same_seeds():
    replay_all(REAL)


def test_there_are_many_mutants_and_no_two_are_the_same():
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS) >= 12
    assert len({mutant.swaps for mutant in MUTANTS}) == len(MUTANTS)


def test_a_mutant_whose_place_in_the_source_has_gone_is_told_by_name():
    with pytest.raises(ValueError, match=r"lost: 0 times in service\.py: no such words"):
        Mutant("lost", "service", (("no such words", ""),)).core()

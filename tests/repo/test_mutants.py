"""The kept list of mutants still fits the files that it changes."""

from __future__ import annotations

import pytest

from tests.mutants.catalog import ROOT, Mutant, load_mutants

MUTANTS = load_mutants()


def test_there_are_enough_and_each_has_a_name_of_its_own() -> None:
    assert len(MUTANTS) >= 80
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)
    assert sum(bool(mutant.survives) for mutant in MUTANTS) <= len(MUTANTS) / 10


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mutant_changes_one_place_and_names_tests_that_exist(mutant: Mutant) -> None:
    text = (ROOT / mutant.file).read_text()
    assert mutant.apply(text) != text
    for test in mutant.tests:
        assert (ROOT / test.partition("::")[0]).exists(), test

"""Worlds of `make statistics` by the steps of a retraining; there are a hundred of each there."""

from __future__ import annotations

import pytest

from tests.statistics.retraining import count, move_away, poison, poison_what_moved, turn_round


def test_a_relation_that_turns_round_is_held_with_a_better_model() -> None:
    assert count(turn_round, range(1))["held and better"] == 1.0


@pytest.mark.parametrize(("labels", "share"), [(1000, 1.0), (1000, 0.5)])
def test_labels_that_are_turned_round_are_never_promoted_without_a_person(labels: int, share: float) -> None:
    assert count(lambda seed: poison(seed, labels, share), range(1))["promoted"] == 0.0


def test_rows_that_move_are_learned_without_a_person_and_labels_turned_round_there_are_not() -> None:
    assert count(move_away, range(1))["promoted"] == 1.0
    assert count(poison_what_moved, range(1))["promoted"] == 0.0

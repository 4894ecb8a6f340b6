"""The choice and the verdict of a retraining in worlds that change, by seeds: what is promoted, held and rejected."""

from __future__ import annotations

import pandas as pd
import pytest

from tests.unit.ml_code.monitoring.retraining.changed_world import (
    Outcome,
    draw_rows,
    make_world,
    mark_live,
    retrain,
)

BEFORE = make_world(1.5)
TURNED = make_world(-0.5)

SHARE = 0.95
"""Of the seeds, as many must end as expected."""


def turn_round(seed: int, rows: int = 1000, *, unattended: bool = False) -> Outcome:
    """The relation of the first feature to the label turns round."""
    new, fresh = draw_rows(TURNED, rows, seed + 1000), draw_rows(TURNED, 3000, seed + 2000)
    return retrain(draw_rows(BEFORE, 3000, seed), mark_live(new, seed), fresh, unattended=unattended)


def poison(seed: int, rows: int = 1000) -> Outcome:
    """The world is as before, but every new label is the wrong one."""
    new, fresh = draw_rows(BEFORE, rows, seed + 1000), draw_rows(BEFORE, 3000, seed + 2000)
    return retrain(draw_rows(BEFORE, 3000, seed), mark_live(new.assign(label=1 - new["label"]), seed), fresh)


def move_away(seed: int, rows: int = 600) -> Outcome:
    """The rows move to where no old row is, and there the labels are the other ones."""

    def label_far(frame: pd.DataFrame, random: object) -> object:
        return (frame["b"] < 12).to_numpy().astype(int)

    far = [draw_rows(label_far, count, seed + start, shift=12.0) for start, count in ((1000, rows), (2000, 3000))]  # type: ignore[arg-type]
    return retrain(draw_rows(BEFORE, 1000, seed), mark_live(far[0], seed), far[1])


def check_turned(seeds: range) -> None:
    found = [turn_round(seed) for seed in seeds]
    held = [result for result in found if result.decision.needs_approval and result.gain >= 0.05]
    assert len(held) >= SHARE * len(seeds), [(result.mix, result.gain, result.decision.reason) for result in found]


def check_poisoned(seeds: range) -> None:
    for rows in (200, 1000):
        found = [poison(seed, rows).decision for seed in seeds]
        assert not [decision.reason for decision in found if decision.is_promoted and not decision.needs_approval]


def check_moved(seeds: range) -> None:
    found = [move_away(seed) for seed in seeds]
    passed = [result for result in found if result.decision.is_promoted and not result.decision.needs_approval]
    assert len(passed) >= SHARE * len(seeds), [(result.mix, result.gain, result.decision.reason) for result in found]
    assert all(result.gain > 0.05 for result in passed)


def test_a_relation_that_turns_round_is_held_for_a_person_with_a_better_model() -> None:
    check_turned(range(2))


def test_labels_turned_round_where_old_rows_know_better_are_never_promoted_unattended() -> None:
    check_poisoned(range(2))


def test_rows_that_move_to_where_no_old_row_contradicts_them_are_promoted_without_a_hand() -> None:
    check_moved(range(2))


@pytest.mark.long
def test_a_hundred_worlds_end_as_they_should() -> None:
    check_turned(range(100, 200))
    check_poisoned(range(100, 150))
    check_moved(range(100, 150))


def test_a_dataset_that_says_so_needs_no_person() -> None:
    found = turn_round(0, unattended=True)
    assert found.decision.is_promoted
    assert not found.decision.needs_approval
    assert found.decision.best_version is None


def test_the_reason_has_both_figures() -> None:
    decision = turn_round(1).decision
    assert decision.old_difference is not None
    assert decision.difference is not None
    assert decision.old_difference < -0.02 < 0.05 < decision.difference
    assert "newest held-out rows" in decision.reason
    assert "older ones; a changed world and wrong labels look alike" in decision.reason


def test_the_mildest_of_equal_models_is_chosen() -> None:
    """Without a change the mixes differ by chance."""
    new, fresh = draw_rows(BEFORE, 1000, 7), draw_rows(BEFORE, 1000, 8)
    found = retrain(draw_rows(BEFORE, 3000, 6), mark_live(new, 9), fresh)
    assert found.mix == "all"

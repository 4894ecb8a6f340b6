"""The comparison of two versions by labelled rows, simulated with seeds."""

from __future__ import annotations

import math

import numpy as np
import pytest

from serving.comparison.experiment import Comparison, Losses, Plan, compare, compare_pairs, estimate_rows
from tests.statistics.experiment import ExperimentCase, look_often, simulate_experiments

LOOKS = 100


@pytest.mark.parametrize("share", [0.1, 0.5])
@pytest.mark.parametrize("users", [None, 400], ids=["rows", "400 users"])
@pytest.mark.parametrize("seeds", [20, pytest.param(400, marks=pytest.mark.long)])
def test_without_a_difference_hardly_any_of_100_looks_names_a_winner(
    seeds: int, users: int | None, share: float
) -> None:
    found = simulate_experiments(ExperimentCase(share=share, users=users), seeds)
    assert found.winners * seeds <= 0.05 * seeds + 1
    assert found.coverage * seeds >= 0.95 * seeds - 1


@pytest.mark.parametrize("difference", [-0.08, 0.08])
def test_a_difference_is_found_in_its_direction_long_before_the_last_row(difference: float) -> None:
    for seed in range(10):
        looks = look_often(ExperimentCase(6000, difference=difference), seed)
        verdicts = [found.verdict for found in looks]
        winner = "better" if difference < 0 else "worse"
        assert winner in verdicts[:60]
        assert {"better", "worse"} & set(verdicts) == {winner}


def test_a_difference_below_the_margin_is_equivalent_in_the_end() -> None:
    assert look_often(ExperimentCase(40_000), 3)[-1].verdict == "equivalent"


def test_the_rows_needed_find_the_margin_in_four_of_five_experiments() -> None:
    needed = estimate_rows(Plan(margin=0.05, variance=0.09, share=0.5))
    found = simulate_experiments(ExperimentCase(needed, difference=0.05), 40).winners
    assert found >= 0.7
    assert simulate_experiments(ExperimentCase(needed // 3, difference=0.05), 40).winners < found


def test_a_smaller_share_needs_more_rows() -> None:
    assert estimate_rows(Plan(0.05, 0.09, 0.1)) > 2 * estimate_rows(Plan(0.05, 0.09, 0.5))


def test_few_users_tell_nothing_however_many_rows_they_send() -> None:
    losses = Losses(np.tile([0.0, 1.0], 5000), np.arange(10_000) % 40)
    other = Losses(np.zeros(10_000), np.arange(10_000) % 40)
    found = compare(losses, other, Plan(0.05, 0.09, 0.5))
    assert (found.verdict, found.units, found.is_known) == ("undecided", 40, False)
    assert found.describe()["difference"] is None


def test_rows_of_one_user_count_as_one() -> None:
    draw = np.random.default_rng(7)
    values = np.repeat((draw.random(100) < 0.5).astype(float), 50)
    by_user, by_row = (Losses(values, units) for units in (np.repeat(np.arange(100), 50), np.arange(5000)))
    wide, narrow = (compare(one, one, Plan(0.05, 0.25, 0.5)) for one in (by_user, by_row))
    assert wide.high > 3 * narrow.high
    assert math.isclose(wide.difference, 0.0)


def simulate_pairs(seed: int, rows: int, *, difference: float, users: int | None, unlike: float) -> list[Comparison]:
    """All looks at one shadow: the versions differ in a share of the rows, and users differ in how often."""
    draw = np.random.default_rng(seed)
    count = users or rows
    units = draw.integers(0, users, rows) if users else np.arange(rows)
    differ = (draw.beta(0.9, 0.9 / unlike - 0.9, count) if users else np.full(count, unlike))[units]
    drawn = draw.random(rows)
    half = (differ + difference) / 2
    losses = np.where(drawn < half, 1.0, np.where(drawn < differ, -1.0, 0.0))
    plan = Plan(margin=0.02, variance=unlike, share=None)
    return [
        compare_pairs(Losses(losses[:seen], units[:seen]), plan, step=1.0)
        for seen in (rows * number // LOOKS for number in range(1, LOOKS + 1))
    ]


def count_paired_winners(seeds: int, rows: int, *, users: int | None = None, difference: float = 0.0) -> int:
    looks = [simulate_pairs(seed, rows, difference=difference, users=users, unlike=0.08) for seed in range(seeds)]
    return sum(any(found.verdict in {"better", "worse"} for found in series) for series in looks)


@pytest.mark.parametrize("users", [None, 400], ids=["rows", "400 users"])
@pytest.mark.parametrize("seeds", [20, pytest.param(400, marks=pytest.mark.long)])
def test_without_a_difference_hardly_any_shadow_names_a_winner(seeds: int, users: int | None) -> None:
    assert count_paired_winners(seeds, 4000, users=users) <= 0.05 * seeds + 1


@pytest.mark.parametrize("seeds", [20, pytest.param(400, marks=pytest.mark.long)])
def test_a_shadow_needs_a_fraction_of_the_rows_of_a_split(seeds: int) -> None:
    needed = estimate_rows(Plan(margin=0.02, variance=0.08, share=None))
    assert needed * 10 < estimate_rows(Plan(margin=0.02, variance=0.09, share=0.1))
    assert count_paired_winners(seeds, needed, difference=0.02) >= 0.7 * seeds


def test_versions_that_never_differed_are_equivalent_only_after_rows_enough() -> None:
    plan = Plan(margin=0.02, variance=0.01, share=None)

    def judge(rows: int, step: float) -> str:
        return compare_pairs(Losses(np.zeros(rows), np.arange(rows)), plan, step=step).verdict

    assert (judge(100, 1.0), judge(2000, 1.0)) == ("undecided", "equivalent")
    assert judge(100, 0.0) == "equivalent", "numbers that never differ are of the same model"


def test_few_users_tell_nothing_of_a_shadow_either() -> None:
    differences = Losses(np.tile([1.0, 0.0], 5000), np.arange(10_000) % 40)
    found = compare_pairs(differences, Plan(0.02, 0.25, None), step=1.0)
    assert (found.verdict, found.units, found.is_known) == ("undecided", 40, False)

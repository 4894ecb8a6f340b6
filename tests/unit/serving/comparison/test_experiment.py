"""The comparison of two versions by labelled rows, simulated with seeds."""

from __future__ import annotations

import math

import numpy as np
import pytest

from serving.comparison.experiment import Comparison, Losses, Plan, compare, estimate_rows

LOOKS = 100


def simulate(
    seed: int, rows: int, *, difference: float, users: int | None = None, share: float = 0.5
) -> list[Comparison]:
    """All looks at one experiment: one answer in ten is wrong, and users differ in how often."""
    draw = np.random.default_rng(seed)
    count = users or rows
    units = draw.integers(0, users, rows) if users else np.arange(rows)
    is_challenger = (draw.random(count) < share)[units]
    error_rate = (draw.beta(0.9, 8.1, count) if users else np.full(count, 0.1))[units]
    wrong = (draw.random(rows) < error_rate + np.where(is_challenger, difference, 0)).astype(float)
    plan = Plan(margin=0.05, variance=0.09, share=share)

    def look(seen: int) -> Comparison:
        ours = is_challenger[:seen]
        return compare(
            Losses(wrong[:seen][~ours], units[:seen][~ours]), Losses(wrong[:seen][ours], units[:seen][ours]), plan
        )

    return [look(rows * number // LOOKS) for number in range(1, LOOKS + 1)]


def count_winners(seeds: int, rows: int, *, users: int | None, share: float, difference: float = 0.0) -> int:
    looks = [simulate(seed, rows, difference=difference, users=users, share=share) for seed in range(seeds)]
    return sum(any(found.verdict in {"better", "worse"} for found in series) for series in looks)


@pytest.mark.parametrize("share", [0.1, 0.5])
@pytest.mark.parametrize("users", [None, 400], ids=["rows", "400 users"])
@pytest.mark.parametrize("seeds", [20, pytest.param(400, marks=pytest.mark.long)])
def test_without_a_difference_hardly_any_of_100_looks_names_a_winner(
    seeds: int, users: int | None, share: float
) -> None:
    assert count_winners(seeds, 4000, users=users, share=share) <= 0.05 * seeds + 1


@pytest.mark.parametrize("difference", [-0.08, 0.08])
def test_a_difference_is_found_in_its_direction_long_before_the_last_row(difference: float) -> None:
    for seed in range(10):
        looks = simulate(seed, 6000, difference=difference)
        verdicts = [found.verdict for found in looks]
        winner = "better" if difference < 0 else "worse"
        assert winner in verdicts[:60]
        assert {"better", "worse"} & set(verdicts) == {winner}


def test_a_difference_below_the_margin_is_equivalent_in_the_end() -> None:
    assert simulate(3, 40_000, difference=0.0)[-1].verdict == "equivalent"


def test_the_rows_needed_find_the_margin_in_four_of_five_experiments() -> None:
    needed = estimate_rows(Plan(margin=0.05, variance=0.09, share=0.5))
    found = count_winners(40, needed, users=None, share=0.5, difference=0.05)
    assert found >= 0.7 * 40
    assert count_winners(40, needed // 3, users=None, share=0.5, difference=0.05) < found


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

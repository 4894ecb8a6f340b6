"""Small simulations: clean windows are hardly ever called drifted, and a move is found; `make statistics` has all."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.statistics.drift import Case, simulate, summarize
from tests.statistics.tables import TableCase, simulate_table


@pytest.mark.parametrize(
    ("case", "most"),
    [(Case(100, 50, 4), 0.04), (Case(100, 200, 20), 0.04), (Case(900, 200, 20), 0.02)],
    ids=["100-50-4", "100-200-20", "900-200-20"],
)
def test_clean_windows_are_clean(case: Case, most: float) -> None:
    assert simulate(case, series=6).windows <= most


@pytest.mark.parametrize(
    "case",
    [
        Case(900, 900, 4, "users with ten rows"),
        Case(900, 400, 4, "a user who is half"),
        Case(900, 700, 4, "fifty rows alone"),
        Case(900, 400, 4, "fifty rows are half"),
        Case(900, 400, 4, "coarse cells"),
    ],
    ids=lambda case: case.traffic,
)
def test_windows_of_users_and_load_tests_are_clean(case: Case) -> None:
    found = simulate(case, series=3)
    assert found.windows <= 0.02
    assert not found.unjudged


def test_windows_of_a_shipped_table_are_clean(tmp_path: Path) -> None:
    found = simulate_table(TableCase("iris", 50, 1), tmp_path, series=6)
    assert (found.windows, found.unjudged) == (0, 0)


@pytest.mark.parametrize(
    "case",
    [Case(100, 50, 4, shift=1.0), Case(900, 200, 4, shift=0.5), Case(900, 200, 4, moved_share=0.2)],
    ids=["100-50-1sd", "900-200-half", "900-200-category"],
)
def test_a_moved_column_is_found_within_five_windows(case: Case) -> None:
    assert simulate(case, series=12, windows=5).within_five >= 0.9


def test_a_series_alarms_at_its_second_drift_of_five_and_not_before() -> None:
    quiet, late = ["drift", *["clean"] * 4, "drift"], ["clean", "drift", "clean", "clean", "clean", "drift"]
    found = summarize([quiet, late, ["no verdict"] * 6])
    assert (found.series, found.within_five, found.unjudged) == pytest.approx((1 / 3, 0, 1 / 3))

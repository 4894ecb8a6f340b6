"""Small simulations: clean windows are hardly ever called drifted, and a shift is found; `make statistics` has all."""

from __future__ import annotations

import pytest

from tests.statistics.drift import Case, simulate


@pytest.mark.parametrize(
    ("case", "most"),
    [(Case(100, 50, 4), 0.04), (Case(100, 200, 20), 0.04), (Case(900, 200, 20), 0.02)],
    ids=["100-50-4", "100-200-20", "900-200-20"],
)
def test_clean_windows_are_clean(case: Case, most: float) -> None:
    assert simulate(case, series=6).windows <= most


@pytest.mark.parametrize("case", [Case(100, 50, 4, 1.0), Case(900, 200, 4, 0.5)], ids=["100-50-1sd", "900-200-half"])
def test_a_moved_feature_is_found_within_five_windows(case: Case) -> None:
    assert simulate(case, series=12, windows=5).within_five >= 0.9

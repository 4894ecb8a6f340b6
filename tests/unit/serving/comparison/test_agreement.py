from __future__ import annotations

import numpy as np
import pytest

from serving.comparison.agreement import Predictions, measure_agreement


def make(values: list[str] | list[float], scores: list[float] | None = None) -> Predictions:
    kind = object if isinstance(values[0], str) else np.float64
    return Predictions(np.array(values, dtype=kind), np.array(scores or [np.nan] * len(values)))


def test_rows_with_the_same_label_are_alike() -> None:
    found = measure_agreement(make(["0", "1", "1", "2"], [0.9] * 4), make(["0", "1", "2", "2"], [0.9] * 4))
    assert found is not None
    assert (found.rows, found.alike, found.psi) == (4, 0.75, None)


def test_numbers_are_alike_but_for_rounding() -> None:
    found = measure_agreement(make([100.0, 100.0, float("nan")]), make([100.05, 101.0, float("nan")]))
    assert found is not None
    assert found.alike == pytest.approx(2 / 3)


def test_small_numbers_are_alike_in_units_of_their_spread() -> None:
    found = measure_agreement(make([1e-4, 2e-4, 3e-4]), make([1e-4, 3e-4, 2e-4]))
    assert found is not None
    assert found.alike == pytest.approx(1 / 3)


def test_the_index_tells_moved_scores_from_the_same_ones() -> None:
    draw = np.random.default_rng(5)
    labels, scores = np.full(2000, "0", dtype=object), draw.uniform(0.5, 1, 2000)
    champion = Predictions(labels, scores)
    same = measure_agreement(champion, Predictions(labels, draw.permutation(scores)))
    moved = measure_agreement(champion, Predictions(labels, scores**3))
    assert same is not None
    assert moved is not None
    assert (same.alike, moved.alike) == (1.0, 1.0)
    assert same.psi == pytest.approx(0, abs=1e-9)
    assert moved.psi is not None
    assert moved.psi > 0.5


def test_the_index_of_a_regression_is_that_of_its_numbers() -> None:
    values = np.random.default_rng(5).normal(0, 1, 2000)
    found = measure_agreement(
        Predictions(values, np.full(2000, np.nan)), Predictions(values + 1, np.full(2000, np.nan))
    )
    assert found is not None
    assert found.psi is not None
    assert found.psi > 0.5


def test_without_a_row_there_is_nothing() -> None:
    empty = Predictions(np.empty(0), np.empty(0))
    assert measure_agreement(empty, empty) is None

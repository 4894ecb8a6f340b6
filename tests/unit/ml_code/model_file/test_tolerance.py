from __future__ import annotations

import math

import numpy as np
import pytest

from ml_code.model_file.tolerance import are_close, find_scale, is_same


def test_small_values_are_compared_in_units_of_their_spread() -> None:
    values = np.array([1e-4, 3e-4, 2e-4, math.nan])
    scale = find_scale(values)
    assert scale == pytest.approx(8.2e-5, rel=0.01)
    assert are_close(values[:2], np.array([1.0001e-4, 1e-4]), 1e-3, scale).tolist() == [True, False]
    assert (is_same(1e-4, 2e-4, 1e-4, scale), is_same(1e-4, 1.00001e-4, 1e-4, scale)) == (False, True)


@pytest.mark.parametrize("values", [[1e6, -1e6], [5.0, 5.0], [0.1, 0.1, 0.1], [0.3, 0.1 + 0.2], [0.0], [], [math.nan]])
def test_other_values_are_compared_in_units_of_one(values: list[float]) -> None:
    assert find_scale(values) == 1.0

from __future__ import annotations

import json
import math

import numpy as np
import pandas as pd
import pytest

from ml_code.datasets import Dataset
from ml_code.gate.evidence import Slice
from ml_code.gate.slices import MOST_CATEGORIES, list_counting, list_cuts, measure_slices, write_slices
from ml_code.model_file.onnx_model import Prediction
from tests.unit.ml_code.passengers import make_dataset

ROWS = 400


def make_holdout(**columns: object) -> pd.DataFrame:
    cells = {"age": [30.0] * ROWS, "fare": [1.0] * ROWS, "town": "S", "sex": "male", "outcome": "alive"}
    return pd.DataFrame(cells | columns)


def measure(holdout: pd.DataFrame, found: object, dataset: Dataset | None = None) -> dict[str, Slice]:
    values = np.broadcast_to(np.asarray(found, dtype=object), ROWS).tolist()
    return {part.name: part for part in measure_slices(dataset or make_dataset(), holdout, Prediction(values, None))}


def test_every_category_is_measured_and_the_worst_comes_first() -> None:
    towns = np.repeat(["S", "C", "Q", None], ROWS // 4)
    found = measure(make_holdout(town=towns), np.where(towns == "Q", "dead", "alive"))
    assert next(iter(found)) == "town = Q"
    assert (found["town = Q"].score, found["town = S"].score, found["town is missing"].rows) == (0.0, 1.0, 100)


def test_a_category_is_the_same_in_every_spelling() -> None:
    found = measure(make_holdout(town=["1.0", " 1"] * (ROWS // 2)), "alive")
    assert found["town = 1"].rows == ROWS


def test_only_the_largest_categories_are_measured() -> None:
    towns = [*map(str, range(1000, 1030)), *["S"] * (ROWS - 30)]
    names = [name for name in measure(make_holdout(town=towns), "alive") if name.startswith("town")]
    assert len(names) == MOST_CATEGORIES
    assert "town = S" in names


def test_each_quartile_of_a_number_is_measured_and_its_gaps() -> None:
    ages = [*[math.nan] * 40, *np.arange(360.0)]
    found = measure(make_holdout(age=ages), np.where(np.array(ages) > 269.25, "dead", "alive"))
    parts = [part for name, part in found.items() if name.startswith("age")]
    assert sorted(part.rows for part in parts) == [40, 90, 90, 90, 90]
    assert parts[0].name == "age > 269.25, <= 359"
    assert parts[0].score == 0.0
    assert all(part.score == 1.0 for part in parts[1:])


@pytest.mark.parametrize(
    ("ages", "rows"), [([5.0] * ROWS, [400]), ([0.0, 1.0] * (ROWS // 2), [200, 200]), ([math.nan] * ROWS, [400])]
)
def test_a_number_of_few_values_has_fewer_slices_and_each_row_is_in_one(ages: list[float], rows: list[int]) -> None:
    found = measure(make_holdout(age=ages), "alive")
    assert [part.rows for name, part in found.items() if name.startswith("age")] == rows


def test_the_largest_error_is_the_worst() -> None:
    dataset = make_dataset("regression", gate={"metric": "rmse", "threshold": 1.0})
    towns = np.repeat(["S", "C"], ROWS // 2)
    found = measure(make_holdout(town=towns, outcome=10.0), np.where(towns == "C", 13.0, 10.0), dataset)
    assert next(iter(found.values())).name == "town = C"
    assert found["town = C"].score == pytest.approx(3.0)


def test_a_score_that_is_not_a_number_is_the_worst_and_null() -> None:
    dataset = make_dataset("regression", gate={"metric": "mae", "threshold": 1.0})
    towns = np.repeat(["S", "C"], ROWS // 2)
    values = [5.0] * (ROWS // 2) + [math.nan] * (ROWS // 2)
    slices = measure_slices(dataset, make_holdout(town=towns, outcome=1.0), Prediction(values, None))
    assert math.isnan(slices[0].score)
    by_name = {(part["feature"], part["part"]): part["score"] for part in json.loads(write_slices(slices))}
    assert (by_name["town", "= C"], by_name["town", "= S"]) == (None, 4.0)


def test_slices_with_too_few_rows_do_not_count() -> None:
    slices = [Slice("a", "", 29, 0.1), Slice("b", "", 30, 0.2)]
    assert list_counting(slices, 30) == slices[1:]


def test_every_slice_has_a_name_of_its_own() -> None:
    address = "https://shop.example.org/catalogue/kitchen/items/number-of-the-item-"
    columns = {"town": [f"{address}{place % 4}" for place in range(ROWS)], "age": 1.79e9 + np.arange(ROWS)}
    cuts = list_cuts(make_dataset(), make_holdout(**columns))
    assert len({(cut.feature, cut.part) for cut in cuts}) == len(cuts)
    assert max(len(cut.part) for cut in cuts) < 100


def test_a_slice_that_says_nothing_of_the_metric_is_left_out() -> None:
    towns = np.repeat(["S", "C"], ROWS // 2)
    rare = np.where((towns == "S") & (np.arange(ROWS) < 9), "dead", "alive")
    shares = np.stack([rare == "alive", rare == "dead"], axis=1).astype(np.float32)
    predicted = Prediction(rare.tolist(), shares, ["alive", "dead"])
    dataset = make_dataset(gate={"metric": "average_precision", "threshold": 0.5})
    found = {
        part.name: part.score for part in measure_slices(dataset, make_holdout(town=towns, outcome=rare), predicted)
    }
    assert (found["town = S"], "town = C" in found) == (1.0, False)
    values = np.where(towns == "S", np.arange(ROWS), 5.0)
    dataset = make_dataset("regression", gate={"metric": "r2", "threshold": 0.5})
    of_values = measure(make_holdout(town=towns, outcome=values), values.astype(object), dataset)
    assert (of_values["town = S"].score, "town = C" in of_values) == (1.0, False)

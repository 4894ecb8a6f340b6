"""Windows of known rows, each with the verdict that a person would give."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from ml_code.dataset_rules import ColumnCheck
from ml_code.monitoring.drift.judging import judge
from ml_code.training.reference import Reference
from tests.drift_rows import judge_rows, make_log, make_reference

TOWNS = np.array(["Busan", "Seoul", "Daegu"], dtype=object)


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(7)


def draw(random: np.random.Generator, rows: int, shift: float = 0.0) -> dict[str, Any]:
    return {
        "size": random.normal(50 + 10 * shift, 10, rows),
        "age": random.integers(0, 40, rows).astype(float),
        "town": TOWNS[random.integers(0, 3, rows)],
    }


def test_rows_like_those_of_the_training_are_clean(random: np.random.Generator) -> None:
    assert judge_rows(draw(random, 500), draw(random, 300)).verdict == "clean"


def test_a_moved_feature_is_named_and_its_neighbours_are_not(random: np.random.Generator) -> None:
    found = judge_rows(draw(random, 500), draw(random, 300, shift=1))
    assert found.verdict == "drift"
    assert found.drifted == ["size", "the prediction"]


def test_a_category_that_gains_twenty_points_drifts(random: np.random.Generator) -> None:
    window = draw(random, 400)
    window["town"][:80] = "Seoul"
    assert judge_rows(draw(random, 1000), window).drifted == ["town"]


def test_a_significant_difference_that_is_small_is_clean(random: np.random.Generator) -> None:
    found = judge_rows(draw(random, 9000), draw(random, 9000, shift=0.15))
    assert next(column.adjusted for column in found.comparisons if column.name == "size") < 0.01
    assert found.verdict == "clean"


def test_a_large_difference_that_is_chance_is_clean(random: np.random.Generator) -> None:
    found = judge_rows(draw(random, 100), draw(random, 50))
    assert max(column.psi for column in found.comparisons) > 0.1
    assert found.verdict == "clean"


@pytest.mark.parametrize("rows", [0, 1, 49])
def test_few_rows_give_no_verdict(random: np.random.Generator, rows: int) -> None:
    found = judge_rows(draw(random, 500), draw(random, rows, shift=5))
    assert (found.verdict, found.rows) == ("no verdict", rows)
    assert "at least 50" in found.notes[0]


def test_fifty_rows_are_enough(random: np.random.Generator) -> None:
    assert judge_rows(draw(random, 500), draw(random, 50, shift=2)).verdict == "drift"


def test_a_missing_reference_gives_no_verdict_and_its_reason(random: np.random.Generator) -> None:
    found = judge(None, make_log(draw(random, 300)), {})
    assert (found.verdict, found.notes) == ("no verdict", ["the version has no reference"])


def test_a_constant_reference_gives_no_verdict_and_its_reason() -> None:
    same, other = {"size": np.ones(100)}, {"size": np.full(100, 2.0)}
    found = judge_rows(same, other)
    assert (found.verdict, found.notes) == ("no verdict", ["size is constant in the reference"])


def test_a_feature_of_missing_cells_alone_is_a_fault_of_the_data(random: np.random.Generator) -> None:
    found = judge_rows(draw(random, 500), {**draw(random, 300, shift=2), "age": np.full(300, np.nan)})
    assert (found.verdict, found.faults) == ("quality", ["age is missing in 100% of 300 rows"])


def test_a_few_more_missing_cells_than_usual_are_no_fault(random: np.random.Generator) -> None:
    known, window = draw(random, 500), draw(random, 60)
    known["age"][:100] = np.nan
    window["age"][:16] = np.nan
    assert judge_rows(known, window).verdict == "clean"


def test_a_new_category_is_a_fault_of_the_data(random: np.random.Generator) -> None:
    window = draw(random, 300)
    window["town"][:40] = "<script>"
    assert judge_rows(draw(random, 700), window).faults == ["town has new categories in 13% of 300 rows"]


def test_a_rare_category_that_the_drawn_rows_lack_is_known_by_the_model(random: np.random.Generator) -> None:
    known, window = draw(random, 700), draw(random, 300)
    window["town"][:20] = "Jeju"
    reference = make_reference(known)
    described = [
        feature.model_copy(update={"categories": [*TOWNS, "Jeju"]}) if feature.name == "town" else feature
        for feature in reference.features
    ]
    assert not judge(Reference(reference.rows, described), make_log(window), {}).faults


def test_another_unit_leaves_the_catalogs_range_and_is_no_drift(random: np.random.Generator) -> None:
    window = draw(random, 300)
    found = judge_rows(draw(random, 500), {**window, "size": window["size"] * 10}, {"size": ColumnCheck(maximum=120)})
    assert (found.verdict, found.faults) == ("quality", ["size is outside of the catalog's range in 100% of 300 rows"])
    assert "size" in found.drifted


def test_a_shift_within_the_catalogs_range_is_drift(random: np.random.Generator) -> None:
    checks = {"size": ColumnCheck(minimum=0, maximum=200)}
    assert judge_rows(draw(random, 500), draw(random, 300, shift=5), checks).verdict == "drift"


def test_a_feature_that_stands_still_is_a_fault_of_the_data(random: np.random.Generator) -> None:
    found = judge_rows(draw(random, 500), {**draw(random, 300), "size": np.full(300, 50.0)})
    assert found.faults == ["size has the same value in every row"]


def test_a_flag_that_is_nearly_always_off_may_be_off_in_every_row(random: np.random.Generator) -> None:
    known, window = draw(random, 500), draw(random, 60)
    flags = {"flag": (np.arange(500) % 25 == 0).astype(float)}
    assert judge_rows({**known, **flags}, {**window, "flag": np.zeros(60)}).verdict == "clean"


def test_a_feature_that_changed_its_kind_is_a_fault_of_the_data(random: np.random.Generator) -> None:
    found = judge_rows(draw(random, 500), {**draw(random, 300), "age": ["young"] * 300})
    assert found.faults == ["age is categorical in the log, and numeric in the reference"]


def test_many_refused_requests_are_a_fault_though_no_row_was_answered(random: np.random.Generator) -> None:
    found = judge_rows(draw(random, 500), draw(random, 0), refused=80)
    assert (found.verdict, found.faults) == ("quality", ["80 of 80 requests were refused"])


def test_a_few_refused_requests_are_no_fault(random: np.random.Generator) -> None:
    assert judge_rows(draw(random, 500), draw(random, 300), refused=4).verdict == "clean"


def test_a_user_who_is_half_of_the_traffic_is_no_drift(random: np.random.Generator) -> None:
    window, heavy = draw(random, 400), draw(random, 400, shift=2)
    both = {name: np.concatenate([window[name], heavy[name]]) for name in window}
    units = [f"user{number}" for number in range(400)] + ["heavy"] * 400
    found = judge_rows(draw(random, 1000), both, units=units)
    assert (found.verdict, found.units, found.judged_rows) == ("clean", 401, 401)
    assert judge_rows(draw(random, 1000), both).verdict == "drift"


def test_fifty_rows_of_few_users_give_no_verdict(random: np.random.Generator) -> None:
    units = [f"user{number % 20}" for number in range(300)]
    found = judge_rows(draw(random, 500), draw(random, 300, shift=3), units=units)
    assert (found.verdict, found.judged_rows) == ("no verdict", 20)


def test_a_load_test_with_a_few_rows_is_no_drift(random: np.random.Generator) -> None:
    few = draw(random, 60)
    again = {name: np.tile(cells, 50) for name, cells in few.items()}
    found = judge_rows(draw(random, 1000), again)
    assert (found.verdict, found.rows, found.judged_rows) == ("clean", 3000, 60)


def test_rows_that_repeat_in_the_reference_too_all_count(random: np.random.Generator) -> None:
    def roll(rows: int) -> dict[str, Any]:
        return {"dice": random.integers(1, 7, rows).astype(float), "town": TOWNS[random.integers(0, 3, rows)]}

    assert judge_rows(roll(500), roll(300)).judged_rows == 300


def test_two_rows_alone_are_drift_where_rows_of_the_reference_repeat(random: np.random.Generator) -> None:
    known = {"dice": random.integers(1, 7, 500).astype(float), "town": TOWNS[random.integers(0, 3, 500)]}
    found = judge_rows(known, {"dice": np.tile([1.0, 6.0], 150), "town": np.tile(TOWNS[:2], 150)})
    assert (found.verdict, found.judged_rows) == ("drift", 300)


def test_a_rounding_to_float32_is_no_drift(random: np.random.Generator) -> None:
    """A reference holds what the model reads, and the log what the client sent."""
    cells = np.round(random.normal(5, 1, 6000), 1)
    known = cells[:3000].astype(np.float32).astype(np.float64)
    found = judge_rows({"size": known}, {"size": cells[3000:]})
    assert found.comparisons[0].psi < 0.05


def test_a_correlation_that_no_single_feature_shows_is_drift(random: np.random.Generator) -> None:
    known = {"a": random.standard_normal(1500), "b": random.standard_normal(1500)}
    first, other = random.standard_normal((2, 1500))
    found = judge_rows(known, {"a": first, "b": 0.9 * first + np.sqrt(1 - 0.81) * other})
    assert len(found.drifted) == 1
    assert found.drifted[0].startswith("the features together")


def test_a_column_that_the_log_lacks_is_named_and_the_others_are_judged(random: np.random.Generator) -> None:
    window = draw(random, 300, shift=1)
    del window["town"]
    found = judge_rows(draw(random, 500), window)
    assert found.notes == ["town is not in the log"]
    assert "size" in found.drifted


@pytest.mark.parametrize("name", ["hour", "date", "features", "prediction", "score", "unit"])
def test_a_feature_may_have_the_name_of_a_column_of_the_log(random: np.random.Generator, name: str) -> None:
    def rename(cells: dict[str, Any]) -> dict[str, Any]:
        return {name if known == "size" else known: column for known, column in cells.items()}

    found = judge_rows(rename(draw(random, 500)), rename(draw(random, 300, shift=1)))
    assert found.drifted == [name, "the prediction"]


def test_the_figures_are_json_and_the_same_for_the_same_rows(random: np.random.Generator) -> None:
    known, window = draw(random, 500), draw(random, 300, shift=1)
    figures = [judge_rows(known, window, seed=3).describe() for _ in range(2)]
    assert figures[0] == figures[1]
    assert figures[0]["columns"][0] == figures[0]["columns"][0] | {"name": "size", "role": "feature", "drifted": True}


def test_a_reference_without_answers_compares_the_features(random: np.random.Generator) -> None:
    reference = make_reference(draw(random, 500))
    rows = reference.rows.set_column(
        reference.rows.schema.get_field_index("prediction"), "prediction", pa.nulls(500, pa.float64())
    )
    found = judge(Reference(rows, reference.features), make_log(draw(random, 300, shift=1)), {})
    assert found.drifted == ["size"]

"""Which rows choose among the mixes, and which guard what was learned before."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt
import pandas as pd

from ml_code.data.live_rows import LABELLED_AT, LIVE_ID, PREDICTED_AT
from ml_code.model_file.onnx_model import Prediction
from ml_code.monitoring.retraining.choice import choose_mix, divide_holdout
from ml_code.monitoring.retraining.labelled import choose_new
from ml_code.training.plans import MixName
from tests.unit.ml_code.passengers import make_dataset

SINCE = 1000.0


def test_live_rows_before_the_windows_guard_nothing() -> None:
    """Labels that were turned round for longer than the windows would speak for themselves on both sides."""
    holdout = pd.DataFrame({
        LIVE_ID: [None] * 40 + [f"old-{number}" for number in range(60)] + [f"new-{number}" for number in range(50)],
        PREDICTED_AT: [float("nan")] * 40 + [SINCE - 1] * 60 + [SINCE] * 50,
    })  # fmt: skip
    sides = divide_holdout(holdout, SINCE)
    assert (sides.is_newest.sum(), sides.is_old.sum()) == (50, 40)


def test_rows_that_count_since_an_earlier_retraining_guard_what_it_learned() -> None:
    holdout = pd.DataFrame({
        LIVE_ID: [None] * 40 + [f"old-{number}" for number in range(60)] + [f"new-{number}" for number in range(50)],
        PREDICTED_AT: [float("nan")] * 40 + [SINCE - 1] * 60 + [SINCE] * 50,
    })  # fmt: skip
    confirmed = {f"old-{number}" for number in range(25)} | {"new-1"}
    sides = divide_holdout(holdout, SINCE, confirmed)
    assert sides.is_confirmed.nonzero()[0].tolist() == [*range(40, 65)]
    assert not (sides.is_confirmed & (sides.is_old | sides.is_newest)).any()


def test_only_labels_that_came_after_the_last_attempt_are_new() -> None:
    after = datetime(2026, 1, 2, tzinfo=UTC)
    moments = [after.timestamp() * 1000 + moved for moved in (-1, 0, 1, 1)]
    rows = pd.DataFrame({PREDICTED_AT: [SINCE, SINCE, SINCE, SINCE - 1], LABELLED_AT: moments})
    assert choose_new(rows, SINCE, after).index.tolist() == [2]
    assert choose_new(rows, SINCE, None).index.tolist() == [0, 1, 2]


def test_without_a_labelled_row_nothing_is_new_and_the_columns_stay() -> None:
    rows = pd.DataFrame({PREDICTED_AT: [0.0], LABELLED_AT: [0.0], "species": ["0"]})
    for after in (None, datetime(2026, 1, 2, tzinfo=UTC)):
        found = choose_new(rows, SINCE, after)
        assert (len(found), list(found.columns)) == (0, list(rows.columns))


def test_rows_of_one_group_prove_no_better_mix() -> None:
    """The new rows' model is right in four groups in which the other one is wrong, and wrong in three others."""
    groups = np.repeat(np.arange(10), 30)
    truth = pd.Series(["yes"] * 300)
    is_wrong: dict[MixName, npt.NDArray[np.bool_]] = {"newest": groups < 3, "all": groups > 5}
    predicted = {name: Prediction(np.where(wrong, "no", "yes").tolist(), None) for name, wrong in is_wrong.items()}
    dataset = make_dataset()
    assert choose_mix(dataset, truth, predicted, None) == "newest"
    assert choose_mix(dataset, truth, predicted, groups) == "all"

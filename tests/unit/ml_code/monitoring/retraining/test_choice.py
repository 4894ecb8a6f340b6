"""Which rows choose among the mixes, and which guard what was learned before."""

from __future__ import annotations

from datetime import UTC, datetime

import pandas as pd

from ml_code.data.live_rows import LIVE_ID, PREDICTED_AT
from ml_code.monitoring.retraining.choice import divide_holdout
from ml_code.monitoring.retraining.labelled import RECEIVED_AT, choose_new

SINCE = 1000.0


def test_live_rows_before_the_windows_guard_nothing() -> None:
    """Labels that were turned round for longer than the windows would speak for themselves on both sides."""
    holdout = pd.DataFrame({
        LIVE_ID: [None] * 40 + [f"old-{number}" for number in range(60)] + [f"new-{number}" for number in range(50)],
        PREDICTED_AT: [float("nan")] * 40 + [SINCE - 1] * 60 + [SINCE] * 50,
    })  # fmt: skip
    sides = divide_holdout(holdout, SINCE)
    assert (sides.is_newest.sum(), sides.is_old.sum()) == (50, 40)


def test_without_a_labelled_row_nothing_is_new_and_the_columns_stay() -> None:
    rows = pd.DataFrame({PREDICTED_AT: [0.0], RECEIVED_AT: [datetime(2026, 1, 1, tzinfo=UTC)], "species": ["0"]})
    for after in (None, datetime(2026, 1, 2, tzinfo=UTC)):
        found = choose_new(rows, SINCE, after)
        assert (len(found), list(found.columns)) == (0, list(rows.columns))

"""Which of the newest labelled answers the versions are asked again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pandas as pd

from ml_code.data.holdout import find_held_live, split_holdout
from ml_code.data.live_rows import LIVE_ID
from ml_code.monitoring.quality.history import LiveMetric
from ml_code.monitoring.quality.windows import Window
from ml_code.monitoring.staleness.measuring import list_labelled
from ml_code.monitoring.staleness.rows import find_unlearnt
from tests.unit.ml_code.passengers import make_dataset, make_typed_rows

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
IDS = [f"{number:032x}-0" for number in range(400)]


def make_answers() -> pd.DataFrame:
    """One answer a minute, the first 200 minutes before noon."""
    start = NOON.timestamp() * 1000
    return pd.DataFrame({"live_id": IDS, "time": [start + 60_000 * (place - 200) for place in range(400)]})


def test_the_live_rows_that_are_held_out_are_those_of_the_training() -> None:
    dataset = make_dataset()
    split = split_holdout(dataset, make_typed_rows().assign(**{LIVE_ID: IDS}))
    held = find_held_live(dataset, IDS)
    assert {name for name, is_held in zip(IDS, held, strict=True) if is_held} == set(split.holdout[LIVE_ID])
    assert 0.25 < held.mean() < 0.45


def test_answers_after_the_youngest_version_and_held_out_ones_are_no_versions_own() -> None:
    rows, dataset = make_answers(), make_dataset()
    found = find_unlearnt(dataset, rows, [NOON - timedelta(days=9), NOON])
    assert found[200:].all()
    assert found[:200].tolist() == find_held_live(dataset, IDS)[:200].tolist()


def test_beside_a_version_of_unknown_age_only_held_out_answers_count() -> None:
    rows, dataset = make_answers(), make_dataset()
    assert find_unlearnt(dataset, rows, [NOON, None]).tolist() == find_held_live(dataset, IDS).tolist()


def make_day(number: int, labelled: int = 40, variant: str = "champion") -> LiveMetric:
    start = NOON + timedelta(days=number)
    return LiveMetric(
        *("passengers", "3", variant, start, start + timedelta(days=1), "", "accuracy", 0.9, 0.8, 0.95),
        *(100, labelled, labelled / 100, None, None, None, None, "digest"),
    )


def test_the_newest_five_windows_with_labels_are_read() -> None:
    days = [make_day(number) for number in range(6)]
    found = list_labelled([*days, make_day(0, variant="challenger"), make_day(6, 0), make_day(7, variant="shadow")])
    assert found == [Window(day.window_start, day.window_end) for day in reversed(days[1:])]

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pyarrow as pa

from ml_code.monitoring.quality.measuring import digest_labels, read_times, split_labels
from ml_code.monitoring.quality.windows import Window
from tests.log_rows import make_id

MIDNIGHT = datetime(2026, 11, 20, tzinfo=UTC)
DAY = timedelta(days=1)
DAYS = [Window(MIDNIGHT + number * DAY, MIDNIGHT + (number + 1) * DAY) for number in range(2)]


def make_labels(moments: list[datetime], labels: list[str] | None = None) -> pa.Table:
    ids = [bytes.fromhex(make_id(moment, number)) for number, moment in enumerate(moments)]
    names = labels or ["setosa"] * len(ids)
    return pa.table({
        "request_id": pa.array(ids, pa.binary(16)), "row": pa.array([0] * len(ids), pa.int32()), "label": names,
    })  # fmt: skip


def test_a_label_belongs_to_the_window_of_its_prediction() -> None:
    last = MIDNIGHT + DAY - timedelta(milliseconds=1)
    found = split_labels(make_labels([MIDNIGHT, last, MIDNIGHT + DAY, MIDNIGHT + 2 * DAY]), DAYS)
    assert [found[day].num_rows for day in DAYS] == [2, 1]
    assert read_times(found[DAYS[0]]).tolist() == [MIDNIGHT.timestamp() * 1000, last.timestamp() * 1000]


def test_windows_without_labels_have_none_and_one_digest() -> None:
    found = split_labels(make_labels([]), DAYS)
    assert [found[day].num_rows for day in DAYS] == [0, 0]
    assert digest_labels(found[DAYS[0]]) == digest_labels(found[DAYS[1]])


def test_the_digest_knows_each_label_and_not_their_order() -> None:
    moments = [MIDNIGHT, MIDNIGHT + timedelta(hours=1)]
    labels = make_labels(moments, ["setosa", "virginica"])
    assert digest_labels(labels) == digest_labels(labels.take([1, 0]))
    assert digest_labels(labels) != digest_labels(make_labels(moments, ["setosa", "setosa"]))
    assert digest_labels(labels) != digest_labels(labels.slice(0, 1))

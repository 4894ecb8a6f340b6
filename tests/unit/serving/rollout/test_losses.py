"""The losses of labelled live rows, as an A/B test reads them from log and labels in the store."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from ml_code.monitoring.feedback.labels import STORED, write_events
from ml_code.monitoring.prediction_log.blocks import Head, Row
from ml_code.workspace import Workspace
from serving.rollout.losses import read_labelled, read_pairs
from serving.rollout.rows import Rollout
from tests.log_rows import IRIS, NOON, LogWarehouse, make_log_workspace, make_rows, write_log

FLOWER = [5.1, 3.5, 1.4, 0.2]
HOUSE = Head("housing", "3", "champion", "live", "regression", ["rooms"], ["numeric"])


class LabelWarehouse(LogWarehouse):
    """One whose log is complete until long after noon, and in which no token was dropped."""

    def execute(self, statement: str, values: tuple[Any, ...] = ()) -> None:
        if "max(began_at)" in statement:
            self._answer = [(NOON + timedelta(hours=6),)]
        else:
            self._answer = []


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return make_log_workspace(tmp_path, LabelWarehouse())


def predict_too(workspace: Workspace, head: Head, predictions: list[Any], first: int, **more: Any) -> None:
    """What a shadow predicts for the rows of the same numbers."""
    cells = FLOWER if head.model == "iris" else [4.0]
    shadow = replace(head, version="4", variant="shadow")
    write_log(workspace, shadow, make_rows([cells] * len(predictions), predictions, first=first, **more), f"s-{first}")


def make_test(model: str, started_at: datetime = NOON - timedelta(minutes=1)) -> Rollout:
    return Rollout(
        rollout_id=1,
        model=model,
        kind="ab",
        from_version="3",
        to_version="4",
        state="comparing",
        owner="ab_test/one",
        who=None,
        run_url=None,
        reason="",
        figures={},
        started_at=started_at,
        updated_at=NOON,
        ended_at=None,
        lease_until=NOON,
        is_expired=False,
    )


def label(workspace: Workspace, model: str, rows: list[Row], labels: list[str | None]) -> None:
    events = [
        {
            "request_id": bytes.fromhex(row.request_id),
            "row": row.row,
            "time": datetime.fromtimestamp(row.time_ms / 1000, NOON.tzinfo),
            "label": text,
            "received_at": NOON + timedelta(hours=1),
            "event": bytes.fromhex(row.request_id),
        }
        for row, text in zip(rows, labels, strict=True)
        if text is not None
    ]
    write_events(workspace, model, NOON, rows[0].request_id[-8:], pa.Table.from_pylist(events, schema=STORED))


def answer(
    workspace: Workspace, head: Head, predictions: list[Any], labels: list[str | None], first: int, **more: Any
) -> None:
    cells = FLOWER if head.model == "iris" else [4.0]
    rows = make_rows([cells] * len(predictions), predictions, first=first, **more)
    write_log(workspace, head, rows, name=f"{head.variant}-{head.traffic}-{first}")
    label(workspace, head.model, rows, labels)


def test_wrong_classes_of_each_version_cost_one_and_unlabelled_rows_nothing(workspace: Workspace) -> None:
    challenger = replace(IRIS, version="4", variant="challenger")
    answer(workspace, IRIS, [0, 1, 2, 0], ["0", "1", "1", None], 0)
    answer(workspace, challenger, [1, 1], ["2", "1"], 10)
    found = read_labelled(workspace, make_test("iris"))
    assert sorted(found.champion.values.tolist()) == [0.0, 0.0, 1.0]
    assert sorted(found.challenger.values.tolist()) == [0.0, 1.0]


def test_rows_of_one_user_and_those_of_one_request_belong_together(workspace: Workspace) -> None:
    answer(workspace, IRIS, [0, 0, 0], ["0", "0", "0"], 0, units=["ann", "ann", "bob"])
    answer(workspace, IRIS, [0, 0], ["0", "0"], 10)
    units = read_labelled(workspace, make_test("iris")).champion.units
    assert len(units) == 5
    assert len(set(units.tolist())) == 4


def test_other_versions_forced_requests_and_the_time_before_the_test_do_not_count(workspace: Workspace) -> None:
    answer(workspace, IRIS, [0], ["0"], 0)
    answer(workspace, replace(IRIS, traffic="asked"), [0], ["0"], 10)
    answer(workspace, replace(IRIS, version="2"), [0], ["0"], 20)
    answer(workspace, IRIS, [0], ["0"], 30, start=NOON - timedelta(minutes=5))
    assert read_labelled(workspace, make_test("iris")).champion.values.tolist() == [0.0]


def test_with_r2_the_mean_loss_is_what_is_missing_to_one(workspace: Workspace) -> None:
    truth, predictions = np.array([1.0, 2.0, 3.0, 4.0]), [1.5, 2.0, 2.0, 4.0]
    answer(workspace, HOUSE, predictions, [str(value) for value in truth], 0)
    found = read_labelled(workspace, make_test("housing"))
    r2 = 1 - np.sum((truth - predictions) ** 2) / np.sum((truth - truth.mean()) ** 2)
    assert found.champion.values.mean() == pytest.approx(1 - r2)


def test_an_answer_that_was_not_a_number_has_no_loss(workspace: Workspace) -> None:
    answer(workspace, HOUSE, [1.5, None, 2.0], ["1.0", "2.0", "3.0"], 0)
    found = read_labelled(workspace, make_test("housing"))
    assert len(found.champion.values) == 2
    assert np.isfinite(found.champion.values).all()


def test_before_the_first_collection_there_is_nothing(workspace: Workspace) -> None:
    found = read_labelled(workspace, make_test("iris", started_at=NOON + timedelta(days=1)))
    assert (len(found.champion.values), len(found.challenger.units)) == (0, 0)


def test_a_pair_is_what_both_versions_predicted_for_one_row(workspace: Workspace) -> None:
    answer(workspace, IRIS, [0, 1, 2, 0, 1], ["0", "2", "1", None, "1"], 0, units=["ann", "ann", "bob", "bob", "eve"])
    predict_too(workspace, IRIS, [1, 2, 0, 0], 0, units=["ann", "ann", "bob", "bob"])
    found = read_pairs(workspace, make_test("iris"))
    order = np.argsort(found.differences.values)
    assert found.differences.values[order].tolist() == [-1.0, 0.0, 1.0]
    assert len(set(found.differences.units.tolist())) == 2
    assert found.step == 1.0
    assert found.agreement is not None
    assert (found.agreement.rows, found.agreement.alike) == (4, 0.25)


def test_rows_of_another_champion_or_of_no_shadow_are_no_pair(workspace: Workspace) -> None:
    answer(workspace, replace(IRIS, version="2"), [0], ["0"], 0)
    predict_too(workspace, IRIS, [0], 0)
    answer(workspace, IRIS, [0], ["0"], 10)
    found = read_pairs(workspace, make_test("iris"))
    assert (len(found.differences.values), found.agreement) == (0, None)
    assert read_pairs(workspace, make_test("iris", started_at=NOON + timedelta(days=1))).agreement is None


def test_a_test_does_not_count_the_rows_of_a_shadow(workspace: Workspace) -> None:
    answer(workspace, IRIS, [0], ["0"], 0)
    predict_too(workspace, IRIS, [1], 0)
    found = read_labelled(workspace, make_test("iris"))
    assert (len(found.champion.values), len(found.challenger.values)) == (1, 0)


def test_with_r2_the_mean_difference_is_that_of_r2(workspace: Workspace) -> None:
    truth = np.array([1.0, 2.0, 3.0, 4.0])
    ours, theirs = np.array([1.5, 2.0, 2.0, 4.0]), np.array([1.0, 2.5, 3.0, 3.0])
    answer(workspace, HOUSE, ours.tolist(), [str(value) for value in truth], 0)
    predict_too(workspace, HOUSE, theirs.tolist(), 0)
    found = read_pairs(workspace, make_test("housing"))
    total = np.sum((truth - truth.mean()) ** 2)
    r2 = [1 - np.sum((truth - side) ** 2) / total for side in (ours, theirs)]
    assert found.differences.values.mean() == pytest.approx(r2[0] - r2[1])
    assert found.step == 0.0


def test_a_prediction_that_is_not_a_number_makes_no_pair_with_a_loss(workspace: Workspace) -> None:
    answer(workspace, HOUSE, [1.5, 2.0], ["1.0", "2.0"], 0)
    predict_too(workspace, HOUSE, [None, 2.0], 0)
    found = read_pairs(workspace, make_test("housing"))
    assert found.differences.values.tolist() == [0.0]
    assert found.agreement is not None
    assert (found.agreement.rows, found.agreement.alike) == (2, 0.5)

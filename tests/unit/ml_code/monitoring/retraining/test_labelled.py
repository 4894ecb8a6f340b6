"""Which rows of the log a retraining learns: answered to clients, once each, labelled, and of sound data."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

from ml_code.data.live_rows import LABELLED_BY, LIVE_ID
from ml_code.monitoring.feedback.labels import STORED, write_events
from ml_code.monitoring.prediction_log.blocks import REFUSED, Head, Row
from ml_code.monitoring.retraining.labelled import list_unlogged, read_labelled
from ml_code.workspace import Workspace
from tests.log_rows import IRIS, NOON, make_log_workspace, make_rows, write_log
from tests.unit.ml_code.monitoring.retraining.retraining_warehouse import RetrainingWarehouse

HOUR = timedelta(hours=1)
CELLS = [[5.1, 3.5, 1.4, 0.2]]


class Log:
    """One hour of iris's answers; a test may label any of its requests."""

    def __init__(self, folder: Path) -> None:
        self.warehouse = RetrainingWarehouse()
        self.workspace: Workspace = make_log_workspace(folder, self.warehouse)
        self._events: list[Row] = []

    def answer(self, head: Head, rows: int = 1, *, minute: int = 0, is_labelled: bool = True) -> list[str]:
        """Logs requests of one row each, and returns their ids."""
        number = len(list((Path(self.workspace.settings.predictions_uri)).rglob("*.parquet")))
        start = NOON + timedelta(minutes=minute)
        made = make_rows(CELLS * rows, ["0"] * rows, start=start, first=1000 * number)
        self.log(head, made)
        if is_labelled:
            self.label(made)
        return [f"{row.request_id}-0" for row in made]

    def log(self, head: Head, rows: list[Row]) -> None:
        number = len(list((Path(self.workspace.settings.predictions_uri)).rglob("*.parquet")))
        write_log(self.workspace, head, rows, name=f"batch-{number}")

    def label(self, rows: list[Row], label: str = "2", *, token: str | None = None, minutes: int = 5) -> None:
        times = [datetime.fromtimestamp(row.time_ms / 1000, UTC) for row in rows]
        events = [
            {
                "request_id": bytes.fromhex(row.request_id),
                "row": row.row,
                "time": time,
                "label": label,
                "received_at": time + timedelta(minutes=minutes),
                "token": token,
                "source": "feedback",
                "event": bytes.fromhex(row.request_id),
            }
            for row, time in zip(rows, times, strict=True)
        ]
        table = pa.Table.from_pylist(events, schema=STORED)
        name = f"labels-{len(self._events)}"
        self._events += rows
        write_events(self.workspace, "iris", NOON, name, table)

    def read(self, **times: datetime) -> pd.DataFrame:
        span = {"start": NOON, "end": NOON + HOUR} | times
        return read_labelled(self.workspace, "iris", self.workspace.load_dataset("iris"), **span)

    def read_ids(self) -> list[str]:
        return sorted(self.read()[LIVE_ID])


@pytest.fixture
def log(tmp_path: Path) -> Log:
    return Log(tmp_path)


def test_the_label_is_learned_and_not_the_answer(log: Log) -> None:
    """The model answered 0."""
    ids = log.answer(IRIS, 3)
    log.answer(IRIS, 3, is_labelled=False)
    found = log.read()
    assert sorted(found[LIVE_ID]) == ids
    assert found["species"].tolist() == ["2"] * 3


@pytest.mark.parametrize("changes", [{"traffic": "replay"}, {"traffic": "asked"}, {"variant": "shadow"}], ids=str)
def test_replays_asked_answers_and_shadows_are_never_learned(log: Log, changes: dict[str, Any]) -> None:
    ids = log.answer(IRIS)
    log.answer(replace(IRIS, **changes), 5)
    assert log.read_ids() == ids


def test_a_refused_request_has_nothing_to_learn(log: Log) -> None:
    ids = log.answer(IRIS)
    [row] = make_rows(CELLS, ["0"], first=77)
    log.log(replace(IRIS, variant=REFUSED), [row._replace(features=None, prediction=None, score=None)])
    log.label([row])
    assert log.read_ids() == ids


def test_a_row_that_champion_shadow_and_a_repeated_try_answered_is_learned_once(log: Log) -> None:
    rows = make_rows(CELLS, ["0"])
    for head in (IRIS, replace(IRIS, variant="shadow", version="4"), replace(IRIS, variant="challenger", version="4")):
        log.log(head, rows)
    log.label(rows)
    assert log.read_ids() == [f"{rows[0].request_id}-0"]


def test_the_newest_label_counts_until_its_token_is_dropped(log: Log) -> None:
    rows = make_rows(CELLS, ["0"])
    log.log(IRIS, rows)
    log.label(rows, "1", token="shop")
    log.label(rows, "2", token="thief", minutes=9)
    found = log.read()
    assert (found["species"].tolist(), found[LABELLED_BY].tolist()) == (["2"], ["thief"])
    log.warehouse.tokens.append(("thief", "drop", NOON + HOUR))
    assert log.read()["species"].tolist() == ["1"]


def test_rows_of_a_window_with_faults_are_not_learned(log: Log) -> None:
    """The unit changed for half an hour: the rows of its window are wrong, also those within the catalog's ranges."""
    before, faulty, after = (log.answer(IRIS, 2, minute=minute) for minute in (0, 15, 45))
    windows = [(NOON + timedelta(minutes=15 * place), NOON + timedelta(minutes=15 * place + 15)) for place in range(4)]
    verdicts = "drift", "quality", "quality", "drift"
    log.warehouse.windows = [(*times, verdict) for times, verdict in zip(windows, verdicts, strict=True)]
    assert log.read_ids() == sorted([*before, *after])
    assert not {*faulty} & {*log.read_ids()}


def test_answers_of_other_features_or_before_the_time_are_not_learned(log: Log) -> None:
    ids = log.answer(IRIS)
    log.answer(replace(IRIS, features=[*IRIS.features[:3], "width"]))
    text = make_rows([["5.1", 3.5, 1.4, 0.2]], ["0"], first=77)
    log.log(replace(IRIS, kinds=["categorical", *IRIS.kinds[1:]]), text)
    log.label(text)
    assert log.read_ids() == ids
    assert log.read(start=NOON + timedelta(minutes=1)).empty


def test_a_feature_that_the_log_leaves_out_is_named() -> None:
    iris = make_log_workspace(Path("/nowhere")).load_dataset("iris")
    checks = iris.checks.columns
    hidden = {**checks, "petal_width": checks["petal_width"].model_copy(update={"log": False})}
    assert list_unlogged(iris) == []
    changed = iris.model_copy(update={"checks": iris.checks.model_copy(update={"columns": hidden})})
    assert list_unlogged(changed) == ["petal_width"]

"""A retraining on real MLflow, store and warehouse: from a logged, labelled shift to a version and its reference."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from ml_code.data import snapshots
from ml_code.data.live_rows import find_live
from ml_code.gate import judging
from ml_code.monitoring.drift.history import record_window
from ml_code.monitoring.drift.judging import Judgement
from ml_code.monitoring.drift.reference import find_reference
from ml_code.monitoring.drift.windows import Window
from ml_code.monitoring.feedback.labels import STORED, write_events
from ml_code.monitoring.retraining import asking, attempts, steps
from ml_code.monitoring.retraining.asking import Answer
from ml_code.training import run
from ml_code.training.plans import RunOrigin
from ml_code.warehouse import Warehouse
from ml_code.workspace import Workspace
from tests.log_rows import IRIS, make_rows, write_log
from tests.servers import MlflowServer, PostgresServer

MODEL = "iris"
NOW = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=1)
HOURS = [Window(NOW - timedelta(hours=2 - number), NOW - timedelta(hours=1 - number)) for number in range(2)]
ROWS = 360

type Labels = Callable[[np.ndarray], np.ndarray]  # type: ignore[type-arg]


@pytest.fixture
def shifted(
    workspace: Workspace, postgres: PostgresServer, mlflow_server: MlflowServer, request: object
) -> Iterator[Workspace]:
    """Iris with a champion of the old rows; its warehouse and its part of the store are its own."""
    name = f"retraining_{abs(hash(request.node.name)) % 10**8}"  # type: ignore[attr-defined]
    warehouse = Warehouse(postgres.create_database(name))
    warehouse.migrate()
    own = {"datasets_uri": f"s3://datasets/{name}", "predictions_uri": f"s3://predictions/{name}"}
    workspace = Workspace(workspace.settings.model_copy(update=own))
    uri = snapshots.prepare(workspace, MODEL)
    run_id = run.train(workspace, MODEL, uri, "sklearn", "random_forest", hyperparameters={"n_estimators": 50})
    judging.evaluate(workspace, run_id)
    judging.decide(workspace, run_id, force=True)
    mlflow_server.move_alias(MODEL, judging.register(workspace, run_id))
    yield Workspace(workspace.settings, connect_warehouse=lambda _: warehouse)
    mlflow_server.move_alias(MODEL, None)


def draw(workspace: Workspace, seed: int, centimetres: float) -> pd.DataFrame:
    """Irises like those of the table, larger by some centimetres."""
    dataset = workspace.load_dataset(MODEL)
    table = snapshots.read_snapshot(workspace, snapshots.prepare(workspace, MODEL))
    random = np.random.default_rng(seed)
    rows = table[~find_live(table)].sample(ROWS, replace=True, random_state=seed, ignore_index=True)
    rows[dataset.features] += random.normal(centimetres, 0.05, (ROWS, len(dataset.features)))
    return rows


def log_rows(workspace: Workspace, rows: pd.DataFrame, labels: pd.Series, first: int = 0) -> None:
    """Puts answered rows into the log, a quarter of an hour of each window, with their labels."""
    version = workspace.tracker.read_aliases(MODEL)["champion"]
    head = replace(IRIS, version=version)
    for number, window in enumerate(HOURS):
        part = rows.iloc[number::2]
        cells = part[list(head.features)].to_numpy().tolist()
        made = make_rows(
            cells, ["0"] * len(part), start=window.start, pause=timedelta(seconds=5), first=first + number * 1000
        )
        write_log(workspace, head, made, name=f"batch-{number}")
        received = datetime.now(UTC)
        events = {
            "request_id": [bytes.fromhex(row.request_id) for row in made],
            "row": [0] * len(made),
            "time": [datetime.fromtimestamp(row.time_ms / 1000, UTC) for row in made],
            "label": [str(label) for label in labels.iloc[number::2]],
            "observed_at": [None] * len(made),
            "received_at": [received] * len(made),
            "token": [None] * len(made),
            "source": ["feedback"] * len(made),
            "event": [bytes.fromhex(row.request_id) for row in made],
        }
        table = pa.table(events, schema=STORED)
        write_events(workspace, MODEL, window.start, f"batch-{number}", table)
        record_window(workspace, MODEL, version, window, Judgement("drift", len(part)))


def retrain(workspace: Workspace, owner: str) -> steps.Judged:
    answer = asking.ask(workspace, MODEL, owner)
    assert answer.begins, answer.says
    return steps.decide(
        workspace, owner, steps.train_mixes(workspace, owner, RunOrigin("model_retraining", owner, "t"))
    )


def test_rows_that_moved_are_learned_promoted_and_quiet_afterwards(shifted: Workspace) -> None:
    rows = draw(shifted, 1, 12.0)
    log_rows(shifted, rows, rows["species"])
    judged = retrain(shifted, "model_retraining/moved/iris")
    assert judged.outcome == "promoted", judged.decision.reason
    assert steps.decide(shifted, "model_retraining/moved/iris", [_find_run(shifted, judged.version)]) == judged

    table = snapshots.read_snapshot(shifted, snapshots.prepare(shifted, MODEL))
    assert find_live(table).sum() == ROWS
    reference = find_reference(shifted, MODEL, judged.version)
    assert reference is not None
    assert reference.rows.num_rows == ROWS

    again = asking.ask(shifted, MODEL, "model_retraining/again/iris")
    assert not again.begins
    assert "the next one may begin a day later" in again.says


def test_labels_that_contradict_old_rows_wait_for_a_person_and_count_once_they_serve(
    shifted: Workspace, mlflow_server: MlflowServer
) -> None:
    rows = draw(shifted, 2, 0.0)
    log_rows(shifted, rows, rows["species"].map({0: 1, 1: 2, 2: 0}), first=10_000)
    judged = retrain(shifted, "model_retraining/poisoned/iris")
    assert judged.outcome == "held", judged.decision.reason
    before = find_live(snapshots.read_snapshot(shifted, snapshots.prepare(shifted, MODEL))).sum()
    assert asking.settle(shifted) == []
    mlflow_server.move_alias(MODEL, judged.version)
    assert asking.settle(shifted) == [f"iris: version {judged.version} serves, and its live rows count from now on"]
    after = find_live(snapshots.read_snapshot(shifted, snapshots.prepare(shifted, MODEL))).sum()
    assert after == before + ROWS
    last = attempts.read_last(shifted.warehouse, MODEL)
    assert last is not None
    assert (last.outcome, last.version, last.is_active) == ("promoted", judged.version, False)


def test_faults_and_a_rollout_are_in_the_way(shifted: Workspace) -> None:
    rows = draw(shifted, 3, 12.0)
    log_rows(shifted, rows, rows["species"])
    with shifted.warehouse.transaction() as connection, connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO warehouse.rollout (model, kind, to_version, state, owner, lease_until) "
            "VALUES ('iris', 'rollout', '9', 'canary', 'a test', now())"
        )
    assert ask(shifted).says.startswith(
        "iris is not trained again yet: a rollout to version 9 is under way; the next window asks again. "
    )
    with shifted.warehouse.transaction() as connection, connection.cursor() as cursor:
        cursor.execute("UPDATE warehouse.rollout SET state = 'promoted', ended_at = now()")
    newest = Window(HOURS[1].end, HOURS[1].end + timedelta(hours=1))
    version = shifted.tracker.read_aliases(MODEL)["champion"]
    record_window(shifted, MODEL, version, newest, Judgement("quality", 100, faults=["petal_width is out of range"]))
    assert not ask(shifted).begins


def ask(workspace: Workspace) -> Answer:
    return asking.ask(workspace, MODEL, "model_retraining/blocked/iris")


def _find_run(workspace: Workspace, version: str) -> str:
    return workspace.tracker.read_version(MODEL, version).run_id

"""A retraining on real MLflow, store and warehouse: from a logged, labelled shift to a version and its reference."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pytest

import ml_code
from ml_code.data import snapshots
from ml_code.data.live_rows import find_live
from ml_code.gate import judging
from ml_code.model_file.onnx_model import OnnxModel
from ml_code.monitoring.drift import watching
from ml_code.monitoring.drift.history import read_windows, record_window
from ml_code.monitoring.drift.judging import Judgement
from ml_code.monitoring.drift.reference import find_reference
from ml_code.monitoring.drift.windows import Window
from ml_code.monitoring.feedback.labels import STORED, write_events
from ml_code.monitoring.feedback.tokens import record_token
from ml_code.monitoring.prediction_log.reading import MARGIN
from ml_code.monitoring.quality.history import read_history
from ml_code.monitoring.quality.measuring import measure_model
from ml_code.monitoring.retraining import attempts, steps, trigger
from ml_code.monitoring.retraining.trigger import Answer
from ml_code.training import run
from ml_code.training.plans import RunOrigin
from ml_code.training.reference import list_answers, list_scores
from ml_code.warehouse import Warehouse
from ml_code.workspace import Workspace
from tests.log_rows import IRIS, make_rows, write_log
from tests.servers import MlflowServer, PostgresServer

CATALOG = Path(ml_code.__file__).parent / "catalog"
MODEL = "iris"
NOW = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=1)
HOUR = timedelta(hours=1)
HOURS = [Window(NOW - (7 - number) * HOUR, NOW - (6 - number) * HOUR) for number in range(7)]
CALLING = HOURS[:2]
ROWS = 360

type Labels = Callable[[np.ndarray], np.ndarray]  # type: ignore[type-arg]


@pytest.fixture
def shifted(
    workspace: Workspace, postgres: PostgresServer, mlflow_server: MlflowServer, tmp_path: Path
) -> Iterator[Workspace]:
    """Iris with windows of an hour and a champion of the old rows; its warehouse and part of the store are its own."""
    name = f"retraining_{secrets.token_hex(4)}"
    warehouse = Warehouse(postgres.create_database(name))
    warehouse.migrate()
    (tmp_path / "iris.toml").write_text((CATALOG / "iris.toml").read_text() + "\n[drift]\nwindow_hours = 1\n")
    own = {
        "datasets_uri": f"s3://datasets/{name}",
        "predictions_uri": f"s3://predictions/{name}",
        "catalog_dir": tmp_path,
    }
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


def log_rows(
    workspace: Workspace, rows: pd.DataFrame, labels: pd.Series, windows: Sequence[Window] = CALLING, first: int = 0
) -> None:
    """Puts rows that the champion answered into the log, a part of them in each window, with their labels."""
    version = workspace.tracker.read_aliases(MODEL)["champion"]
    model = OnnxModel(workspace.tracker.read_model_file(MODEL, version))
    head = replace(IRIS, version=version)
    for number, window in enumerate(windows):
        part = rows.iloc[number :: len(windows)]
        answers = model.predict_columns({name: part[name].tolist() for name in head.features})
        made = make_rows(
            part[list(head.features)].to_numpy().tolist(),
            list_answers(model, answers).to_pylist(),
            scores=list_scores(answers).to_pylist(),
            start=window.start,
            pause=timedelta(seconds=5),
            first=first + number * 1000,
        )
        write_log(workspace, head, made, name=f"batch-{first}-{number}")
        received = datetime.now(UTC)
        events = {
            "request_id": [bytes.fromhex(row.request_id) for row in made],
            "row": [0] * len(made),
            "time": [datetime.fromtimestamp(row.time_ms / 1000, UTC) for row in made],
            "label": [str(label) for label in labels.iloc[number :: len(windows)]],
            "observed_at": [None] * len(made),
            "received_at": [received] * len(made),
            "token": ["shop"] * len(made),
            "source": ["feedback"] * len(made),
            "event": [bytes.fromhex(row.request_id) for row in made],
        }
        write_events(workspace, MODEL, window.start, f"batch-{first}-{number}", pa.table(events, schema=STORED))


def log_drifting(workspace: Workspace, rows: pd.DataFrame, labels: pd.Series, first: int = 0) -> None:
    """The same in two windows that are judged as drifting, whatever their rows are."""
    log_rows(workspace, rows, labels, first=first)
    version = workspace.tracker.read_aliases(MODEL)["champion"]
    for window in CALLING:
        record_window(workspace, MODEL, version, window, Judgement("drift", len(rows)))


def watch(workspace: Workspace, windows: Sequence[Window], rows: int) -> watching.Watched:
    """Says that the log is complete up to the end of the windows, measures their labels, and judges them."""
    with workspace.warehouse.transaction() as connection, connection.cursor() as cursor:
        name, end = f"until {windows[-1].end}", windows[-1].end + MARGIN
        cursor.execute(
            "INSERT INTO warehouse.prediction_collection (collection, began_at, segments, rows, dropped, torn, "
            "unreadable) VALUES (%s, %s, 1, %s, 0, 0, 0)",
            (name, end, rows),
        )
        cursor.execute(
            "INSERT INTO warehouse.prediction_batch (collection, model, schema, rows, refused, first_time, last_time, "
            "bytes) VALUES (%s, %s, %s, %s, 0, %s, %s, 1)",
            (name, MODEL, IRIS.schema, rows, windows[0].start, windows[-1].end - timedelta(seconds=1)),
        )
    measure_model(workspace, MODEL, datetime.now(UTC))
    return watching.watch_model(workspace, MODEL)


def retrain(workspace: Workspace, owner: str) -> steps.Judged:
    answer = trigger.ask(workspace, MODEL, owner)
    assert answer.begins, answer.says
    return steps.decide(
        workspace, owner, steps.train_mixes(workspace, owner, RunOrigin("model_retraining", owner, "t"))
    )


def test_rows_that_moved_are_learned_promoted_and_quiet_afterwards(
    shifted: Workspace, mlflow_server: MlflowServer
) -> None:
    """The windows are judged by the tasks' own steps, before the retraining and after it."""
    before = shifted.tracker.read_aliases(MODEL)["champion"]
    rows = draw(shifted, 1, 12.0)
    log_rows(shifted, rows, rows["species"])
    assert watch(shifted, CALLING, ROWS).alarm
    judged = retrain(shifted, "model_retraining/moved/iris")
    assert judged.outcome == "promoted", judged.decision.reason
    assert steps.decide(shifted, "model_retraining/moved/iris", [_find_run(shifted, judged.version)]) == judged

    table = snapshots.read_snapshot(shifted, snapshots.prepare(shifted, MODEL))
    assert find_live(table).sum() == ROWS
    reference = find_reference(shifted, MODEL, judged.version)
    assert reference is not None
    assert reference.rows.num_rows == ROWS

    again = trigger.ask(shifted, MODEL, "model_retraining/again/iris")
    assert not again.begins
    assert "the next one may begin a day later" in again.says

    mlflow_server.move_alias(MODEL, judged.version)
    following = draw(shifted, 2, 12.0)
    log_rows(shifted, following, following["species"], HOURS[3:6], first=50_000)
    watched = watch(shifted, HOURS[3:6], ROWS)
    assert (watched.alarm, watched.notices) == (None, [])
    verdicts = [found.verdict for found in read_windows(shifted, MODEL, judged.version)]
    assert verdicts == ["clean"] * 3
    assert trigger.find_call(shifted, MODEL) is None
    live = {row.version: row.score for row in read_history(shifted, MODEL) if row.variant == "champion"}
    assert live[judged.version] is not None
    assert live[before] is not None
    assert live[judged.version] > live[before] + 0.2


@pytest.mark.long
def test_the_windows_between_those_that_drift_are_no_reference(shifted: Workspace) -> None:
    """Of five windows the first and the last one drift; the rows of the others are as before."""
    moved, usual = draw(shifted, 1, 12.0), draw(shifted, 2, 0.0)
    log_rows(shifted, moved, moved["species"], [HOURS[0], HOURS[4]])
    log_rows(shifted, usual, usual["species"], HOURS[1:4], first=50_000)
    assert watch(shifted, HOURS[:5], 2 * ROWS).alarm
    judged = retrain(shifted, "model_retraining/between/iris")
    assert judged.version, judged.decision.reason
    reference = find_reference(shifted, MODEL, judged.version)
    assert reference is not None
    lengths = pc.struct_field(reference.rows["features"], "sepal_length").to_numpy()
    assert (len(lengths), lengths.min() > 12) == (ROWS, True)


@pytest.mark.long
def test_labels_of_a_token_that_is_dropped_leave_the_next_training_set(shifted: Workspace) -> None:
    rows = draw(shifted, 4, 12.0)
    log_drifting(shifted, rows, rows["species"])
    judged = retrain(shifted, "model_retraining/dropped/iris")
    assert judged.outcome == "promoted", judged.decision.reason
    with_them = snapshots.prepare(shifted, MODEL)
    assert find_live(snapshots.read_snapshot(shifted, with_them)).sum() == ROWS
    record_token(shifted, MODEL, "shop", "drop", "ada")
    without = snapshots.read_snapshot(shifted, snapshots.prepare(shifted, MODEL))
    assert (len(without), find_live(without).any()) == (150, False)
    record_token(shifted, MODEL, "shop", "restore", "ada")
    assert snapshots.prepare(shifted, MODEL) == with_them


def test_labels_that_contradict_old_rows_wait_for_a_person_and_count_once_they_serve(
    shifted: Workspace, mlflow_server: MlflowServer
) -> None:
    rows = draw(shifted, 2, 0.0)
    log_drifting(shifted, rows, rows["species"].map({0: 1, 1: 2, 2: 0}), first=10_000)
    judged = retrain(shifted, "model_retraining/poisoned/iris")
    assert judged.outcome == "held", judged.decision.reason
    before = find_live(snapshots.read_snapshot(shifted, snapshots.prepare(shifted, MODEL))).sum()
    assert trigger.settle(shifted) == []
    mlflow_server.move_alias(MODEL, judged.version)
    assert trigger.settle(shifted) == [f"iris: version {judged.version} serves, and its live rows count from now on"]
    after = find_live(snapshots.read_snapshot(shifted, snapshots.prepare(shifted, MODEL))).sum()
    assert after == before + ROWS
    last = attempts.read_last(shifted.warehouse, MODEL)
    assert last is not None
    assert (last.outcome, last.version, last.is_active) == ("promoted", judged.version, False)


def test_faults_and_a_rollout_are_in_the_way(shifted: Workspace) -> None:
    rows = draw(shifted, 3, 12.0)
    log_drifting(shifted, rows, rows["species"])
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
    newest = HOURS[2]
    version = shifted.tracker.read_aliases(MODEL)["champion"]
    record_window(shifted, MODEL, version, newest, Judgement("quality", 100, faults=["petal_width is out of range"]))
    assert not ask(shifted).begins


def ask(workspace: Workspace) -> Answer:
    return trigger.ask(workspace, MODEL, "model_retraining/blocked/iris")


def _find_run(workspace: Workspace, version: str) -> str:
    return workspace.tracker.read_version(MODEL, version).run_id

"""One table through the product's own steps: added, prepared, trained, measured, judged, and registered."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from pydantic import SecretStr
from sklearn.pipeline import Pipeline

from ml_code.cells import name_category
from ml_code.data import features, snapshots
from ml_code.data.holdout import Split, split_holdout
from ml_code.data.validation import check_rows, narrow_target
from ml_code.datasets import Dataset
from ml_code.draft import adding
from ml_code.draft import table as draft_table
from ml_code.draft.drafting import Draft, Request
from ml_code.families import check_hyperparameters, find_family
from ml_code.gate import evaluation, judging
from ml_code.model_file.onnx_model import OnnxModel
from ml_code.settings import Settings
from ml_code.training import fitting, run
from ml_code.workspace import Workspace, open_workspace
from tests.benchmarks.tables.person import SCORES, Sides
from tests.benchmarks.tables.public_tables import PublicTable

ASKED_ROWS = 5

LINE = "number of the row"


@dataclass(frozen=True, slots=True)
class Trained:
    """What the product made of a table; `rows` are those of its snapshot, `asked` some rows of the file as JSON."""

    draft: Draft
    rows: int
    metric: str
    score: float
    verdict: str
    is_promoted: bool
    content: bytes
    sides: Sides
    split: Split
    asked: list[dict[str, Any]]
    expected: list[float | int | str]


def open_folder(folder: Path) -> Workspace:
    """A workspace without a server: a folder is the store, SQLite is MLflow."""
    (folder / "catalog").mkdir()
    return open_workspace(
        Settings(
            mlflow_url=f"sqlite:///{folder}/mlflow.db",
            mlflow_username="trainer",
            mlflow_password=SecretStr("secret"),
            s3_endpoint_url="http://127.0.0.1:1",
            s3_access_key="key",
            s3_secret_key=SecretStr("secret"),
            datasets_uri=str(folder / "store"),
            predictions_uri=str(folder / "predictions"),
            catalog_dir=folder / "catalog",
            training_threads=1,
        )
    )


def train_table(workspace: Workspace, name: str, file: Path, table: PublicTable) -> Trained:
    """Takes a file through the product, as `mlops dataset add` and `mlops train` do, with two options at most."""
    request = Request(table.target, name=name, bad_rows_share=table.bad_rows)
    _, draft = adding.add_dataset(workspace, file, request)
    uri = snapshots.prepare(workspace, name)
    run_id = run.train(workspace, name, uri, "sklearn")
    score = judging.evaluate(workspace, run_id)[draft.dataset.gate.metric]
    decision = judging.decide(workspace, run_id)
    if decision.is_promoted:
        judging.register(workspace, run_id)
    content = workspace.tracker.read_candidate(workspace.tracker.read_run(run_id))
    good, numbers = read_rows(file, draft.dataset)
    snapshot = snapshots.read_snapshot(workspace, uri)
    is_kept = find_kept(good, snapshot, draft.dataset.columns)
    good, numbers = good[is_kept], [number for number, kept in zip(numbers, is_kept, strict=True) if kept]
    split = split_holdout(draft.dataset, good.assign(**{LINE: numbers}))
    first = good.head(ASKED_ROWS)
    return Trained(
        draft=draft,
        rows=len(snapshot),
        metric=draft.dataset.gate.metric,
        score=score,
        verdict=decision.reason,
        is_promoted=decision.is_promoted,
        content=content,
        sides=Sides(split.train[LINE].tolist(), split.holdout[LINE].tolist()),
        split=split,
        asked=[read_as_client(file, draft.dataset, row) for row in numbers[:ASKED_ROWS]],
        expected=list(evaluation.predict_rows(draft.dataset, OnnxModel(content), first).values),
    )


def read_rows(file: Path, dataset: Dataset) -> tuple[pd.DataFrame, list[int]]:
    """The rows that count, and the number of each in the file."""
    table = draft_table.read_table(file, dataset.target)
    lines = np.sort([*table.frame.index, *(row.line for row in table.bad)])
    good = narrow_target(dataset, check_rows(dataset, table.frame[dataset.columns]).good)
    return good, np.searchsorted(lines, good.index).tolist()


def find_kept(good: pd.DataFrame, snapshot: pd.DataFrame, columns: list[str]) -> npt.NDArray[np.bool_]:
    """Which rows the snapshot has; of equal rows the first ones, because they are all on one side of the holdout."""
    texts, kept = _name_rows(good[columns]), _name_rows(snapshot[columns])
    return (texts.groupby(texts).cumcount() < texts.map(kept.value_counts()).fillna(0)).to_numpy()


def _name_rows(frame: pd.DataFrame) -> pd.Series:
    """A text for each row, whatever the types of its columns."""
    cells = [frame[name].map(name_category, na_action=None) for name in frame.columns]
    return pd.Series(["\x1f".join(row) for row in zip(*cells, strict=True)])


def read_as_client(file: Path, dataset: Dataset, number: int) -> dict[str, Any]:
    """A row of the file as JSON, as a client writes it: numbers where the schema has numbers, null for a gap."""
    with file.open(encoding="utf-8", newline="") as stream:
        records = csv.reader(stream)
        header = next(records)
        cells = next(row for position, row in enumerate(records) if position == number)
    named = {name or f"column {place}": cell for place, (name, cell) in enumerate(zip(header, cells, strict=True), 1)}
    return {name: _read_cell(named[name], is_number=name in dataset.numeric) for name in dataset.features}


def _read_cell(cell: str, *, is_number: bool) -> float | str | None:
    if not is_number:
        return cell or None
    try:
        number = float(cell)
    except ValueError:
        return cell if cell not in {"", "NA"} else None
    return number if np.isfinite(number) else None


def score_again(trained: Trained, seeds: range) -> float:
    """The mean score of the product's pipeline on its rows, one forest for each seed."""
    dataset, split = trained.draft.dataset, trained.split
    classes = features.list_classes(dataset, split.train)
    target = features.encode_target(dataset, split.train, classes)
    truth = features.encode_target(dataset, split.holdout, classes)
    family = find_family("sklearn", None, dataset.task)
    hyperparameters = check_hyperparameters(family, dataset.hyperparameters.get(family.name))
    scores = []
    for seed in seeds:
        forest = fitting.make_estimator(dataset, family, hyperparameters, 1).set_params(random_state=seed)
        pipeline = Pipeline([("preprocess", fitting.make_preprocessor(dataset, is_scaled=False)), ("model", forest)])
        pipeline.fit(features.select_inputs(dataset, split.train), target)
        found = pipeline.predict(features.select_inputs(dataset, split.holdout))
        scores.append(SCORES[trained.metric](truth, found))
    return float(np.mean(scores))

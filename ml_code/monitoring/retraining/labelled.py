"""Answered rows of the log with their true labels, as live rows to train on.

Own predictions are never labels. Replayed and asked requests, and a shadow's second answer to a request, stay out, and
so do the windows whose data has faults: a model must not learn them.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from ml_code.data.features import name_categories
from ml_code.data.frames import replace_columns
from ml_code.data.live_rows import LABELLED_AT, LABELLED_BY, LIVE_ID, PREDICTED_AT
from ml_code.datasets import Dataset
from ml_code.model_file.spec import Label
from ml_code.monitoring.drift.history import list_between
from ml_code.monitoring.drift.windows import Window
from ml_code.monitoring.feedback.labels import read_labels
from ml_code.monitoring.prediction_log.reading import read_log
from ml_code.monitoring.quality.answered import flatten_features
from ml_code.workspace import Workspace

COLUMNS = ("request_id", "row", "time", "features")


def list_unlogged(dataset: Dataset) -> list[str]:
    """The features that the prediction log leaves out."""
    checks = dataset.checks.columns
    return [name for name in dataset.features if name in checks and not checks[name].log]


def read_live(workspace: Workspace, model: str, dataset: Dataset, start: datetime, end: datetime) -> pd.DataFrame:
    """Answered rows of the log: `LIVE_ID`, `PREDICTED_AT` and the features; each request's row once.

    Rows of windows with faults are left out, and those whose features have other names or kinds than the catalog's.

    Raises:
        StorageError: the store refuses.
        WarehouseError: the database cannot be reached.
    """
    tables = read_log(workspace, model, start, end, columns=COLUMNS)
    rows = _unite(dataset, [_read_table(dataset, table) for table in tables.values() if _fits(dataset, table)])
    is_faulty = find_within(rows, list_between(workspace, model, "quality", start, end))
    return rows[~is_faulty].reset_index(drop=True)


def find_within(rows: pd.DataFrame, windows: Sequence[Window]) -> npt.NDArray[np.bool_]:
    """Whether each row was predicted in one of the windows, as a boolean array."""
    times = rows[PREDICTED_AT].to_numpy(np.float64)
    is_within = np.zeros(len(rows), dtype=bool)
    for window in windows:
        is_within |= (times >= window.start.timestamp() * 1000) & (times < window.end.timestamp() * 1000)
    return is_within


def read_labelled(workspace: Workspace, model: str, dataset: Dataset, start: datetime, end: datetime) -> pd.DataFrame:
    """Answered rows that have a label: those of `read_live`, the target, `LABELLED_AT` and `LABELLED_BY`.

    Raises:
        StorageError: the store refuses.
        WarehouseError: the database cannot be reached.
    """
    live = read_live(workspace, model, dataset, start, end)
    found = read_labels(workspace, model, start, end)
    labels = pd.DataFrame({
        LIVE_ID: _name_rows(found),
        dataset.target: pd.Series(found["label"].to_pylist(), dtype=object),
        LABELLED_AT: found["received_at"].cast(pa.int64()).to_pandas().astype("float64"),
        LABELLED_BY: pd.Series(found["token"].to_pylist(), dtype="str"),
    })  # fmt: skip
    rows = live.merge(labels, on=LIVE_ID, how="inner")
    if dataset.task == "regression":
        return replace_columns(rows, {dataset.target: pd.to_numeric(rows[dataset.target], errors="coerce")})
    return rows


def choose_new(rows: pd.DataFrame, since_ms: float, after: datetime | None) -> pd.DataFrame:
    """Labelled rows that were predicted from a time on and whose label came after another one."""
    chosen = rows[rows[PREDICTED_AT] >= since_ms]
    if after is None:
        return chosen
    return chosen[chosen[LABELLED_AT] > after.timestamp() * 1000]


def count_classes(dataset: Dataset, rows: pd.DataFrame, classes: Sequence[Label]) -> dict[str, int]:
    """Labels of each class; empty for a regression."""
    if dataset.task == "regression":
        return {}
    found = name_categories(rows[dataset.target]).value_counts()
    return {str(name): int(found.get(str(name), 0)) for name in classes}


def _fits(dataset: Dataset, table: pa.Table) -> bool:
    kinds = {field.name: pa.types.is_floating(field.type) for field in table.schema.field("features").type}
    return all(kinds.get(name) == (name in dataset.numeric) for name in dataset.features)


def _read_table(dataset: Dataset, table: pa.Table) -> pd.DataFrame:
    times = table["time"].cast(pa.int64()).to_pandas().astype("float64")
    columns = pd.DataFrame({LIVE_ID: _name_rows(table), PREDICTED_AT: times})
    return pd.concat([flatten_features(table)[dataset.features], columns], axis=1)


def _unite(dataset: Dataset, parts: list[pd.DataFrame]) -> pd.DataFrame:
    if not parts:
        return pd.DataFrame(columns=[*dataset.features, LIVE_ID, PREDICTED_AT]).astype({LIVE_ID: "str"})
    return pd.concat(parts, ignore_index=True).drop_duplicates(LIVE_ID, ignore_index=True)


def _name_rows(table: pa.Table) -> pd.Series:
    """The id of each live row; texts even without a row, or a merge refuses the column."""
    ids, rows = table["request_id"].to_pylist(), table["row"].to_pylist()
    return pd.Series([f"{name.hex()}-{row}" for name, row in zip(ids, rows, strict=True)], dtype="str")

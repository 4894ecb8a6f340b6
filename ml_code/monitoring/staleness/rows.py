"""The newest answers with labels, as every version is asked them again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from ml_code.data.holdout import find_held_live
from ml_code.datasets import Dataset
from ml_code.model_file.spec import Feature
from ml_code.monitoring.feedback.labels import join_labels, read_labels
from ml_code.monitoring.prediction_log.reading import read_log
from ml_code.monitoring.quality.answered import flatten_features
from ml_code.monitoring.quality.windows import Window
from ml_code.workspace import Workspace

MOST_ROWS = 10_000
"""Labelled rows that are read; more hardly narrow an interval."""

HOUR_MS = 3_600_000
HOUR = timedelta(hours=1)
COLUMNS = ("request_id", "row", "time", "unit", "sampling", "features")


@dataclass(frozen=True)
class LabelledRows:
    """Answers with labels: `rows` has the columns live_id, time (ms), unit, sampling and label."""

    rows: pd.DataFrame
    features: pd.DataFrame

    def select(self, is_wanted: npt.NDArray[np.bool_]) -> LabelledRows:
        """The same with some of the rows."""
        return LabelledRows(self.rows[is_wanted], self.features[is_wanted])

    @property
    def since(self) -> datetime:
        """When the oldest of them was answered."""
        return datetime.fromtimestamp(self.rows["time"].min() / 1000, UTC)


def read_newest(
    workspace: Workspace, model: str, windows: Sequence[Window], features: Sequence[Feature]
) -> LabelledRows | None:
    """Reads labelled answers hour by hour, the newest first, until there are enough; None without any.

    Args:
        workspace: whose store and warehouse.
        model: registered model.
        windows: to read, the newest first.
        features: those of the champion; answers whose logged columns do not fit them are left out.

    Raises:
        StorageError: the store refuses.
        WarehouseError: the warehouse cannot be reached.
    """
    parts: list[LabelledRows] = []
    for window in windows:
        labels = read_labels(workspace, model, window.start, window.end)
        for start in _list_hours(labels):
            edges = max(start, window.start), min(start + HOUR, window.end)
            tables = read_log(workspace, model, *edges, columns=COLUMNS).values()
            found = [_read_part(join_labels(table, labels)) for table in tables]
            parts += [part for part in found if len(part.rows) and not list_misfits(features, part.features)]
            if sum(len(part.rows) for part in parts) >= MOST_ROWS:
                return _unite(parts)
    return _unite(parts) if parts else None


def list_misfits(features: Sequence[Feature], columns: pd.DataFrame) -> list[str]:
    """The features that logged columns lack, or hold as another kind."""
    kinds = {name: "numeric" if columns[name].dtype == np.float64 else "categorical" for name in columns.columns}
    return [feature.name for feature in features if kinds.get(feature.name) != feature.kind]


def find_unlearnt(dataset: Dataset, rows: pd.DataFrame, created: Sequence[datetime | None]) -> npt.NDArray[np.bool_]:
    """Which rows no version can have learnt: those after the youngest version, and held-out ones.

    A retraining learns from labelled answers. A version would be better on them than on any other row.

    Args:
        dataset: whose rule holds rows out.
        rows: with the columns live_id and time.
        created: when each version was registered, after it had been trained; None if unknown.
    """
    is_held = find_held_live(dataset, rows["live_id"].tolist())
    known = [moment for moment in created if moment is not None]
    if len(known) < len(created):
        return is_held
    return is_held | (rows["time"] >= max(known).timestamp() * 1000).to_numpy(dtype=bool)


def _list_hours(labels: pa.Table) -> list[datetime]:
    """The hours in which labelled requests were answered, by the time in their ids, the newest first."""
    ids = labels.column("request_id").to_pylist()
    hours = {int.from_bytes(request_id[:6], "big") // HOUR_MS for request_id in ids}
    return [datetime.fromtimestamp(hour * 3600, UTC) for hour in sorted(hours, reverse=True)]


def _read_part(joined: pa.Table) -> LabelledRows:
    table = joined.filter(pc.is_valid(joined["label"]))
    ids = zip(table["request_id"].to_pylist(), table["row"].to_pylist(), strict=True)
    rows = pd.DataFrame({
        "live_id": [f"{request_id.hex()}-{row}" for request_id, row in ids],
        "time": table["time"].cast(pa.int64()).to_numpy(),
        "unit": pd.Series(table["unit"].to_pylist(), dtype=object),
        "sampling": table["sampling"].to_numpy(),
        "label": pd.Series(table["label"].to_pylist(), dtype=object),
    })  # fmt: skip
    return LabelledRows(rows, flatten_features(table))


def _unite(parts: list[LabelledRows]) -> LabelledRows:
    """One table of the newest rows, with the columns that all parts have as the same kind."""
    first = parts[0].features
    common = [
        name
        for name in first.columns
        if all(name in part.features and part.features[name].dtype == first[name].dtype for part in parts)
    ]
    rows = pd.concat([part.rows for part in parts], ignore_index=True)
    features = pd.concat([part.features[common] for part in parts], ignore_index=True)
    newest = np.argsort(-rows["time"].to_numpy(), kind="stable")[:MOST_ROWS]
    return LabelledRows(rows.iloc[newest].reset_index(drop=True), features.iloc[newest].reset_index(drop=True))

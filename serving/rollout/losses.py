"""What the labelled live answers of two versions cost: the losses that an A/B test or a shadow compares."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ml_code.datasets import Dataset
from ml_code.monitoring.feedback.labels import join_labels, read_labels
from ml_code.monitoring.prediction_log.reading import read_log, read_watermark
from ml_code.workspace import Workspace
from serving.comparison.agreement import Predictions, measure_agreement
from serving.comparison.experiment import Losses
from serving.rollout.ab_test import Labelled
from serving.rollout.rows import Rollout
from serving.rollout.shadow import Pairs

ROW = ["request_id", "row"]
COLUMNS = ["request_id", "row", "time", "unit", "version", "variant", "prediction"]


def read_labelled(workspace: Workspace, row: Rollout) -> Labelled:
    """Reads the labelled rows that both versions have answered since the test was opened.

    A class that is wrong costs 1, and a number its absolute error. Where the gate measures r2, a number costs its
    squared error as a share of the labels' variance, so that a difference of the mean loss is one of r2.

    Raises:
        StorageError: the store is not reached.
    """
    dataset = workspace.load_dataset(workspace.catalog.list_models()[row.model])
    until = read_watermark(workspace)
    if until is None or until <= row.started_at:
        return Labelled(_as_losses(dataset, None, 1.0), _as_losses(dataset, None, 1.0))
    labels = read_labels(workspace, row.model, row.started_at, until)
    found = read_log(workspace, row.model, row.started_at, until, columns=COLUMNS)
    tables = [join_labels(table, labels) for table in found.values()]
    # An answer that is not a number has no loss; the canary's limits count it.
    labelled = [
        table.filter(pc.and_(pc.is_valid(table["label"]), pc.is_valid(table["prediction"]))) for table in tables
    ]
    champion = _select(labelled, row.from_version, "champion")
    challenger = _select(labelled, row.to_version, "challenger")
    scale = _measure_variance(champion) if dataset.gate.metric == "r2" else 1.0
    return Labelled(_as_losses(dataset, champion, scale), _as_losses(dataset, challenger, scale))


def read_pairs(workspace: Workspace, row: Rollout) -> Pairs:
    """Reads the rows that the champion answered and the version predicted as its shadow, since that was opened.

    The loss of a row is that of `read_labelled`.

    Raises:
        StorageError: the store is not reached.
    """
    dataset = workspace.load_dataset(workspace.catalog.list_models()[row.model])
    step = 1.0 if dataset.task == "classification" else 0.0
    nothing = Pairs(_as_losses(dataset, None, 1.0), step, None)
    until = read_watermark(workspace)
    if until is None or until <= row.started_at:
        return nothing
    wanted = [*COLUMNS, "score"]
    found = read_log(
        workspace, row.model, row.started_at, until, columns=wanted, variants=("champion", "shadow")
    ).values()
    kept = [*ROW, "unit", "prediction", "score"]
    champion = _select(list(found), row.from_version, "champion", kept)
    shadow = _select(list(found), row.to_version, "shadow", [*ROW, "prediction", "score"])
    if champion is None or shadow is None:
        return nothing
    pairs = champion.join(shadow, ROW, join_type="inner", right_suffix="_shadow")
    sides = [_read_predictions(dataset, pairs, suffix) for suffix in ("", "_shadow")]
    labels = read_labels(workspace, row.model, row.started_at, until)
    return Pairs(_measure_differences(dataset, join_labels(pairs, labels)), step, measure_agreement(*sides))


READERS = {"ab": read_labelled, "shadow": read_pairs}
"""How the rows of each kind of test are read."""


def _measure_differences(dataset: Dataset, pairs: pa.Table) -> Losses:
    """What the shadow's prediction of each labelled row costs more than the champion's."""
    for name in ("label", "prediction", "prediction_shadow"):
        pairs = pairs.filter(pc.is_valid(pairs[name]))
    if not pairs.num_rows:
        return _as_losses(dataset, None, 1.0)
    scale = _measure_variance(pairs) if dataset.gate.metric == "r2" else 1.0
    champion = _as_losses(dataset, pairs, scale)
    place = pairs.column_names.index("prediction")
    shadow = _measure(dataset, pairs.set_column(place, "prediction", pairs["prediction_shadow"])) / scale
    return Losses(shadow - champion.values, champion.units)


def _read_predictions(dataset: Dataset, pairs: pa.Table, suffix: str) -> Predictions:
    cells = pairs[f"prediction{suffix}"]
    values = _read_numbers(cells) if dataset.task == "regression" else np.array(cells.to_pylist(), dtype=object)
    return Predictions(values, _read_numbers(pairs[f"score{suffix}"]))


def _select(
    tables: list[pa.Table],
    version: str | None,
    variant: str,
    columns: Sequence[str] = ("request_id", "unit", "prediction", "label"),
) -> pa.Table | None:
    parts = [
        table.filter(pc.and_(pc.equal(table["version"], version), pc.equal(table["variant"], variant)))
        for table in tables
    ]
    kept = [part.select(list(columns)) for part in parts if part.num_rows]
    return pa.concat_tables(kept) if kept else None


def _measure_variance(champion: pa.Table | None) -> float:
    variance = 0.0 if champion is None else float(_read_numbers(champion["label"]).var())
    return variance if variance > 0 else 1.0


def _as_losses(dataset: Dataset, table: pa.Table | None, scale: float) -> Losses:
    if table is None:
        return Losses(np.empty(0), np.empty(0, np.int64))
    # Rows of a request without a user are of one sender.
    names = pc.coalesce(table["unit"], _name_requests(table))
    units = pc.dictionary_encode(names).combine_chunks().indices.to_numpy(zero_copy_only=False)
    return Losses(_measure(dataset, table) / scale, units.astype(np.int64))


def _measure(dataset: Dataset, table: pa.Table) -> np.ndarray[Any, np.dtype[np.float64]]:
    if dataset.task == "classification":
        wrong = pc.not_equal(table["prediction"], table["label"])
        return np.asarray(wrong.combine_chunks().to_numpy(zero_copy_only=False), np.float64)
    errors = _read_numbers(table["label"]) - np.asarray(table["prediction"].to_numpy(), np.float64)
    return errors**2 if dataset.gate.metric == "r2" else np.abs(errors)


def _read_numbers(cells: pa.ChunkedArray) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.asarray(pc.cast(cells, pa.float64()).to_numpy(), np.float64)


def _name_requests(table: pa.Table) -> pa.ChunkedArray:
    return pa.chunked_array(
        [pa.array([value.hex() for value in chunk.to_pylist()], pa.string()) for chunk in table["request_id"].chunks]
    )

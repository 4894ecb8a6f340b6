"""Logged rows beside their labels: the answers of each version and variant in a window."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from ml_code.data.features import name_categories
from ml_code.datasets import Dataset
from ml_code.gate.evaluation import Answers, Clusters, Weights, number_clusters

COLUMNS = ("version", "variant", "unit", "prediction", "score", "sampling", "label", "features")


@dataclass(frozen=True)
class Answered:
    """Rows that one version answered as one variant.

    `rows` has the columns of `COLUMNS` but the first two, without the features, which are columns of `features`.
    """

    version: str
    variant: str
    rows: pd.DataFrame
    features: pd.DataFrame

    @cached_property
    def weights(self) -> Weights:
        """How many answers each logged row stands for: 1 unless the log keeps a sample."""
        return 1.0 / self.rows["sampling"].to_numpy(dtype=np.float64)

    @cached_property
    def is_labelled(self) -> npt.NDArray[np.bool_]:
        """Which rows have a label."""
        return self.rows["label"].notna().to_numpy(dtype=bool)

    @property
    def coverage(self) -> float:
        """Share of the answers whose label is known."""
        return float(np.average(self.is_labelled, weights=self.weights))

    def select(self, is_wanted: npt.NDArray[np.bool_]) -> Answered:
        """The same with some of the rows."""
        return Answered(self.version, self.variant, self.rows[is_wanted], self.features[is_wanted])

    def number_users(self) -> Clusters:
        """Number of the user of each row."""
        units = self.rows["unit"].astype(object)
        return number_clusters(units.where(units.notna(), None).to_numpy(dtype=object))


def split_answers(tables: Iterable[pa.Table]) -> list[Answered]:
    """Splits joined tables of the log, one for each schema, by version and variant.

    A version has two schemas if a column was taken out of the log meanwhile: such a column has no slice.
    """
    parts: dict[tuple[str, str], list[tuple[pd.DataFrame, pd.DataFrame]]] = {}
    for table in tables:
        rows = table.select([name for name in COLUMNS if name != "features"]).to_pandas()
        rows["label"] = rows["label"].astype(object).where(rows["label"].notna(), None)
        features = flatten_features(table)
        for (version, variant), places in rows.groupby(["version", "variant"], sort=True).indices.items():
            part = rows.iloc[places].drop(columns=["version", "variant"]), features.iloc[places]
            parts.setdefault((str(version), str(variant)), []).append(part)
    return [_unite(*names, found) for names, found in sorted(parts.items())]


def flatten_features(table: pa.Table) -> pd.DataFrame:
    """The features of a table of the log as columns; a missing number is NaN, a missing text None."""
    struct = table.column("features").combine_chunks()
    if isinstance(struct, pa.ChunkedArray):  # of a table without rows
        struct = pa.array([], type=struct.type)
    names = [field.name for field in struct.type]
    columns = dict(zip(names, struct.flatten(), strict=True))
    return pd.DataFrame({name: _read_cells(cells) for name, cells in columns.items()}, index=range(len(table)))


def pair_answers(dataset: Dataset, answered: Answered, rarer: str | None = None) -> Answers:
    """Labels and predictions of labelled rows, as the gate's scores read them.

    Args:
        dataset: dataset of the model.
        answered: rows that have a label each.
        rarer: the rarer of two classes on the holdout, whose probability average precision needs.
    """
    rows = answered.rows
    if dataset.task == "regression":
        return Answers(rows["label"].to_numpy(dtype=np.float64), rows["prediction"].to_numpy(dtype=np.float64))
    labels, found = name_categories(rows["label"]).tolist(), name_categories(rows["prediction"]).tolist()
    ids = {label: number for number, label in enumerate(sorted({*labels, *found}))}
    truth, predicted = (np.array([ids[label] for label in side], dtype=np.int64) for side in (labels, found))
    scores = rows["score"].to_numpy(dtype=np.float64)
    if rarer is None or np.isnan(scores).any():
        return Answers(truth, predicted)
    number = ids.get(rarer, -1)
    # The log has the probability of the class that was answered.
    return Answers(truth, predicted, number, np.where(predicted == number, scores, 1.0 - scores))


def drop_unreadable(dataset: Dataset, answered: Answered) -> Answered:
    """The same rows without a label that does not fit the task: it counts as none."""
    labels = answered.rows["label"]
    if dataset.task == "regression":
        labels = pd.to_numeric(labels, errors="coerce").replace([np.inf, -np.inf], np.nan)
    rows = answered.rows.copy(deep=False)
    rows["label"] = labels
    return Answered(answered.version, answered.variant, rows, answered.features)


def _read_cells(cells: pa.Array) -> pd.Series:
    if pa.types.is_floating(cells.type):
        return pd.Series(cells.to_numpy(zero_copy_only=False), dtype=np.float64)
    return pd.Series(cells.to_pylist(), dtype=object)


def _unite(version: str, variant: str, parts: list[tuple[pd.DataFrame, pd.DataFrame]]) -> Answered:
    common = [name for name in parts[0][1].columns if all(name in features.columns for _, features in parts)]
    alike = [name for name in common if len({str(features[name].dtype) for _, features in parts}) == 1]
    rows = pd.concat([rows for rows, _ in parts], ignore_index=True)
    return Answered(version, variant, rows, pd.concat([part[alike] for _, part in parts], ignore_index=True))

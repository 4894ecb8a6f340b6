"""Tables of the prediction log beside labels, made up."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import pyarrow as pa

from ml_code.monitoring.quality.answered import Answered, split_answers


def make_joined(
    features: pd.DataFrame,
    predictions: Sequence[object],
    labels: Sequence[object],
    *,
    scores: Sequence[float | None] | None = None,
    version: str | Sequence[str] = "1",
    variant: str | Sequence[str] = "champion",
    units: Sequence[str | None] | None = None,
    sampling: float | Sequence[float] = 1.0,
) -> pa.Table:
    """A table as `join_labels` returns it."""
    rows = len(features)

    def repeat(value: object) -> list[object]:
        return list(value) if isinstance(value, (list, tuple, np.ndarray)) else [value] * rows

    columns = {name: pa.array(features[name].where(features[name].notna(), None).tolist()) for name in features}
    numeric = isinstance(predictions[0], float) if rows else False
    return pa.table({
        "version": pa.array(repeat(version), pa.string()),
        "variant": pa.array(repeat(variant), pa.string()),
        "unit": pa.array(list(units) if units is not None else [None] * rows, pa.string()),
        "prediction": pa.array(list(predictions), pa.float64() if numeric else pa.string()),
        "score": pa.array(list(scores) if scores is not None else [None] * rows, pa.float64()),
        "sampling": pa.array(repeat(sampling), pa.float64()),
        "label": pa.array([None if label is None else str(label) for label in labels], pa.string()),
        "features": pa.StructArray.from_arrays(list(columns.values()), names=list(columns)),
    })  # fmt: skip


def make_answered(
    features: pd.DataFrame, predictions: Sequence[object], labels: Sequence[object], **more: object
) -> Answered:
    """The rows of one version and variant."""
    (found,) = split_answers([make_joined(features, predictions, labels, **more)])  # type: ignore[arg-type]
    return found

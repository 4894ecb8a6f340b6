"""Made-up rows of a prediction log, and references, for the tests and the simulations of drift."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from ml_code.model_file.spec import Feature
from ml_code.monitoring.drift.judging import Judgement, judge
from ml_code.training.reference import Reference, build_rows

type Cells = Mapping[str, Any]


def make_log(cells: Cells, units: Sequence[str | None] | None = None, prediction: Any = None) -> pa.Table:
    """Rows of the log; the prediction follows from the first feature unless it is given."""
    arrays = {name: pa.array(column, from_pandas=True) for name, column in cells.items()}
    first = next(iter(arrays.values()))
    answers = first if prediction is None else pa.array(prediction)
    rows = build_rows(arrays, answers, pa.nulls(len(first), pa.float64()))
    return rows.append_column("unit", pa.array(units or [None] * len(first), pa.string()))


def make_reference(cells: Cells, prediction: Any = None) -> Reference:
    """A reference of such rows; a column of texts is a category."""
    log = make_log(cells, prediction=prediction).drop_columns(["unit"])
    kinds = {field.name: field.type for field in log.schema.field("features").type}
    features = [
        Feature(name=name, kind="categorical" if pa.types.is_string(kind) else "numeric")
        for name, kind in kinds.items()
    ]
    return Reference(log, features)


def draw_cells(random: np.random.Generator, rows: int, columns: int, mixing: Any = None) -> dict[str, Any]:
    """Correlated columns of independent rows."""
    return shape_cells(random.standard_normal((rows, columns)), mixing)


def shape_cells(plain: Any, mixing: Any = None) -> dict[str, Any]:
    """Columns of normal numbers, mixed; a third becomes skewed (log-normal), and a third gets ties."""
    mixed = plain if mixing is None else plain @ mixing
    shapes = (lambda cells: cells, np.exp, lambda cells: np.round(cells * 2))
    return {f"f{place}": shapes[place % 3](mixed[:, place]) for place in range(mixed.shape[1])}


def draw_mixing(random: np.random.Generator, columns: int) -> Any:
    """A matrix that correlates columns and leaves each with the variance one."""
    mixing = np.eye(columns) + 0.3 * random.standard_normal((columns, columns))
    return mixing / np.linalg.norm(mixing, axis=0)


def judge_rows(reference: Cells, window: Cells, checks: Any = None, **options: Any) -> Judgement:
    """Judges a window by a reference, both by their cells."""
    return judge(make_reference(reference), make_log(window, options.pop("units", None)), checks or {}, **options)

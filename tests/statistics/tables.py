"""Windows of the shipped tables: rows that neither the reference nor the model has seen."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from ml_code.data.features import select_inputs
from ml_code.data.holdout import split_holdout
from ml_code.datasets import Dataset
from ml_code.model_file.onnx_model import OnnxModel
from ml_code.monitoring.drift.judging import judge
from ml_code.training.reference import build_rows, make_cells, make_reference, predict_some
from tests.full_tables import read_table, train_family
from tests.statistics.drift import Outcome, summarize

KNOWN_SHARE = 2 / 3
"""Share of a table's rows that make its reference; the windows are drawn from the others."""


@dataclass(frozen=True, slots=True)
class TableCase:
    """A table, and the rows and number of the windows of one series."""

    name: str
    window: int
    windows: int


def simulate_table(case: TableCase, folder: Path, series: int) -> Outcome:
    """Judges series of windows; each series splits the table again, and trains a model on its known rows."""
    dataset, split = read_table(case.name, folder)
    frame = pd.concat([split.train, split.holdout], ignore_index=True)
    return summarize([_judge_series(dataset, frame, case, seed) for seed in range(series)])


def _judge_series(dataset: Dataset, frame: pd.DataFrame, case: TableCase, seed: int) -> list[str]:
    random = np.random.default_rng([18, seed])
    mixed = frame.iloc[random.permutation(len(frame))].reset_index(drop=True)
    known, fresh = np.split(np.arange(len(mixed)), [round(KNOWN_SHARE * len(mixed))])
    split = split_holdout(dataset, mixed.iloc[known].reset_index(drop=True))
    model = OnnxModel(train_family(dataset, split, "linear").content)
    reference = make_reference(dataset, split, model)
    verdicts = []
    for number in range(case.windows):
        rows = mixed.iloc[random.choice(fresh, case.window, replace=False)]
        logged = _log(dataset, model, rows.reset_index(drop=True))
        verdicts.append(judge(reference, logged, dataset.checks.columns, seed=number).verdict)
    return verdicts


def _log(dataset: Dataset, model: OnnxModel, rows: pd.DataFrame) -> pa.Table:
    """Rows of the prediction log with the model's answers."""
    inputs = select_inputs(dataset, rows)
    answers = predict_some(model, inputs, np.ones(len(rows), dtype=bool))
    cells = {feature.name: make_cells(feature, inputs[feature.name]) for feature in model.spec.features}
    return build_rows(cells, *answers).append_column("unit", pa.nulls(len(rows), pa.string()))

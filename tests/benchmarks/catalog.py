"""Every shipped table with every family: metric on the holdout, agreement of file and pipeline, time of one row.

Usage: TEST_TABLES=FOLDER python -m tests.benchmarks.catalog
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from statistics import median

from ml_code.families import FAMILIES
from ml_code.gate import evaluation
from ml_code.model_file.onnx_model import OnnxModel
from tests.full_tables import read_table, train_family

TABLES = ("iris", "titanic", "housing")
ROUNDS = 500


def main() -> None:
    print("| table | family | metric | holdout rows | agreement | one row | file |")
    print("|---|---|---|---|---|---|---|")
    for table in TABLES:
        with tempfile.TemporaryDirectory() as folder:
            dataset, split = read_table(table, Path(folder))
        for name in FAMILIES:
            exported = train_family(dataset, split, name)
            model = OnnxModel(exported.content)
            answers = evaluation.predict_rows(dataset, model, split.holdout)
            metric = dataset.gate.metric
            score = evaluation.measure(dataset, split.holdout[dataset.target], answers)[metric]
            print(
                f"| {table} | {name} | {metric} {score:.3f} | {len(split.holdout)} | {exported.agreement_share:.2%} "
                f"| {time_one_row(model):.0f} µs | {len(exported.content) / 1e6:.2f} MB |",
                flush=True,
            )


def time_one_row(model: OnnxModel) -> float:
    """Median microseconds from a row to its answer."""
    row = model.spec.golden.rows[:1]
    taken = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        model.predict_rows(row)
        taken.append(time.perf_counter() - started)
    return median(taken) * 1e6


if __name__ == "__main__":
    main()

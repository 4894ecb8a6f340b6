"""Batches of predictions beside a bare ONNX session on arrays that are in memory already.

The figures are rows/s, CPU time and peak memory. The bare session has as many threads and ONNX Runtime's defaults.

Usage: TEST_TABLES=FOLDER python -m tests.benchmarks.batch [ROWS]   (default 5,000,000 rows of housing, repeated)
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import NamedTuple

import onnxruntime as ort
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from ml_code.batch.answers import feed_batch
from ml_code.batch.inputs import BATCH_ROWS, count_rows_of_groups
from ml_code.batch.shards import SHARD_ROWS, Shard, predict_shards
from ml_code.datasets import Dataset
from ml_code.model_file.onnx_model import OnnxModel
from ml_code.workspace import open_workspace
from tests.offline_settings import make_offline_settings

THREADS = 2
ROUNDS = 3
FAMILIES = ("random_forest", "linear")


class Figures(NamedTuple):
    """Of one run: rows per second, CPU time of a row, peak memory of the process."""

    speed: float
    cpu_microseconds: float
    peak_mb: float


def main() -> None:
    # Not at the top: the process whose memory is measured would have the training libraries in it.
    from tests.full_tables import read_table, train_family  # noqa: PLC0415

    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 5_000_000
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        dataset, split = read_table("housing", folder)
        table = pd.concat([split.train, split.holdout])
        source = write_source(dataset, table, rows, folder / "housing.parquet")
        print(f"{rows:,} rows of housing, {THREADS} threads, median of {ROUNDS} rounds in turn\n")
        print("| family | bare session | batch | share | CPU of a row, bare and batch | peak memory |")
        print("|---|---|---|---|---|---|")
        for family in FAMILIES:
            model_file = folder / f"{family}.onnx"
            model_file.write_bytes(train_family(dataset, split, family).content)
            rounds = [
                (time_session(model_file.read_bytes(), dataset, table), time_batch(source, model_file, folder))
                for _ in range(ROUNDS)
            ]
            share = median(batch.speed / bare.speed for bare, batch in rounds)
            bare, batch = (Figures(*map(median, zip(*side, strict=True))) for side in zip(*rounds, strict=True))
            print(
                f"| {family} | {bare.speed:,.0f} rows/s | {batch.speed:,.0f} rows/s | {share:.0%} "
                f"| {bare.cpu_microseconds:.2f} and {batch.cpu_microseconds:.2f} µs | {batch.peak_mb:.0f} MB |",
                flush=True,
            )


def write_source(dataset: Dataset, table: pd.DataFrame, rows: int, path: Path) -> Path:
    """The table again and again, a row group of 100,000 rows at a time."""
    block = pa.Table.from_pandas(table[dataset.features], preserve_index=False)
    repeated = pa.concat_tables([block] * (100_000 // len(table) + 1))
    with pq.ParquetWriter(path, block.schema) as writer:
        for first in range(0, rows, 100_000):
            writer.write_table(repeated.slice(0, min(100_000, rows - first)), row_group_size=100_000)
    return path


def time_session(content: bytes, dataset: Dataset, table: pd.DataFrame) -> Figures:
    """The session alone, on batches of the same size as a shard's."""
    repeated = pd.concat([table] * (BATCH_ROWS // len(table) + 1)).head(BATCH_ROWS)
    columns = pa.Table.from_pandas(repeated[dataset.features], preserve_index=False)
    [batch] = columns.combine_chunks().to_batches()
    feed = feed_batch(OnnxModel(content).spec.features, batch)
    options = ort.SessionOptions()
    options.intra_op_num_threads = THREADS
    session = ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    session.run(None, feed)
    started, cpu, count = time.perf_counter(), time.process_time(), 0
    while time.perf_counter() - started < 5:
        session.run(None, feed)
        count += BATCH_ROWS
    seconds = time.perf_counter() - started
    return Figures(count / seconds, (time.process_time() - cpu) / count * 1e6, read_peak_mb())


def time_batch(source: Path, model_file: Path, folder: Path) -> Figures:
    """A process that opens the model and answers all shards in turn."""
    command = [sys.executable, "-m", "tests.benchmarks.batch", "--shards", str(source), str(model_file), str(folder)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=os.environ)
    return Figures(*json.loads(done.stdout))


def answer_shards(source: str, model_file: str, folder: str) -> None:
    workspace = open_workspace(make_offline_settings(Path(folder), batch_threads=THREADS))
    groups = count_rows_of_groups(workspace.storage, source)
    per_shard = max(SHARD_ROWS // max(groups[0], 1), 1)
    shards = [
        make_shard(number, list(range(first, min(first + per_shard, len(groups)))), source, model_file, folder)
        for number, first in enumerate(range(0, len(groups), per_shard))
    ]
    started, cpu = time.perf_counter(), time.process_time()
    rows = sum(part.rows for part in predict_shards(workspace, shards))
    seconds = time.perf_counter() - started
    print(json.dumps([rows / seconds, (time.process_time() - cpu) / rows * 1e6, read_peak_mb()]))


def read_peak_mb() -> float:
    """Of this program alone; `getrusage` counts what the process was before it as well."""
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) / 1000


def make_shard(number: int, groups: Sequence[int], source: str, model_file: str, folder: str) -> Shard:
    return Shard(f"{folder}/out", number, "housing", "1", model_file, "now", "parquet", source, None, groups)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--shards"]:
        answer_shards(*sys.argv[2:])
    else:
        main()

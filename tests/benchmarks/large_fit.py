"""A fit with the rows in memory beside one on the disk and one on a cluster: seconds, peak memory, identity.

Usage: python -m tests.benchmarks.large_fit [ROWS] [FEATURES] [MODEL_TYPE] [WAY ...]
(default 4,000,000 rows of 20 numbers, xgboost, memory and external, each in a process of its own; cluster:2 is a fit
on two workers of this machine)
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq

from ml_code.data.features import list_classes
from ml_code.datasets import Dataset
from ml_code.families import check_hyperparameters, find_family
from ml_code.training.export import export_pipeline
from ml_code.training.rows import open_rows
from ml_code.ways import Way
from ml_code.workspace import open_workspace
from tests.offline_settings import make_offline_settings

GROUP_ROWS = 500_000
TREES = 20
WAYS: dict[str, Way] = {"memory": "memory", "external": "external", "cluster": "cluster"}


def main() -> None:
    if sys.argv[1:2] == ["fit"]:
        measure(Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4], sys.argv[5])
        return
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 4_000_000
    features = int(sys.argv[2]) if len(sys.argv) > 2 else 20
    model_type = sys.argv[3] if len(sys.argv) > 3 else "xgboost"
    ways = sys.argv[4:] or ["memory", "external"]
    with tempfile.TemporaryDirectory(dir="/var/tmp") as name:
        path = Path(name) / "snapshot.parquet"
        write_snapshot(path, rows, features)
        print(f"{rows:,} rows of {features} numbers, {path.stat().st_size / 1e6:.0f} MB, {model_type}, {TREES} trees\n")
        print("| way | seconds | peak of private memory | sha256 of the booster | sha256 of the file |")
        print("|---|---|---|---|---|", flush=True)
        for way in ways:
            command = [sys.executable, "-m", "tests.benchmarks.large_fit", "fit", name, str(features), model_type, way]
            subprocess.run(command, check=True)


def make_dataset(features: int) -> Dataset:
    return Dataset.model_validate(
        {
            "name": "large",
            "task": "classification",
            "target": "label",
            "key": "number",
            "numeric": [f"x{number}" for number in range(features)],
            "source": {"kind": "file", "path": "large.csv"},
            "gate": {"metric": "accuracy", "threshold": 0.5},
        }
    )


def write_snapshot(path: Path, rows: int, features: int) -> None:
    """A target with an interaction of two numbers; row groups of half a million rows."""
    random = np.random.default_rng(7)
    writer = None
    for start in range(0, rows, GROUP_ROWS):
        count = min(GROUP_ROWS, rows - start)
        cells = random.normal(size=(features, count)).round(4)
        label = (cells[0] * cells[1] + cells[2] + random.normal(size=count) * 0.5 > 0).astype(np.int64)
        columns = {f"x{number}": column for number, column in enumerate(cells)}
        table = pa.table({"number": np.arange(start, start + count), **columns, "label": label})
        writer = writer or pq.ParquetWriter(path, table.schema)
        writer.write_table(table)
    if writer:
        writer.close()


def measure(folder: Path, features: int, model_type: str, way: str) -> None:
    dataset = make_dataset(features)
    name, _, workers = way.partition(":")
    settings = make_offline_settings(folder / "datasets", spool_dir=folder, dask_workers=int(workers or 1))
    workspace = open_workspace(settings)
    family = find_family(model_type, None, dataset.task)
    watched = PrivateMemory()
    started = time.perf_counter()
    with open_rows(workspace, dataset, str(folder / "snapshot.parquet"), WAYS[name], None) as rows:
        pipeline = rows.fit(family, check_hyperparameters(family, {"n_estimators": TREES}), 1)
        seconds, peak = time.perf_counter() - started, watched.stop()
        classes = list_classes(dataset, rows.train)
        sample = rows.train.head(1000)
        content = export_pipeline(dataset, pipeline, classes, sample).content
    model = pipeline.named_steps["model"]
    booster = (
        bytes(model.get_booster().save_raw("ubj")) if model_type == "xgboost" else model.booster_.model_to_string()
    )
    digests = [
        hashlib.sha256(text if isinstance(text, bytes) else text.encode()).hexdigest()[:12]
        for text in (booster, content)
    ]
    print(f"| {way} | {seconds:.0f} | {peak / 1e6:.0f} MB | {' | '.join(digests)} |", flush=True)


class PrivateMemory:
    """The peak of the memory of this process and its children, without the cache of files, which gives way."""

    def __init__(self) -> None:
        self._peak, self._is_over = 0, threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def stop(self) -> int:
        self._is_over.set()
        self._thread.join()
        return self._peak

    def _watch(self) -> None:
        while not self._is_over.wait(0.02):
            processes = [os.getpid(), *(child.pid for child in psutil.Process().children(recursive=True))]
            self._peak = max(self._peak, sum(map(read_private_bytes, processes)))


def read_private_bytes(pid: int) -> int:
    """Memory of a process without files; 0 of one that has ended."""
    with suppress(OSError, IndexError):
        return int(Path(f"/proc/{pid}/status").read_text().split("RssAnon:")[1].split()[0]) * 1024
    return 0


if __name__ == "__main__":
    main()

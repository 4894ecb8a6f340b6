"""Drift and labels of a large window: seconds, CPU and peak memory of reading the log and judging or joining it.

Usage: python -m tests.benchmarks.monitoring [ROWS] [FEATURES]   (default 1,000,000 rows of 20 features)
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa

from ml_code.monitoring.drift.judging import judge
from ml_code.monitoring.drift.windows import read_window
from ml_code.monitoring.feedback.labels import STORED, write_events
from ml_code.monitoring.prediction_log.collection import collect
from ml_code.monitoring.quality.source import JoinedLog
from ml_code.monitoring.quality.windows import Window
from ml_code.workspace import Workspace
from tests.benchmarks.collection import write_segments
from tests.drift_rows import make_reference
from tests.log_rows import NOON, LogWarehouse, make_id, make_log_workspace

LABELS = 100_000
EVENTS_OF_A_LABEL = 2
REFERENCE_ROWS = 10_000
WINDOW = Window(NOON, NOON + timedelta(hours=1))


class Warehouse(LogWarehouse):
    """No token was dropped."""

    def execute(self, statement: str, values: tuple[object, ...] = ()) -> None:
        if "label_token" in statement:
            self._answer = []
        else:
            super().execute(statement, values)


def main() -> None:
    if sys.argv[1:2] == ["step"]:
        STEPS[sys.argv[2]](Path(sys.argv[3]), *map(int, sys.argv[4:6]))
        return
    sizes = [sys.argv[1] if len(sys.argv) > 1 else "1000000", sys.argv[2] if len(sys.argv) > 2 else "20"]
    with tempfile.TemporaryDirectory() as name:
        for step in STEPS:  # in a process each: one holds what it has written
            command = [sys.executable, "-m", "tests.benchmarks.monitoring", "step", step, name, *sizes]
            subprocess.run(command, check=True)


def write(folder: Path, rows: int, features: int) -> None:
    """Puts the rows where a collection puts them, and two labels for some of them."""
    workspace = make_log_workspace(folder)
    write_segments(folder / "volume/segments", rows, features)
    collect(workspace)
    places = np.random.default_rng(7).permutation(rows)[: min(LABELS, rows)]
    for number in range(EVENTS_OF_A_LABEL):
        write_events(workspace, "iris", NOON, f"labels-{number}", _make_events(places, number))


def _make_events(places: np.ndarray, number: int) -> pa.Table:
    moments = [NOON + int(place) * timedelta(milliseconds=1) for place in places]
    ids = [bytes.fromhex(make_id(moment, int(place))) for moment, place in zip(moments, places, strict=True)]
    received = [moment + timedelta(hours=number + 1) for moment in moments]
    count = len(places)
    columns = (ids, [0] * count, moments, ["1"] * count, [None] * count, received, ["shop"] * count, ["api"] * count)
    events = [number.to_bytes(8, "big") + one[8:] for one in ids]
    return pa.table(
        [pa.array(cells, field.type) for cells, field in zip((*columns, events), STORED, strict=True)], STORED
    )


def judge_drift(folder: Path, rows: int, features: int) -> None:
    """Reads the window as `monitor_model` does, and compares it with a reference of full size."""
    random = np.random.default_rng(8)
    cells = {f"feature_{number}": random.uniform(0, 10, REFERENCE_ROWS).round(2) for number in range(features)}
    reference = make_reference(cells, prediction=[str(label) for label in random.integers(0, 3, REFERENCE_ROWS)])
    workspace = make_log_workspace(folder)

    def run() -> str:
        logged = read_window(workspace, "iris", "3", WINDOW)
        found = judge(reference, logged.rows, {})
        assert found.judged_rows == rows
        return f"drift of {rows:,} rows with {features} features: {found.verdict}"

    _measure(run)


def join(folder: Path, rows: int, _: int) -> None:
    """Reads the newest label of each row, and joins the labels to the rows of the window."""
    workspace: Workspace = make_log_workspace(folder, Warehouse())
    source = JoinedLog(workspace)

    def run() -> str:
        labels = source.read_labels("iris", WINDOW.start, WINDOW.end)
        [joined] = source.read_joined("iris", WINDOW, labels)
        assert (joined.num_rows, joined.num_rows - joined["label"].null_count) == (rows, labels.num_rows)
        return f"{labels.num_rows:,} labels of {EVENTS_OF_A_LABEL * labels.num_rows:,} events joined to {rows:,} rows"

    _measure(run)


def _measure(run: Callable[[], str]) -> None:
    before_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    began, used = time.perf_counter(), time.process_time()
    what = run()
    seconds, cpu_seconds = time.perf_counter() - began, time.process_time() - used
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{what}: {seconds:.1f} s ({cpu_seconds:.1f} s of CPU), {peak_mb:.0f} MB ({before_mb:.0f} MB before)")


STEPS: dict[str, Callable[[Path, int, int], None]] = {"write": write, "drift": judge_drift, "labels": join}

if __name__ == "__main__":
    main()

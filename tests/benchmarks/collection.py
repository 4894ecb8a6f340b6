"""The collection of the prediction log, from a replica's segments to Parquet on this disk: rows/s and peak memory.

Usage: python -m tests.benchmarks.collection [ROWS] [FEATURES]   (default 1,000,000 rows of 20 features)
"""

from __future__ import annotations

import random
import resource
import subprocess
import sys
import tempfile
import time
from datetime import timedelta
from pathlib import Path

from ml_code.monitoring.prediction_log.blocks import Head
from ml_code.monitoring.prediction_log.collection import collect
from ml_code.segments import SegmentWriter
from tests.log_rows import NOON, make_log_workspace, make_rows, render_lines

STEP_ROWS = 10_000


def main() -> None:
    if sys.argv[1:2] == ["collect"]:
        measure(Path(sys.argv[2]))
        return
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    features = int(sys.argv[2]) if len(sys.argv) > 2 else 20
    with tempfile.TemporaryDirectory() as name:
        write_segments(Path(name) / "volume/segments", rows, features)
        # In a process of its own: this one holds what it has written.
        subprocess.run([sys.executable, "-m", "tests.benchmarks.collection", "collect", name], check=True)


def write_segments(folder: Path, rows: int, features: int) -> None:
    """Writes what a replica writes for numbers with the digits that people send."""
    names = [f"feature_{number}" for number in range(features)]
    head = Head("iris", "3", "champion", "live", "classification", names, ["numeric"] * features)
    draw = random.Random(7)
    writer = SegmentWriter(folder, "stable-a")
    for first in range(0, rows, STEP_ROWS):
        count = min(STEP_ROWS, rows - first)
        cells = [[round(draw.random() * 10, 2) for _ in names] for _ in range(count)]
        labels, scores = [draw.randrange(3) for _ in cells], [draw.random() for _ in cells]
        start = NOON + first * timedelta(milliseconds=1)
        pause = timedelta(milliseconds=1)
        writer.write(render_lines(head, make_rows(cells, labels, start=start, pause=pause, scores=scores, first=first)))
    writer.close()


def measure(folder: Path) -> None:
    """Collects the segments of a folder."""
    workspace = make_log_workspace(folder)
    began, used = time.perf_counter(), time.process_time()
    found = collect(workspace)
    assert found is not None
    seconds, cpu_seconds = time.perf_counter() - began, time.process_time() - used
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    size_mb = sum(path.stat().st_size for path in (folder / "predictions").rglob("*.parquet")) / 1e6
    print(f"{found.rows:,} rows in {seconds:.1f} s ({cpu_seconds:.1f} s of CPU), {peak_mb:.0f} MB")
    print(f"{size_mb:.0f} MB stored")


if __name__ == "__main__":
    main()

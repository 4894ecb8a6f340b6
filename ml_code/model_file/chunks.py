"""How many rows a model file may compute at once, so that one request takes a bounded part of the memory."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from ml_code.model_file.spec import Feature

CHUNK_BYTES = 16_000_000
"""Most memory that the steps of a graph take together for the rows that it computes at once."""

MEASURED_ROWS = 32
"""Rows of the measurement: with a few, what a graph takes once would count as what it takes for each row."""

LARGEST_PROFILE_BYTES = 20_000_000
"""A loop writes a line for each step of each turn; what a longer profile says is not worth its memory."""

CELL_BYTES = 4
STEPS = 4
"""Where nothing was measured: the steps of a graph that hold all of its columns, such as an encoder and a scaler."""


@contextmanager
def open_profile() -> Iterator[Path | None]:
    """Yields the beginning of the path to which ONNX Runtime writes its profile; None without a place to write."""
    try:
        folder = tempfile.TemporaryDirectory(prefix="mlops-profile-", ignore_cleanup_errors=True)
    except OSError:  # a full disk must not keep a replica from its last good version
        yield None
        return
    with folder:
        yield Path(folder.name) / "run"


def read_row_bytes(profile: Path, rows: int) -> float:
    """The bytes that the results of all steps take for one row, by ONNX Runtime's profile of a run.

    It is more than what is held at once, because a result is freed after its last reader.

    Raises:
        OSError: the profile cannot be read.
        ValueError: it is not a profile, or too long to read.
    """
    if (size := profile.stat().st_size) > LARGEST_PROFILE_BYTES:
        raise ValueError(f"profile: found {size} bytes, expected at most {LARGEST_PROFILE_BYTES}")
    events = json.loads(profile.read_bytes())
    return sum(int(event.get("args", {}).get("output_size", 0)) for event in events) / rows


def estimate_row_bytes(features: Sequence[Feature]) -> float:
    """The same where there is no profile: each category becomes a column of its own."""
    columns = sum(1 if feature.categories is None else len(feature.categories) for feature in features)
    return float(columns * CELL_BYTES * STEPS)


def count_chunk_rows(row_bytes: float) -> int:
    """The rows of a chunk."""
    return max(1, int(CHUNK_BYTES / max(row_bytes, 1.0)))

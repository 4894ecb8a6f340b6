"""The process that opens a model file for the first time: `python -m serving.rollout.validation_child FILE SECONDS`."""

from __future__ import annotations

import json
import resource
import statistics
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson

from ml_code.errors import MlopsError
from ml_code.heap import return_large_blocks
from ml_code.model_file.onnx_model import OnnxModel
from serving.limits import LARGE_THREADS, LONGEST_ANSWER_MS, MAX_BODY_BYTES, MAX_PROBABILITIES, MAX_ROWS

ADDRESS_SPACE_BYTES = 2_000_000_000
"""On top of what the libraries have mapped, which is far more than they use."""


def main() -> None:
    """Prints what was found as one line of JSON; a file that ends this process leaves none."""
    file, seconds = Path(sys.argv[1]), int(sys.argv[2])
    limit_process(seconds)
    return_large_blocks()
    try:
        found = measure_file(file.read_bytes())
    except MlopsError as error:
        found = {"problem": str(error)}
    except MemoryError:
        found = {"problem": f"memory: found more than {ADDRESS_SPACE_BYTES / 1e6:.0f} MB, expected less"}
    sys.stdout.write(json.dumps(found) + "\n")


def measure_file(content: bytes) -> dict[str, Any]:
    """Opens, replays and measures.

    Raises:
        MlopsError: the file does not open, or its model answers wrongly.
    """
    before_mb = read_peak_mb()
    started = time.perf_counter()
    model = OnnxModel(content)
    model.replay_golden()
    load_seconds = time.perf_counter() - started
    rows = model.spec.golden.rows
    thousand = (rows * (1000 // len(rows) + 1))[:1000]
    one_row_ms = statistics.median(_time_ms(lambda: model.predict_rows(rows[:1])) for _ in range(50))
    thousand_rows_ms = statistics.median(_time_ms(lambda: model.predict_rows(thousand)) for _ in range(3))
    largest_ms = measure_largest(model, thousand_rows_ms)
    return {
        "spec": model.spec.model_dump(mode="json"),
        "load_seconds": load_seconds,
        "one_row_ms": one_row_ms,
        "thousand_rows_ms": thousand_rows_ms,
        "largest_ms": largest_ms,
        "memory_mb": read_peak_mb() - before_mb,
    }


def measure_largest(model: OnnxModel, thousand_rows_ms: float) -> float:
    """Computes the largest request, as often at once as a replica does; returns the CPU time of the slowest."""
    count = count_largest_rows(model)
    expected_ms = thousand_rows_ms * count / 1000
    if expected_ms > 2 * LONGEST_ANSWER_MS:
        return expected_ms
    golden = model.spec.golden.rows
    rows = (golden * (count // len(golden) + 1))[:count]
    with ThreadPoolExecutor(LARGE_THREADS) as threads:
        return max(threads.map(lambda _: _answer_ms(model, rows), range(LARGE_THREADS)))


def count_largest_rows(model: OnnxModel) -> int:
    """The most rows that a request can have: each cell takes a byte of its body and one beside it."""
    return min(MAX_ROWS, MAX_BODY_BYTES // (2 * len(model.spec.features) + 2))


def limit_process(seconds: int) -> None:
    """Bounds what a bad file can take: CPU time, memory, core files; macOS does not bound memory."""
    # SIGXCPU at the first bound tells the reason; SIGKILL at the second does not.
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 5))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with suppress(OSError, ValueError):
        mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        limit = mapped + ADDRESS_SPACE_BYTES
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def read_peak_mb() -> float:
    """The most memory that this process has held, in MB.

    Linux's `ru_maxrss` would also count the memory of its parent, a whole task of Airflow.
    """
    with suppress(OSError, IndexError):
        status = Path("/proc/self/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) * 1024 / 1e6
    unit_bytes = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit_bytes / 1e6


def _answer_ms(model: OnnxModel, rows: list[list[Any]]) -> float:
    started = time.thread_time()
    found = model.predict_rows(rows)
    orjson.dumps(found.values)
    if found.probabilities is not None:
        most = MAX_PROBABILITIES // max(1, found.probabilities.shape[1])
        orjson.dumps(found.probabilities[:most].astype(float), option=orjson.OPT_SERIALIZE_NUMPY)
    return (time.thread_time() - started) * 1000


def _time_ms(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return (time.perf_counter() - started) * 1000


if __name__ == "__main__":
    main()

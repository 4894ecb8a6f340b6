"""A replica whose disk takes nothing: it answers as before, and each row is in the log or counted."""

from __future__ import annotations

import os
import resource
import signal
import statistics
import threading
import time
from pathlib import Path

import httpx
import psutil
import pytest

from ml_code.monitoring.feedback.events import read_event
from ml_code.monitoring.prediction_log.blocks import make_request_id, read_block
from ml_code.segments import read_lines
from tests.integration.serving.replica import Replica, run_replica, store_models, wait_until

ROWS = [[5.1, 3.5, 1.4, 0.2], [6.0, 2.9, 4.5, 1.5]]

NAMES = ("mlops_prediction_log_rows_total", "mlops_prediction_log_dropped_rows_total")


def ask(replica: Replica, requests: int) -> list[float]:
    """The latencies of some requests in milliseconds; each is answered."""
    latencies = []
    with httpx.Client(timeout=30) as client:
        for _ in range(requests):
            began = time.perf_counter()
            assert client.post(f"{replica.url}/predict", json=ROWS).status_code == 200
            latencies.append((time.perf_counter() - began) * 1000)
    return latencies


def read_figures(replica: Replica) -> tuple[int, int]:
    """Logged and dropped rows."""
    lines = httpx.get(f"{replica.url}/metrics").text.splitlines()
    logged, dropped = (sum(float(line.split()[-1]) for line in lines if line.startswith(name)) for name in NAMES)
    return int(logged), int(dropped)


def read_log(folder: Path) -> tuple[int, int]:
    """Rows in the segments, and dropped rows that their blocks name."""
    blocks = [read_block(line) for path in folder.glob("*.jsonl") for line in read_lines(path)[0]]
    return sum(len(block.rows) for block in blocks), sum(block.dropped for block in blocks)


def test_with_a_full_disk_each_request_is_answered_and_each_row_logged_or_counted(tmp_path: Path) -> None:
    """No file of the replica may be longer than some bytes: a write that is too long fails as on a full disk."""
    store_models(tmp_path)
    room = {"SERVING_PREDICTION_LOG_DIR": str(tmp_path / "log"), "SERVING_CATALOG_DIR": str(tmp_path / "catalog")}
    with run_replica(tmp_path, "http://127.0.0.1:1", "nothing", **room) as replica:
        before = ask(replica, 300)
        wait_until(lambda: read_figures(replica) == (600, 0), lambda: read_figures(replica))
        process = psutil.Process(replica.process_id)
        process.rlimit(resource.RLIMIT_FSIZE, (100, resource.RLIM_INFINITY))
        full = ask(replica, 300)
        wait_until(lambda: read_figures(replica) == (600, 600), lambda: read_figures(replica))
        process.rlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        ask(replica, 10)
        wait_until(lambda: read_figures(replica) == (620, 600), lambda: read_figures(replica))
        os.kill(replica.process_id, signal.SIGTERM)
        process.wait(60)
    assert read_log(tmp_path / "log/segments") == (620, 600)
    for name, latencies in (("before", before), ("full", full)):
        print(
            f"{name}: p50 {statistics.median(latencies):.2f}, p99 {statistics.quantiles(latencies, n=100)[98]:.2f} ms"
        )


@pytest.mark.long
def test_labels_at_a_hundred_a_second_are_all_on_the_disk(tmp_path: Path) -> None:
    store_models(tmp_path)
    room = {"SERVING_PREDICTION_LOG_DIR": str(tmp_path / "log"), "SERVING_CATALOG_DIR": str(tmp_path / "catalog")}
    latencies: list[float] = []
    with run_replica(tmp_path, "http://127.0.0.1:1", "nothing", **room) as replica:
        threads = [threading.Thread(target=_send, args=(replica, latencies, 0.1)) for _ in range(10)]
        for number, thread in enumerate(threads):
            thread.start()
            time.sleep(0.01 * (number < 9))
        for thread in threads:
            thread.join()
    lines = [line for path in (tmp_path / "log/feedback").glob("*.jsonl") for line in read_lines(path)[0]]
    assert len({read_event(line).event for line in lines}) == len(latencies) == 2000
    p50, p99 = statistics.median(latencies), statistics.quantiles(latencies, n=100)[98]
    print(f"2,000 labels at 100 a second: p50 {p50:.1f}, p99 {p99:.1f} ms")


def _send(replica: Replica, latencies: list[float], pause: float) -> None:
    """Sends 200 labels, one per pause, whether or not the one before took long."""
    next_at = time.perf_counter()
    with httpx.Client(timeout=30) as client:
        for _ in range(200):
            time.sleep(max(0.0, next_at - time.perf_counter()))
            began = time.perf_counter()
            response = client.post(f"{replica.url}/feedback", json={"request_id": make_request_id(), "label": 1})
            latencies.append((time.perf_counter() - began) * 1000)
            assert response.status_code == 202
            next_at += pause

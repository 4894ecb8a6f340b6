"""Legal requests of the largest size, as many at once as clients like: nothing dies, and small requests do not wait."""

from __future__ import annotations

import json
import multiprocessing
import statistics
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.integration.serving.replica import Replica, run_replica, store_models
from tests.unit.serving.onnx_files import make_classifier, make_wide_regressor

ROWS = 10_000
CLIENTS = 24
EXTRA_MB = 200
"""What docs/budgets.md allows all large requests of a replica together."""

WIDE = json.dumps([[f"c{number % 5_000:05d}"] for number in range(ROWS)]).encode()
LONG = b"[" + b",".join([b'{"port":"c%05d"%s}' % (number, b" " * 79) for number in range(ROWS)])[:-1] + b"}]"
JSON = {"content-type": "application/json"}


@pytest.fixture(scope="module")
def wide_replica(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replica]:
    """A replica with a model of 5,000 categories beside iris."""
    folder = tmp_path_factory.mktemp("replica")
    catalog = store_models(folder, {"iris": make_classifier, "wide": make_wide_regressor})
    with run_replica(folder, "http://127.0.0.1:1", "nothing", SERVING_CATALOG_DIR=str(catalog)) as replica:
        yield replica


def read_peak_mb(replica: Replica) -> float:
    status = Path(f"/proc/{replica.process_id}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024 / 1e6


def send_until(done: threading.Event, replica: Replica, body: bytes) -> Counter[int]:
    found: Counter[int] = Counter()
    with httpx.Client(timeout=60) as client:
        while not done.is_set():
            answer = client.post(f"{replica.url}/models/wide/predict", content=body, headers=JSON)
            found[answer.status_code] += 1
            if answer.status_code == 429:
                assert answer.headers["retry-after"] == "1"
                assert "send it again" in answer.json()["error"]
                time.sleep(0.05)
            else:
                assert len(answer.json()["predictions"]) == ROWS
    return found


def ask_single_rows(url: str, seconds: float) -> list[float]:
    """The seconds of each request of one row; all must be answered. It runs in a process that does nothing else."""
    taken, end = [], time.monotonic() + seconds
    with httpx.Client(timeout=60) as client:
        while time.monotonic() < end or len(taken) < 100:
            started = time.monotonic()
            answer = client.post(f"{url}/predict", content=b"[[5.1,3.5,1.4,0.2]]", headers=JSON)
            taken.append(time.monotonic() - started)
            assert answer.status_code == 200
            time.sleep(0.01)
    return taken


def time_large(replica: Replica, body: bytes) -> float:
    """The seconds of a large request beside which there is no other."""
    taken = []
    with httpx.Client(timeout=60) as client:
        for _ in range(3):
            started = time.monotonic()
            assert client.post(f"{replica.url}/models/wide/predict", content=body, headers=JSON).status_code == 200
            taken.append(time.monotonic() - started)
    return statistics.median(taken)


@pytest.mark.parametrize("body", [WIDE, LONG], ids=["rows", "bytes"])
def test_the_largest_requests_at_once_kill_nothing_and_delay_nobody(wide_replica: Replica, body: bytes) -> None:
    before, done = read_peak_mb(wide_replica), threading.Event()
    alone = time_large(wide_replica, body)
    with ThreadPoolExecutor(CLIENTS) as pool, ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as asking:
        senders = [pool.submit(send_until, done, wide_replica, body) for _ in range(CLIENTS)]
        try:
            taken = sorted(asking.submit(ask_single_rows, wide_replica.url, 5).result())
        finally:
            done.set()
        found = sum((sender.result() for sender in senders), Counter[int]())
    p99 = taken[int(len(taken) * 0.99)]
    print(found, f"p99 {p99:.3f} s, alone {alone:.3f} s, {read_peak_mb(wide_replica) - before:.0f} MB")
    assert set(found) <= {200, 429}
    assert found[200]
    # A busy machine slows both.
    assert p99 < max(0.5, alone)
    assert read_peak_mb(wide_replica) - before < EXTRA_MB

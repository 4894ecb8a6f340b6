"""Many models on one replica: start, memory, what following the registry costs, and latency while models are swapped.

Usage: python -m tests.benchmarks.many_models [COUNT MEGABYTES [OPEN]]   (default 200 models of 1 MB, all of them open)

A stand-in for MLflow names the models. The CPU time is that of all threads of an idle replica. During the load a tenth
of the models gets nine of ten requests at random; the others are asked in turn. Each second a model gets a version.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import statistics
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Mapping
from contextlib import ExitStack
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, override
from urllib.parse import parse_qs, urlsplit

import httpx
import numpy as np
from onnx import TensorProto, helper

from ml_code.model_file.spec import METADATA_KEY, Feature, GoldenRows, ModelSpec
from tests.benchmarks.limit import read_cpu
from tests.ports import free_port
from tests.processes import run_process
from tests.waiting import wait_until

FEATURES = 4
DEPTH = 10
TREES_PER_MB = 17
IDLE_SECONDS = 20.0
LOAD_SECONDS = 30.0
RATE_PER_SECOND = 40
SWAP_SECONDS = 1.0
START_SECONDS = 600
BODY = json.dumps([[0.5] * FEATURES]).encode()


def make_forest(megabytes: int, mark: str) -> bytes:
    """A forest of complete trees with random thresholds; the mark makes its digest its own."""
    trees, nodes, inner = megabytes * TREES_PER_MB, 2 ** (DEPTH + 1) - 1, 2**DEPTH - 1
    draw, numbers = np.random.default_rng(7), np.arange(nodes)
    is_inner = numbers < inner
    leaves = nodes - inner
    tree_ids = np.repeat(np.arange(trees), nodes)
    ensemble = helper.make_node(
        "TreeEnsembleRegressor",
        ["row"],
        ["y"],
        domain="ai.onnx.ml",
        n_targets=1,
        nodes_treeids=tree_ids.tolist(),
        nodes_nodeids=np.tile(numbers, trees).tolist(),
        nodes_featureids=np.where(np.tile(is_inner, trees), draw.integers(FEATURES, size=trees * nodes), 0).tolist(),
        nodes_values=draw.random(trees * nodes).tolist(),
        nodes_modes=np.tile(np.where(is_inner, "BRANCH_LEQ", "LEAF"), trees).tolist(),
        nodes_truenodeids=np.tile(np.where(is_inner, 2 * numbers + 1, 0), trees).tolist(),
        nodes_falsenodeids=np.tile(np.where(is_inner, 2 * numbers + 2, 0), trees).tolist(),
        target_treeids=np.repeat(np.arange(trees), leaves).tolist(),
        target_nodeids=np.tile(np.arange(inner, nodes), trees).tolist(),
        target_ids=[0] * (trees * leaves),
        target_weights=[1.0] * (trees * leaves),
    )
    names = [f"x{number}" for number in range(FEATURES)]
    inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, 1]) for name in names]
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 1])
    graph = helper.make_graph([helper.make_node("Concat", names, ["row"], axis=1), ensemble], mark, inputs, [output])
    opsets = [helper.make_opsetid("", 19), helper.make_opsetid("ai.onnx.ml", 3)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=9)
    spec = ModelSpec(
        dataset="many",
        task="regression",
        target="y",
        features=[Feature(name=name, kind="numeric") for name in names],
        prediction_output="y",
        golden=GoldenRows(rows=[[0.5] * FEATURES], predictions=[float(trees)]),
    )
    entry = model.metadata_props.add()
    entry.key, entry.value = METADATA_KEY, spec.model_dump_json()
    content: bytes = model.SerializeToString()
    return content


class Registry(ThreadingHTTPServer):
    """The three paths of MLflow that a replica reads; the version of each model is in `versions`."""

    daemon_threads = True

    def __init__(self, content: bytes, names: list[str]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.content = content
        self.versions = dict.fromkeys(names, 1)

    def read_file(self, name: str, version: str) -> bytes:
        """The same forest, with an unknown field at its end that names its version."""
        mark = f"{name} {version}".encode()
        # Field 2,000 of the message, which no reader knows, as bytes.
        return self.content + b"\x82\x7d" + bytes([len(mark)]) + mark

    def list_models(self) -> list[Mapping[str, Any]]:
        """Every model with what MLflow says of its newest version."""
        latest = {"source": "s3://mlflow/" + "a" * 80, "run_id": "r" * 32, "status": "READY", "tags": []}
        latest["tags"] = [{"key": f"tag{number}", "value": "v" * 64} for number in range(10)]
        return [
            {
                "name": name,
                "aliases": [{"alias": "champion", "version": str(version)}],
                "latest_versions": [{"name": name, "version": str(version), **latest}],
                "tags": [],
            }
            for name, version in self.versions.items()
        ]


class _Handler(BaseHTTPRequestHandler):
    server: Registry

    def do_GET(self) -> None:
        path, query = urlsplit(self.path).path, parse_qs(urlsplit(self.path).query)
        if path.endswith("/search"):
            body = json.dumps({"registered_models": self.server.list_models()}).encode()
        else:
            content = self.server.read_file(query["name"][0], query["version"][0])
            body = content
            if path.endswith("/model-versions/get"):
                tag = {"key": "sha256", "value": hashlib.sha256(content).hexdigest()}
                body = json.dumps({"model_version": {"tags": [tag]}}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    @override
    def log_message(self, *_: object) -> None:
        """Says nothing."""


def main() -> None:
    """Starts a replica twice, and measures the second one."""
    count, megabytes, most = (*map(int, sys.argv[1:]), *(200, 1, 0)[len(sys.argv) - 1 :])
    names = [f"model{number:03d}" for number in range(count)]
    content = make_forest(megabytes, "forest")
    with tempfile.TemporaryDirectory(prefix="bench-") as name, ExitStack() as stack:
        folder = Path(name)
        (folder / "catalog").mkdir()
        (folder / "catalog" / "many.toml").write_text(f"models = {json.dumps(names)}\n")
        registry = Registry(content, names)
        threading.Thread(target=registry.serve_forever, daemon=True).start()
        print(f"{count} models of {len(content) / 1e6:.1f} MB, {most or 'all'} of them open")
        for start in ("first start, from the registry", "second start, from the disk"):
            with ExitStack() as once:
                url, process_id, seconds = run_replica(folder, registry, count, most, once)
                print(f"{start}: {seconds:.1f} s, {read_kb(process_id, 'VmHWM') / 1e3:.0f} MB at most", flush=True)
                if start.startswith("second"):
                    measure(url, process_id, registry)
        stack.callback(registry.shutdown)


def run_replica(folder: Path, registry: Registry, count: int, most: int, stack: ExitStack) -> tuple[str, int, float]:
    """Its address and process, and the seconds until all models answer."""
    port = free_port()
    settings = {
        "SERVING_MLFLOW_URL": f"http://127.0.0.1:{registry.server_port}",
        "SERVING_MLFLOW_USERNAME": "nobody",
        "SERVING_MLFLOW_PASSWORD": "nothing",
        "SERVING_STATE_DIR": str(folder / "state"),
        "SERVING_CATALOG_DIR": str(folder / "catalog"),
        "SERVING_HOST": "127.0.0.1",
        "SERVING_PORT": str(port),
        "BENTOML_HOME": str(folder / "bentoml"),
        "BENTOML_DO_NOT_TRACK": "true",
    } | ({"SERVING_MAX_OPEN_MODELS": str(most)} if most else {})
    started = time.monotonic()
    command = [sys.executable, "-m", "serving"]
    process = stack.enter_context(run_process(command, folder / f"{port}.log", env={**os.environ, **settings}))
    url = f"http://127.0.0.1:{port}"

    def has_all() -> bool:
        try:
            return len(httpx.get(f"{url}/readyz").json()["models"]) == count
        except httpx.HTTPError:
            return False

    wait_until(has_all, START_SECONDS, lambda: (folder / f"{port}.log").read_text()[-2000:], interval_seconds=0.1)
    return url, process.pid, time.monotonic() - started


def measure(url: str, process_id: int, registry: Registry) -> None:
    """Prints memory, the CPU time of following, and latencies without and with swaps."""
    time.sleep(8)  # the service freezes its heap 5 s after its start
    before = read_cpu(process_id)
    time.sleep(IDLE_SECONDS)
    share = (read_cpu(process_id) - before) / IDLE_SECONDS
    print(f"idle: {read_kb(process_id, 'VmRSS') / 1e3:.0f} MB, {share:.1%} of a core", flush=True)
    print(f"load: {run_load(url, registry, swaps=False)}", flush=True)
    print(f"load with a swap a second: {run_load(url, registry, swaps=True)}")
    print(
        f"after it: {read_kb(process_id, 'VmRSS') / 1e3:.0f} MB, {read_kb(process_id, 'VmHWM') / 1e3:.0f} MB at most",
        flush=True,
    )


def run_load(url: str, registry: Registry, *, swaps: bool) -> str:
    """Asks at a constant rate, and swaps another model each second."""
    names, over = list(registry.versions), threading.Event()

    def swap() -> None:
        for number in range(int(LOAD_SECONDS / SWAP_SECONDS)):
            if over.wait(SWAP_SECONDS):
                return
            registry.versions[names[number * 7 % len(names)]] += 1

    swapper = threading.Thread(target=swap)
    if swaps:
        swapper.start()
    connection = HTTPConnection(urlsplit(url).netloc, timeout=60)
    latencies: dict[str, list[float]] = defaultdict(list)
    popular, chance = max(1, len(names) // 10), random.Random(7)
    started = time.monotonic()
    for number in range(int(LOAD_SECONDS * RATE_PER_SECOND)):
        due = started + number / RATE_PER_SECOND
        time.sleep(max(0.0, due - time.monotonic()))
        is_rare = number % 10 == 9
        # In turn, the popular ones would be closed just before they are asked, as soon as there is one too many.
        name = names[popular + number // 10 % (len(names) - popular)] if is_rare else chance.choice(names[:popular])
        connection.request("POST", f"/models/{name}/predict", BODY, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        content = answer.read()
        if answer.status != 200:
            sys.exit(f"FAIL: expected 200 of {name}, found {answer.status}: {content[:500]!r}")
        latencies[name].append((time.monotonic() - due) * 1e3)
    over.set()
    if swaps:
        swapper.join()
    every = sorted(latency for of_model in latencies.values() for latency in of_model)
    slowest = max(statistics.quantiles(latencies[name], n=100)[-1] for name in names[:popular])
    return (
        f"p50 {every[len(every) // 2]:.1f} ms, p99 {every[len(every) * 99 // 100]:.1f} ms, worst {every[-1]:.0f} ms; "
        f"p99 of the slowest popular model {slowest:.0f} ms"
    )


def read_kb(process_id: int, name: str) -> int:
    """A figure of a process's memory in kB."""
    lines = Path(f"/proc/{process_id}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(name)).split()[1])


if __name__ == "__main__":
    main()

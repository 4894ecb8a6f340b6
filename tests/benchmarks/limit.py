"""How much of a server's time a prediction takes: ours over HTTP and gRPC beside the bare session under uvicorn.

The figure is the CPU time of the server for a request, which a busy machine changes least. All run at the same time and
are asked in turn, over one connection each, so that a pair has the same minute. `python -m tests.benchmarks.limit`.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path

import grpc
import numpy as np
import orjson
from onnx import TensorProto, helper

from ml_code.model_file.onnx_model import OnnxModel
from ml_code.model_file.spec import METADATA_KEY, Feature, GoldenRows, ModelSpec
from serving.answering.tensors import pack
from serving.grpc_api.messages import ModelInferRequest
from tests.benchmarks.prediction import read_memory_mb, store_model, train_forest
from tests.ports import free_port
from tests.processes import run_process

ROUNDS = 5
SECONDS = 0.5
START_SECONDS = 120
HERTZ = os.sysconf("SC_CLK_TCK")
WIDE = 20

FLOWER = [5.1, 3.5, 1.4, 0.2]


@dataclass(slots=True)
class Way:
    """One server asked in one form; `costs` are its CPU microseconds for a request, round by round."""

    name: str
    process_id: int
    ask: Callable[[], bytes]
    costs: list[float] = field(default_factory=list)

    def measure(self) -> None:
        """Asks for a while."""
        self.ask()
        before, count, until = read_cpu(self.process_id), 0, time.monotonic() + SECONDS
        while time.monotonic() < until or count < 20:
            self.ask()
            count += 1
        self.costs.append((read_cpu(self.process_id) - before) / count * 1e6)


def read_cpu(process_id: int) -> float:
    """The CPU seconds that a process has used, in all its threads: the scheduler's nanoseconds, not its ticks."""
    threads = Path(f"/proc/{process_id}/task").iterdir()
    return sum(int((thread / "schedstat").read_text().split()[0]) for thread in threads) / 1e9


def make_wide() -> bytes:
    """A linear model file of twenty numbers."""
    names = [f"x{number}" for number in range(WIDE)]
    weights = [float(number) for number in range(WIDE)]
    nodes = [
        helper.make_node("Concat", names, ["row"], axis=1),
        helper.make_node(
            "LinearRegressor", ["row"], ["y"], domain="ai.onnx.ml", coefficients=weights, intercepts=[0.0]
        ),
    ]
    inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, 1]) for name in names]
    graph = helper.make_graph(nodes, "wide", inputs, [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 1])])
    opsets = [helper.make_opsetid("", 19), helper.make_opsetid("ai.onnx.ml", 3)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=9)
    spec = ModelSpec(
        dataset="wide",
        task="regression",
        target="y",
        features=[Feature(name=name, kind="numeric") for name in names],
        prediction_output="y",
        golden=GoldenRows(rows=[[1.0] * WIDE], predictions=[sum(weights)]),
    )
    entry = model.metadata_props.add()
    entry.key, entry.value = METADATA_KEY, spec.model_dump_json()
    content: bytes = model.SerializeToString()
    return content


def ask_http(port: int, path: str, body: bytes, **headers: str) -> Callable[[], bytes]:
    """A request over one connection that stays open."""
    connection = HTTPConnection("127.0.0.1", port, timeout=60)
    all_headers = {"Content-Type": "application/json"} | headers

    def ask() -> bytes:
        try:
            connection.request("POST", path, body, all_headers)
            answer = connection.getresponse()
        except OSError:
            connection.close()
            raise
        content = answer.read()
        if answer.status != 200:
            sys.exit(f"FAIL: expected 200 of {path}, found {answer.status}: {content[:500]!r}")
        return content

    return ask


def ask_grpc(port: int, model: str, rows: Sequence[Sequence[float]]) -> Callable[[], bytes]:
    """The same rows as bytes over one channel."""
    tensor = {"name": "rows", "shape": [len(rows), len(rows[0])], "datatype": "FP32"}
    raw = [pack("FP32", np.array(rows, np.float32).reshape(-1))]
    message = ModelInferRequest(
        model_name=model, inputs=[tensor], raw_input_contents=raw, outputs=[{"name": "predictions"}]
    ).SerializeToString()
    channel = grpc.insecure_channel(f"127.0.0.1:{port}")
    call = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
    return lambda: bytes(call(message))


def wait_for(ask: Callable[[], bytes], what: str) -> None:
    """Waits until a server answers."""
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            ask()
        except (OSError, grpc.RpcError):
            if time.monotonic() > deadline:
                sys.exit(f"FAIL: expected {what} to answer within {START_SECONDS} s, found nothing")
            time.sleep(0.2)
        else:
            return


def main() -> None:
    """Measures and prints the table."""
    _, forest = train_forest()
    with tempfile.TemporaryDirectory(prefix="bench-") as name, ExitStack() as stack:
        folder = Path(name)
        (folder / "catalog").mkdir()
        for model, content in (("iris", forest), ("wide", make_wide())):
            OnnxModel(content).replay_golden()
            (folder / "catalog" / f"{model}.toml").touch()
            (folder / f"{model}.onnx").write_bytes(content)
            store_model(folder / "state", content, model)
        start = Servers(folder, stack)
        ours, calls = start.run_ours()
        bare = {model: start.run_bare(model) for model in ("iris", "wide")}
        for rows in (1, 100, 1_000):
            body = orjson.dumps([FLOWER] * rows)
            ways = [
                Way("bare session", bare["iris"][1], ask_http(bare["iris"][0], "/predict", body)),
                Way("/predict", ours[1], ask_http(ours[0], "/predict", body)),
                Way("gRPC", ours[1], ask_grpc(calls, "iris", [FLOWER] * rows)),
            ]
            report(f"forest of 100 trees on iris, {rows} rows", ways)
        wide = [[round(0.1 * number, 1) for number in range(WIDE)]] * 10_000
        body = orjson.dumps(wide)
        ways = [
            Way("bare session", bare["wide"][1], ask_http(bare["wide"][0], "/predict", body)),
            Way("/predict", ours[1], ask_http(ours[0], "/models/wide/predict", body)),
            Way("gRPC", ours[1], ask_grpc(calls, "wide", wide)),
        ]
        report(f"linear model of {WIDE} numbers, 10,000 rows", ways)
        print(f"memory of the replica with gRPC: {read_memory_mb(ours[1]):.0f} MB")


class Servers:
    """Starts servers and waits until they answer."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._folder = folder
        self._stack = stack

    def run_ours(self) -> tuple[tuple[int, int], int]:
        """The port and process of a replica with its prediction log, and its port for gRPC."""
        port, calls = free_port(), free_port()
        settings = {
            "SERVING_MLFLOW_URL": "http://127.0.0.1:1",
            "SERVING_MLFLOW_USERNAME": "nobody",
            "SERVING_MLFLOW_PASSWORD": "nothing",
            "SERVING_STATE_DIR": str(self._folder / "state"),
            "SERVING_CATALOG_DIR": str(self._folder / "catalog"),
            "SERVING_PREDICTION_LOG_DIR": str(self._folder / "log"),
            "SERVING_HOST": "127.0.0.1",
            "SERVING_PORT": str(port),
            "SERVING_GRPC": "on",
            "SERVING_GRPC_PORT": str(calls),
            "BENTOML_HOME": str(self._folder / "bentoml"),
            "BENTOML_DO_NOT_TRACK": "true",
        }
        found = self._run([sys.executable, "-m", "serving"], settings, port)
        wait_for(ask_grpc(calls, "iris", [FLOWER]), "gRPC")
        time.sleep(6)  # the service freezes its heap 5 s after its start
        return found, calls

    def run_bare(self, model: str) -> tuple[int, int]:
        """The port and process of the bare session of a model."""
        port = free_port()
        uvicorn = [sys.executable, "-m", "uvicorn", "--factory", "tests.benchmarks.bare_starlette:make_app"]
        settings = {"BENCHMARK_MODEL": str(self._folder / f"{model}.onnx")}
        rows = [FLOWER] if model == "iris" else [[1.0] * WIDE]
        return self._run(
            [*uvicorn, "--no-access-log", "--timeout-keep-alive", "75", "--port", str(port)],
            settings,
            port,
            orjson.dumps(rows),
        )

    def _run(self, command: list[str], settings: dict[str, str], port: int, body: bytes = b"") -> tuple[int, int]:
        process = self._stack.enter_context(
            run_process(command, self._folder / f"{port}.log", env={**os.environ, **settings})
        )
        wait_for(ask_http(port, "/predict", body or orjson.dumps([FLOWER])), command[2])
        return port, process.pid


def report(title: str, ways: Sequence[Way]) -> None:
    """Measures the ways in turn, and prints the medians and what share of each is the bare session's."""
    for _ in range(ROUNDS):
        for way in ways:
            way.measure()
    print(f"\n{title}")
    for way in ways:
        ratios = [first / cost for first, cost in zip(ways[0].costs, way.costs, strict=True)]
        spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
        print(
            f"{way.name:14} {statistics.median(way.costs):9.0f} us CPU a request   "
            f"{statistics.median(ratios):.2f} of the bare session ({spread})",
            flush=True,
        )


if __name__ == "__main__":
    main()

"""`/predict` side by side with what one would write by hand, with the same forest of 100 trees, in one run.

The server is pinned to the first core and the load to the second; wrk with 8 keep-alive connections finds the top
rate, a constant arrival at half of it the latencies. Needs Linux, two cores and wrk.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import joblib  # type: ignore[import-untyped]
import mlflow.sklearn
import orjson
from sklearn.datasets import load_iris
from sklearn.pipeline import Pipeline

from ml_code.datasets import load_dataset
from ml_code.families import find_family
from ml_code.training.export import export_pipeline
from ml_code.training.fitting import fit_pipeline
from serving.answering.served import Version
from serving.following.model_files import ModelFiles
from tests.benchmarks.load import run_load
from tests.ports import free_port
from tests.processes import run_process

ROUNDS = 3
SECONDS = 5
CONNECTIONS = 8
SERVER_CORE, LOAD_CORE = "0", "1"
START_SECONDS = 90
TREES = 100

ROW = {"sepal_length": 5.1, "sepal_width": 3.5, "petal_length": 1.4, "petal_width": 0.2}

_RATE = re.compile(r"Requests/sec: *([0-9.]+)")
_REFUSED = re.compile(r"Non-2xx or 3xx responses: (\d+)")


@dataclass(frozen=True, slots=True)
class Contender:
    """One way to serve the forest."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    port: int
    path: str
    body: bytes
    rates: list[float] = field(default_factory=list)

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.port}{self.path}"


def main() -> None:
    """Measures all contenders in turn, several rounds, and prints the figures."""
    wrk = shutil.which("wrk")
    if wrk is None or (os.cpu_count() or 1) < 2:
        sys.exit("FAIL: expected wrk and two cores, found too little; install wrk (apt-get install wrk)")
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        contenders = make_contenders(folder)
        for _ in range(ROUNDS):
            for contender in contenders:
                with run_contender(contender, folder) as process_id:
                    contender.rates.append(measure_rate(wrk, contender, folder))
                    memory_mb = read_memory_mb(process_id)
                    print(f"{contender.name:34} {contender.rates[-1]:8.0f} requests/s {memory_mb:6.0f} MB", flush=True)
        report_rates(contenders)
        report_latency(contenders[0], folder)


def make_contenders(folder: Path) -> list[Contender]:
    """The service and the two that it is compared with, each with the same fitted forest; ours is the first."""
    pipeline, content = train_forest()
    joblib.dump(pipeline, folder / "model.joblib")
    mlflow.sklearn.save_model(
        pipeline, str(folder / "mlflow"), serialization_format="cloudpickle", pip_requirements=["scikit-learn"]
    )
    store_model(folder / "state", content)
    ours, plain, served = free_port(), free_port(), free_port()
    python = sys.executable
    uvicorn = [python, "-m", "uvicorn", "--factory", "tests.benchmarks.plain_fastapi:make_app", "--no-access-log"]
    scoring = [python, "-m", "mlflow", "models", "serve", "-m", str(folder / "mlflow"), "--env-manager", "local"]
    settings = {
        "SERVING_MLFLOW_URL": "http://127.0.0.1:1",
        "SERVING_MLFLOW_USERNAME": "nobody",
        "SERVING_MLFLOW_PASSWORD": "nothing",
        "SERVING_STATE_DIR": str(folder / "state"),
        "SERVING_HOST": "127.0.0.1",
        "SERVING_PORT": str(ours),
        "BENTOML_HOME": str(folder / "bentoml"),
        "BENTOML_DO_NOT_TRACK": "true",
    }
    rows = orjson.dumps([list(ROW.values())])
    return [
        Contender("mlops-loop", [python, "-m", "serving"], settings, ours, "/predict", rows),
        Contender(
            "FastAPI + pandas + scikit-learn",
            [*uvicorn, "--port", str(plain)],
            {"BENCHMARK_MODEL": str(folder / "model.joblib")},
            plain,
            "/predict",
            orjson.dumps([ROW]),
        ),
        Contender(
            "mlflow models serve",
            [*scoring, "--port", str(served), "--workers", "1"],
            {"PATH": f"{Path(python).parent}:{os.environ['PATH']}", "PYTHONWARNINGS": "ignore"},
            served,
            "/invocations",
            orjson.dumps({"dataframe_records": [ROW]}),
        ),
    ]


def train_forest() -> tuple[Pipeline, bytes]:
    """A forest on iris, as this project trains it, and its model file."""
    dataset = load_dataset("iris")
    bunch = load_iris(as_frame=True)
    frame = bunch.frame.set_axis([*dataset.features, dataset.target], axis="columns")
    family = find_family("sklearn", "random_forest", dataset.task)
    pipeline = fit_pipeline(dataset, frame, family, {"n_estimators": TREES})
    return pipeline, export_pipeline(dataset, pipeline, [0, 1, 2], frame).content


def store_model(folder: Path, content: bytes, name: str = "iris") -> None:
    """Puts a model file where the service finds it as the last good one."""
    files = ModelFiles(folder, "benchmark")
    digest = hashlib.sha256(content).hexdigest()
    temporary = files.temporary_path()
    temporary.write_bytes(content)
    files.keep(temporary, digest)
    files.record(Version(name, "1", digest), "2026-01-01T00:00:00+00:00")


@contextmanager
def run_contender(contender: Contender, folder: Path) -> Iterator[int]:
    """Runs a server on its core until it has answered, and warms it up."""
    command = ["taskset", "-c", SERVER_CORE, *contender.command]
    log = folder / f"{contender.port}.log"
    with run_process(command, log, env={**os.environ, **contender.environment}) as process:
        deadline = time.monotonic() + START_SECONDS
        while not answers(contender):
            if time.monotonic() > deadline:
                sys.exit(f"FAIL: expected {contender.name} to answer, found:\n{log.read_text()[-2000:]}")
            time.sleep(0.2)
        time.sleep(6)  # the service freezes its heap 5 s after its start
        yield process.pid


def answers(contender: Contender) -> bool:
    """Whether the server gives the prediction that is asked of it."""
    try:
        answer = httpx.post(contender.url, content=contender.body, headers={"content-type": "application/json"})
    except httpx.HTTPError:
        return False
    return answer.status_code == 200 and answer.json()["predictions"] == [0]


def measure_rate(wrk: str, contender: Contender, folder: Path) -> float:
    """Requests per second with keep-alive connections that ask again at once."""
    script = folder / "post.lua"
    body = contender.body.decode()
    script.write_text(f"wrk.method = 'POST'\nwrk.body = '{body}'\nwrk.headers['Content-Type'] = 'application/json'\n")
    command = ["taskset", "-c", LOAD_CORE, wrk, "-t1", f"-c{CONNECTIONS}", f"-d{SECONDS}s", "-s", str(script)]
    output = subprocess.run([*command, contender.url], capture_output=True, text=True, check=True).stdout
    rate, refused = _RATE.search(output), _REFUSED.search(output)
    if rate is None or refused is not None:
        sys.exit(f"FAIL: expected only answers with status 200 of {contender.name}, found:\n{output}")
    return float(rate[1])


def read_memory_mb(process_id: int) -> float:
    """Memory of a process and its children in MB, shared pages counted by share (PSS)."""
    kilobytes = 0
    for status in Path("/proc").glob("[0-9]*/smaps_rollup"):
        try:
            same_group = os.getpgid(int(status.parent.name)) == process_id
            text = status.read_text() if same_group else ""
        except OSError:  # the process ended, or is somebody else's
            continue
        found = re.search(r"^Pss: *(\d+)", text, re.MULTILINE)
        kilobytes += int(found[1]) if found else 0
    return kilobytes / 1000


def report_rates(contenders: Sequence[Contender]) -> None:
    """Prints the medians and how many times faster ours is, round by round."""
    ours = contenders[0]
    print(f"\none row, forest of {TREES} trees, one core, {CONNECTIONS} connections, median of {ROUNDS} rounds")
    for contender in contenders:
        ratios = [mine / theirs for mine, theirs in zip(ours.rates, contender.rates, strict=True)]
        spread = f"{min(ratios):.1f}-{max(ratios):.1f}"
        note = "" if contender is ours else f"   ours is {spread} times as fast"
        print(f"{contender.name:34} {statistics.median(contender.rates):8.0f} requests/s{note}")


def report_latency(contender: Contender, folder: Path) -> None:
    """Prints the latencies at half the top rate, counted from when each request was due."""
    rate = statistics.median(contender.rates) / 2
    os.sched_setaffinity(0, {int(LOAD_CORE)})
    with run_contender(contender, folder):
        report = run_load(contender.url, contender.body, rate_per_second=rate, seconds=10, connections=CONNECTIONS)
    print(
        f"\nat {rate:.0f} requests/s, constant arrival: p50 {report.p50_ms} ms, p99 {report.p99_ms} ms, "
        f"p99.9 {report.p999_ms} ms, {report.failed} of {report.sent} failed"
    )

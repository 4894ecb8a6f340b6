"""Measures the running stack: what it takes, and how fast it answers while a training runs.

Run by `make bench-stack` against the stack that `make up` started.
"""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path
from urllib.parse import quote

import httpx

from tests.benchmarks.load import LoadReport, run_load

REPOSITORY = Path(__file__).resolve().parents[2]
RATE_PER_SECOND = 200
SECONDS = 30
HEAVY = {"dataset": "iris", "model_type": "sklearn", "hyperparameters": {"n_estimators": 2000}}


def read_environment() -> dict[str, str]:
    lines = (REPOSITORY / ".env").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))


def run(*command: str) -> str:
    return subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True, text=True).stdout


def measure_memory() -> None:
    names = run("docker", "compose", "ps", "--format", "{{.Name}}").split()
    rows = run("docker", "stats", "--no-stream", "--format", "{{.Name}} {{.MemUsage}}", *names).splitlines()
    total = 0.0
    for row in sorted(rows):
        name, used = row.split(" ")[:2]
        megabytes = float(used[:-3]) * {"KiB": 1 / 1024, "MiB": 1, "GiB": 1024}[used[-3:]]
        total += megabytes
        print(f"  {name:40} {megabytes:7.0f} MiB")
    print(f"  {'total':40} {total:7.0f} MiB")


def measure_images() -> None:
    environment = read_environment()
    tag = environment.get("IMAGE_TAG", "dev")
    size = {
        name: int(run("docker", "image", "inspect", name, "--format", "{{.Size}}"))
        for name in (
            environment["PYTHON_IMAGE"],
            f"mlops-loop/airflow:{tag}",
            f"mlops-loop/mlflow:{tag}",
            f"mlops-loop/serving:{tag}",
        )
    }
    base = size.pop(environment["PYTHON_IMAGE"])
    for name, size_bytes in size.items():
        print(f"  {name:40} {(size_bytes - base) / 1e6:7.0f} MB without the base")


def measure_rebuild() -> None:
    probe = REPOSITORY / "ml_code" / "__init__.py"
    before = probe.read_bytes()
    run("docker", "compose", "build", "--quiet")
    try:
        probe.write_bytes(before + b"# a code change\n")
        started = time.perf_counter()
        run("docker", "compose", "build", "--quiet")
        print(f"  docker compose build after a code change: {time.perf_counter() - started:.1f} s")
    finally:
        probe.write_bytes(before)
        run("docker", "compose", "build", "--quiet")


class Training:
    """A training in the running Airflow, started by hand."""

    def __init__(self, environment: dict[str, str]) -> None:
        base = f"http://127.0.0.1:{environment['AIRFLOW_PORT']}"
        login = {"username": environment["AIRFLOW_ADMIN_USERNAME"], "password": environment["AIRFLOW_ADMIN_PASSWORD"]}
        token = httpx.post(f"{base}/auth/token", json=login, timeout=60).json()["access_token"]
        headers = {"Authorization": f"Bearer {token}"}
        self._client = httpx.Client(base_url=f"{base}/api/v2/dags/mlops_training_pipeline", headers=headers, timeout=60)
        started = self._client.post("/dagRuns", json={"logical_date": None, "conf": HEAVY}).raise_for_status()
        self._run_id = quote(started.json()["dag_run_id"], safe="")

    def read_state(self) -> str:
        """State of the whole run."""
        state: str = self._client.get(f"/dagRuns/{self._run_id}").raise_for_status().json()["state"]
        return state

    def wait_until_it_runs(self) -> None:
        """Waits until a first task has a worker."""
        while self.read_state() == "queued":
            time.sleep(0.2)


def drive(url: str) -> LoadReport:
    return run_load(url, b"[[5.1,3.5,1.4,0.2]]", rate_per_second=RATE_PER_SECOND, seconds=SECONDS)


def print_latency(name: str, report: LoadReport) -> None:
    print(
        f"  {name:24} sent {report.sent}, failed {report.failed}, p50 {report.p50_ms:.1f} ms, "
        f"p99 {report.p99_ms:.1f} ms, p99.9 {report.p999_ms:.1f} ms, worst {report.worst_ms:.1f} ms"
    )


def measure_under_training() -> None:
    environment = read_environment()
    url = f"http://127.0.0.1:{environment['GATEWAY_PORT']}/predict"
    print_latency("quiet", drive(url))
    training = Training(environment)
    training.wait_until_it_runs()
    report = drive(url)
    print_latency("while a training runs", report)
    print(f"  after the {SECONDS} s of load the training was: {training.read_state()}")


def main() -> None:
    print(f"{os.cpu_count()} cores; /predict through Nginx, one row, {RATE_PER_SECOND} requests per second:")
    measure_under_training()
    print("memory (docker stats):")
    measure_memory()
    print("images:")
    measure_images()
    measure_rebuild()


if __name__ == "__main__":
    main()

"""`mlops demo` as a newcomer runs it: the real Airflow, MLflow, store and replica; the tests build on each other."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from local_stack.airflow_api import AirflowApi
from local_stack.demo import RUN_SECONDS, TRAIN, find_version, wait_for
from local_stack.stack import LocalStack
from local_stack.state import PORTS, StateFolder
from local_stack.supervisor import find_processes

MLOPS = Path(sys.executable).with_name("mlops")
ROOT = Path(__file__).parents[3]
SLOW_IMPORT_SECONDS = 15
"""Three seconds on a quiet machine; where it takes five times as long, the demo does not end within half an hour."""

pytestmark = [
    pytest.mark.timeout(3600),
    pytest.mark.skip(reason="written, and not yet seen green: to be run first on a quiet machine"),
]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    started = time.monotonic()
    subprocess.run(
        [sys.executable, "-c", "import airflow.models, airflow.api_fastapi.main"], check=True, capture_output=True
    )
    if (took := time.monotonic() - started) > SLOW_IMPORT_SECONDS and not os.environ.get("TEST_SLOWLY"):
        pytest.skip(
            f"importing Airflow took {took:.0f} s, more than {SLOW_IMPORT_SECONDS}; TEST_SLOWLY=1 runs it anyway"
        )
    folder = tmp_path_factory.mktemp("state")
    output = folder.with_suffix(".log")
    environment = {name: value for name, value in os.environ.items() if name not in PORTS.values()}
    with output.open("wb") as file:
        demo = subprocess.Popen(
            [str(MLOPS), "demo", "--state", str(folder)], stdout=file, stderr=file, env=environment, cwd=ROOT
        )
    try:
        wait_for(lambda: "Ctrl-C ends it" in output.read_text() or demo.poll() is not None, "the demo to be through")
        assert demo.poll() is None, output.read_text()
        yield LocalStack(StateFolder(folder))
    finally:
        demo.send_signal(signal.SIGINT)
        demo.wait(timeout=300)
        print(output.read_text())
    assert demo.returncode == 0
    assert find_processes(folder) == []


def url(stack: LocalStack) -> str:
    return f"http://127.0.0.1:{stack.state.read_ports()['serving']}"


def test_the_demo_ends_with_a_version_that_answers(stack: LocalStack) -> None:
    assert find_version(url(stack)) == "1"


def test_a_second_start_says_that_all_runs(stack: LocalStack) -> None:
    command = [str(MLOPS), "local", "status", "--state", str(stack.state.path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("running") == len(stack.list_states()) == 8


def test_a_file_that_is_put_trains_a_version_that_answers(stack: LocalStack) -> None:
    settings, ports = stack.state.read_settings(), stack.state.read_ports()
    environment = {
        "PATH": os.environ["PATH"],
        "MLOPS_MLFLOW_URL": f"http://127.0.0.1:{ports['mlflow']}",
        "MLOPS_MLFLOW_USERNAME": "trainer",
        "MLOPS_MLFLOW_PASSWORD": settings["MLFLOW_TRAINER_PASSWORD"],
        "MLOPS_S3_ENDPOINT_URL": f"http://127.0.0.1:{ports['objects']}",
        "MLOPS_S3_ACCESS_KEY": settings["MINIO_ROOT_USER"],
        "MLOPS_S3_SECRET_KEY": settings["MINIO_ROOT_PASSWORD"],
    }
    started = time.monotonic()
    command = [str(MLOPS), "dataset", "put", "iris", "ml_code/samples/iris_new_rows.csv"]
    subprocess.run(command, env=environment, cwd=ROOT, check=True)
    wait_for(lambda: find_version(url(stack)) == "2", "version 2 to answer", RUN_SECONDS)
    print(f"\nfrom put to an answer of the new version: {time.monotonic() - started:.0f} s")


def test_no_run_is_red(stack: LocalStack) -> None:
    settings = stack.state.read_settings()
    login = settings["AIRFLOW_ADMIN_USERNAME"], settings["AIRFLOW_ADMIN_PASSWORD"]
    with closing(AirflowApi(f"http://127.0.0.1:{stack.state.read_ports()['airflow']}", *login)) as api:
        runs = {
            (dag_id, run_id): state for dag_id in api.list_dags() for run_id, state in api.list_runs(dag_id).items()
        }
    assert {run for run, state in runs.items() if state == "failed"} == set()
    assert any(dag_id == TRAIN for dag_id, _ in runs)


def test_the_object_store_and_postgres_may_die(stack: LocalStack) -> None:
    for name in ("objects", "postgres"):
        [before] = [program.process_id for program in stack.list_states() if program.name == name]
        os.kill(before, signal.SIGKILL)
        wait_for(lambda name=name, before=before: is_back(stack, name, before), f"{name} to come back", 120)  # type: ignore[misc]
    assert httpx.get(f"{url(stack)}/livez", timeout=30).status_code == 200
    assert find_version(url(stack)) is not None


def is_back(stack: LocalStack, name: str, before: int) -> bool:
    [now] = [program for program in stack.list_states() if program.name == name]
    return now.state == "RUNNING" and now.process_id != before

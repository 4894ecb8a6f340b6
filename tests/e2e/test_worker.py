"""`make up PROFILE=celery` on the stack of the other tests: a worker without Airflow's keys; the end of the stack."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

import pytest
import yaml

from tests.e2e.airflow import TRAIN, Airflow
from tests.e2e.secret_search import find_holders, find_secrets, read_secrets
from tests.e2e.stack import WITH_CELERY, WITH_OBSERVABILITY, Stack, docker
from tests.repo.repository import list_celery_services
from tests.repo.test_compose_rights import CELERY_SECRETS
from tests.waiting import wait_until

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def worker(stack: Stack) -> str:
    """The container that runs the tasks."""
    shutil.copy(Path(__file__).parent / "dags/probe.py", stack.folder / "dags")
    stack.compose(*WITH_CELERY, "up", "--detach", "--wait", timeout=1500)
    [worker] = stack.compose(*WITH_CELERY, "ps", "--quiet", "airflow-worker").stdout.split()
    return worker


@pytest.fixture(scope="module")
def airflow(stack: Stack, worker: str) -> Iterator[Airflow]:
    """The API server, which has started again."""
    assert worker
    with closing(Airflow(stack)) as airflow:
        yield airflow


def test_compose_merges_the_files_as_the_rules_expect(stack: Stack) -> None:
    merged = yaml.safe_load(stack.compose(*WITH_CELERY, "config").stdout)["services"]
    expected = list_celery_services()
    assert {name: set(service.get("environment", ())) for name, service in merged.items()} == {
        name: set(service.get("environment", ())) for name, service in expected.items()
    }
    assert {name: set(service.get("networks") or ()) for name, service in merged.items()} == {
        name: set(service.get("networks", ())) for name, service in expected.items()
    }


def test_a_container_holds_the_secrets_of_its_row(stack: Stack, worker: str) -> None:
    assert worker
    secrets = read_secrets(stack)
    assert find_holders(stack, secrets) == {name: held & set(secrets) for name, held in CELERY_SECRETS.items()}


def test_a_training_runs_in_the_worker_and_its_logs_come_from_the_store(airflow: Airflow, worker: str) -> None:
    run_id = airflow.run(TRAIN, dataset="iris", model_type="sklearn", estimator="linear")
    tasks = airflow.get(f"/dags/{TRAIN}/dagRuns/{quote(run_id, safe='')}/taskInstances")["task_instances"]
    hosts = {task["hostname"] for task in tasks if task["state"] == "success" and task["hostname"]}
    assert hosts == {docker("inspect", "--format", "{{.Config.Hostname}}", worker).stdout.strip()}
    task = next(task for task in tasks if task["state"] == "success" and task["hostname"])
    path = f"/dags/{TRAIN}/dagRuns/{quote(run_id, safe='')}/taskInstances/{task['task_id']}/logs/{task['try_number']}"
    assert "s3://airflow-logs/tasks/" in str(airflow.get(path, map_index=task["map_index"]))


def test_a_task_of_the_worker_reads_no_key_of_the_house(stack: Stack, airflow: Airflow, worker: str) -> None:
    wait_until(lambda: airflow.client.get("/dags/probe").status_code == 200, 120, "the DAG probe appears")
    airflow.run("probe")
    collected = docker("exec", worker, "cat", "/tmp/collected").stdout
    docker("exec", worker, "rm", "/tmp/collected")
    assert {line for line in collected.splitlines() if line.startswith("--- /opt/airflow/airflow.cfg")}
    assert find_secrets(collected, read_secrets(stack)) == CELERY_SECRETS["airflow-worker"]


def test_the_stack_ends_without_a_trace(stack: Stack, worker: str) -> None:
    assert worker
    subprocess.run(["make", "down"], cwd=stack.folder, check=True, capture_output=True, timeout=600)
    assert [stack.list_names(*kind) for kind in (("ps", "--all"), ("network", "ls"))] == [[], []]
    stack.compose(*WITH_CELERY, *WITH_OBSERVABILITY[2:], "down", "--volumes")
    assert stack.list_names("volume", "ls") == []

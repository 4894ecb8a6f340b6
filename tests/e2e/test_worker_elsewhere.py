"""`make up PROFILE="celery hosts"`, and a worker on another host: a compose project that meets the stack at an address.

Its network is not the stack's. It reaches the stack by an address of this machine that stands for a private network.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import quote

import pytest

from mlops.worker.env_file import REQUIRED
from tests.e2e.airflow import Airflow
from tests.e2e.elsewhere import WITH_HOSTS, Elsewhere, make_other_release
from tests.e2e.marks import MarkedRun, noted, read_name
from tests.e2e.secret_search import find_secrets, read_secrets
from tests.e2e.stack import Stack, docker
from tests.waiting import wait_until

pytestmark = pytest.mark.long

HELLO = "hello_airflow_dag"
PUBLISHED = {"airflow-apiserver": 8080, "broker": 6379, "minio": 9000, "mlflow": 5000, "postgres": 5432}


@pytest.fixture(scope="module")
def address(stack: Stack) -> Iterator[str]:
    """An address of this machine on a network without members."""
    name = f"{stack.project}-private"
    docker("network", "create", name)
    yield docker("network", "inspect", "--format", "{{(index .IPAM.Config 0).Gateway}}", name).stdout.strip()
    docker("network", "rm", name)


@pytest.fixture(scope="module")
def opened(stack: Stack, address: str) -> Iterator[Stack]:
    """The stack with its five ports at the address, without a worker of its own; its image has the DAGs of the test."""
    shutil.copy(Path(__file__).parent / "dags/probe.py", stack.folder / "dags")
    _set_address(stack, address)
    with noted(stack):
        stack.compose(*WITH_HOSTS, "build", "preflight", timeout=1500)
        stack.compose(*WITH_HOSTS, "up", "--detach", "--wait", "--scale", "airflow-worker=0", timeout=1500)
        yield stack
    _set_address(stack, "")


def _set_address(stack: Stack, address: str) -> None:
    file = stack.folder / ".env"
    kept = [line for line in file.read_text().splitlines() if not line.startswith("WORKERS_ADDRESS=")]
    file.write_text("\n".join([*kept, f"WORKERS_ADDRESS={address}"]) + "\n")


@pytest.fixture(scope="module")
def elsewhere(opened: Stack, address: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Elsewhere]:
    elsewhere = Elsewhere(opened, tmp_path_factory.mktemp("elsewhere"), address)
    yield elsewhere
    elsewhere.end()


@pytest.fixture(scope="module")
def worker(elsewhere: Elsewhere) -> str:
    """Its container."""
    return elsewhere.start()


@pytest.fixture(scope="module")
def airflow(opened: Stack) -> Iterator[Airflow]:
    """The API server, which has started again."""
    with closing(Airflow(opened)) as airflow:
        yield airflow


@pytest.fixture(scope="module")
def hello(airflow: Airflow, worker: str) -> str:
    """A run of the lesson that has ended well."""
    assert worker
    return airflow.run(HELLO)


def test_the_ports_are_open_at_the_address_and_on_loopback_alone(opened: Stack, address: str) -> None:
    for container in json.loads(docker("inspect", *opened.list_names("ps")).stdout):
        service = container["Config"]["Labels"]["com.docker.compose.service"]
        bound = [binding for of_port in container["HostConfig"]["PortBindings"].values() for binding in of_port]
        at_address = {int(binding["HostPort"]) for binding in bound if binding["HostIp"] == address}
        assert at_address == ({PUBLISHED[service]} if service in PUBLISHED else set()), service
        assert {binding["HostIp"] for binding in bound} <= {address, "127.0.0.1"}


def test_the_doctor_of_the_worker_finds_nothing(elsewhere: Elsewhere, worker: str) -> None:
    assert worker
    done = elsewhere.run("mlops", "doctor", "--json")
    states = {finding["subject"]: finding["state"] for finding in json.loads(done.stdout)}
    assert set(states) == {
        "image", "broker", "execution API", "object store", "MLflow", "results", "broker login", "release", "clock",
    }  # fmt: skip
    assert set(states.values()) == {"ok"}, done.stdout


def test_a_lesson_runs_on_the_other_host(airflow: Airflow, worker: str, hello: str) -> None:
    tasks = _list_tasks(airflow, HELLO, hello)
    assert len(tasks) == 6
    assert {task["hostname"] for task in tasks} == {read_name(worker)}
    assert "hello" in airflow.log(HELLO, hello, "print_world_0")


def test_a_task_there_reads_no_key_of_the_house(opened: Stack, airflow: Airflow, worker: str) -> None:
    wait_until(lambda: airflow.client.get("/dags/probe").status_code == 200, 120, "the DAG probe appears")
    airflow.run("probe")
    collected = docker("exec", worker, "cat", "/tmp/collected").stdout
    docker("exec", worker, "rm", "/tmp/collected")
    collected += docker("inspect", worker).stdout
    assert "WORKER_RELEASE=" in collected
    assert find_secrets(collected, read_secrets(opened)) == set(REQUIRED)
    assert "airflow@postgres" not in collected
    assert "postgres:5432/airflow" not in collected


def test_a_worker_of_another_release_ends_with_one_line(opened: Stack, elsewhere: Elsewhere) -> None:
    image = f"mlops-loop/airflow:{opened.environment['IMAGE_TAG']}"
    tag = make_other_release(image)
    try:
        done = elsewhere.run(IMAGE_TAG=tag)
    finally:
        docker("image", "rm", "--force", f"mlops-loop/airflow:{tag}")
    assert done.returncode == 1
    [line] = _list_failures(done.stderr + done.stdout)
    assert line.startswith("FAIL: worker: image: ")
    assert "(other code)" in line


def test_a_worker_whose_stack_was_upgraded_ends_with_one_line(elsewhere: Elsewhere) -> None:
    """Its image and its settings are of one release, and the broker tells of another."""
    ask = "from mlops.worker.settings import read_release; print(read_release().text)"
    script = f"export AIRFLOW_HOME=/tmp; WORKER_RELEASE=$(python -c '{ask}') python -m mlops.worker check"
    done = elsewhere.run("sh", "-c", script)
    assert done.returncode == 1
    [line] = _list_failures(done.stderr + done.stdout)
    assert line.startswith("FAIL: worker: release: this image is ")


def test_a_wrong_password_of_the_broker_ends_it_with_one_line(elsewhere: Elsewhere) -> None:
    done = elsewhere.run(BROKER_PASSWORD="0123456789abcdef")
    assert done.returncode == 1
    [line] = _list_failures(done.stderr + done.stdout)
    assert line.startswith(
        "FAIL: worker: broker login: the broker refuses BROKER_PASSWORD of .env; run `mlops worker env`"
    )


def test_a_host_that_does_not_answer_ends_it_with_one_line(elsewhere: Elsewhere) -> None:
    done = elsewhere.run(STACK_ADDRESS="127.0.0.1")
    assert done.returncode == 1
    [line] = _list_failures(done.stderr + done.stdout)
    assert line.startswith("FAIL: worker: broker: no answer at broker:6379 (Connection refused)")


def test_a_task_of_the_stacks_host_is_not_taken_elsewhere(airflow: Airflow, worker: str) -> None:
    assert worker
    airflow.unpause("model_selection")
    run_id = airflow.trigger("model_selection")

    def read_compare() -> dict:
        return next(task for task in _list_tasks(airflow, "model_selection", run_id) if task["task_id"] == "compare")

    wait_until(lambda: read_compare()["state"] == "queued", 600, "the task is sent")
    assert read_compare()["queue"] == "rollout"


def test_a_task_of_the_stacks_host_waits_while_that_host_has_no_worker(
    opened: Stack, airflow: Airflow, worker: str
) -> None:
    waiting = MarkedRun(opened, airflow, "rollout_1", 1)
    wait_until(lambda: waiting.read_states()["queued"] == 1, 300, "the task is sent")
    other = MarkedRun(opened, airflow, "default_1", 1)
    other.expect_success()
    assert {mark.host for mark in other.read()} == {read_name(worker)}
    assert waiting.read_states() == {"queued": 1}
    here = _start_here(opened)
    waiting.expect_success()
    assert {mark.host for mark in waiting.read()} == {read_name(here)}
    assert waiting.read_tries() == {0: 1}


def test_the_pool_of_trainings_counts_both_hosts(opened: Stack, airflow: Airflow, worker: str) -> None:
    """Four slots of workers are free, two on each host: the pool alone decides how many trainings run."""
    hosts = {read_name(worker), read_name(_start_here(opened))}
    one = MarkedRun(opened, airflow, "training_4", 5)
    one.expect_success()
    assert one.find_most_at_once() == 1
    with _slots(airflow, 4):
        four = MarkedRun(opened, airflow, "training_4", 40)
        four.wait_for_running(4)
        four.expect_success()
    assert {mark.host for mark in four.read()} == hosts


def _start_here(opened: Stack) -> str:
    """Starts the worker of the stack's host where it does not run, and returns its container."""
    options = ("--detach", "--wait", "--no-deps", "--no-recreate", "--scale", "airflow-worker=1")
    opened.compose(*WITH_HOSTS, "up", *options, "airflow-worker")
    return opened.compose(*WITH_HOSTS, "ps", "--quiet", "airflow-worker").stdout.strip()


@contextmanager
def _slots(airflow: Airflow, number: int) -> Iterator[None]:
    """The pool `training` has so many slots, and then one again."""
    try:
        _set_slots(airflow, number)
        yield
    finally:
        _set_slots(airflow, 1)


def _set_slots(airflow: Airflow, number: int) -> None:
    body = {"pool": "training", "slots": number, "include_deferred": False}
    answer = airflow.client.patch("/pools/training", json=body)
    assert answer.status_code == 200, answer.text


def test_the_log_is_readable_after_the_worker_is_gone(airflow: Airflow, elsewhere: Elsewhere, hello: str) -> None:
    elsewhere.end()
    assert "hello" in airflow.log(HELLO, hello, "print_world_0")
    task = f"/dags/{HELLO}/dagRuns/{quote(hello, safe='')}/taskInstances/print_world_0/logs/1"
    assert "s3://airflow-logs/tasks/" in str(airflow.get(task))


def _list_tasks(airflow: Airflow, dag_id: str, run_id: str) -> list[dict]:
    return airflow.get(f"/dags/{dag_id}/dagRuns/{quote(run_id, safe='')}/taskInstances")["task_instances"]


def _list_failures(text: str) -> list[str]:
    return [line for line in text.splitlines() if "FAIL" in line or "Traceback" in line]

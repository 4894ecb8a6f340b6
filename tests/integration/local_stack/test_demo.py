"""`mlops demo` as a newcomer runs it: the real Airflow, MLflow, store and replica; the tests build on each other."""

from __future__ import annotations

import json
import os
import signal
import time
from contextlib import closing

import httpx
import psutil

from mlops.airflow_api import AirflowApi
from mlops.local.stack import LocalStack
from mlops.local.supervisor import find_processes
from mlops.loop import RUN_SECONDS, TRAIN, find_version, wait_for
from tests.integration.local_stack.demo_process import run_mlops


def url(stack: LocalStack) -> str:
    return f"http://127.0.0.1:{stack.state.read_ports()['serving']}"


def test_the_demo_ends_with_a_version_that_answers(stack: LocalStack) -> None:
    assert find_version(url(stack)) == "1"


def test_every_program_runs(stack: LocalStack) -> None:
    done = run_mlops("local", "status", "--state", str(stack.state.path))
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("running") == len(stack.list_states()) == 8


def test_nothing_listens_to_another_machine(stack: LocalStack) -> None:
    found = {
        (process.name(), connection.laddr.ip)
        for process in find_processes(stack.state.path)
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    }
    assert len(found) > 3
    assert {address for _, address in found} == {"127.0.0.1"}, found


def test_a_second_start_finds_all_of_it_running_and_starts_nothing(stack: LocalStack) -> None:
    before = stack.list_states()
    for command in (["local", "up"], ["demo", "--exit"]):
        done = run_mlops(*command, "--state", str(stack.state.path))
        assert done.returncode == 0, done.stdout + done.stderr
    assert "It ran before and keeps running" in done.stdout
    assert [program.process_id for program in stack.list_states()] == [program.process_id for program in before]


def test_a_file_that_is_put_trains_a_version_that_answers(stack: LocalStack) -> None:
    settings, ports = stack.state.read_settings(), stack.state.read_ports()
    environment = {
        "MLOPS_MLFLOW_URL": f"http://127.0.0.1:{ports['mlflow']}",
        "MLOPS_MLFLOW_USERNAME": "trainer",
        "MLOPS_MLFLOW_PASSWORD": settings["MLFLOW_TRAINER_PASSWORD"],
        "MLOPS_S3_ENDPOINT_URL": f"http://127.0.0.1:{ports['objects']}",
        "MLOPS_S3_ACCESS_KEY": settings["MINIO_ROOT_USER"],
        "MLOPS_S3_SECRET_KEY": settings["MINIO_ROOT_PASSWORD"],
    }
    started = time.monotonic()
    done = run_mlops("dataset", "put", "iris", "ml_code/samples/iris_new_rows.csv", environment=environment)
    assert done.returncode == 0, done.stderr
    wait_for(lambda: find_version(url(stack)) == "2", "version 2 to answer", RUN_SECONDS)
    print(f"\nfrom put to an answer of the new version: {time.monotonic() - started:.0f} s")


def test_smoke_passes_every_step_and_leaves_the_champion(stack: LocalStack) -> None:
    done = run_mlops("smoke", "--env-file", str(stack.state.env_file), "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    print(done.stdout)
    steps = json.loads(done.stdout)
    assert [step["step"] for step in steps if step["ok"]] == ["reach", "train", "gate", "deploy", "predict", "check"]
    assert find_version(url(stack)) == "2"


def test_doctor_finds_every_service_and_nothing_wrong(stack: LocalStack) -> None:
    done = run_mlops("doctor", "--env-file", str(stack.state.env_file), "--json")
    found = {finding["subject"]: finding["state"] for finding in json.loads(done.stdout)}
    assert done.returncode == 0, done.stdout
    assert {found[name] for name in ("gateway", "Airflow", "MLflow", "object store", "Postgres", "clock")} == {"ok"}


def test_no_run_is_red(stack: LocalStack) -> None:
    settings = stack.state.read_settings()
    login = settings["AIRFLOW_ADMIN_USERNAME"], settings["AIRFLOW_ADMIN_PASSWORD"]
    with closing(AirflowApi(f"http://127.0.0.1:{stack.state.read_ports()['airflow']}", *login)) as api:
        runs = {
            (dag_id, run_id): state for dag_id in api.list_dags() for run_id, state in api.list_runs(dag_id).items()
        }
    assert {run for run, state in runs.items() if state == "failed"} == set()
    assert any(dag_id == TRAIN for dag_id, _ in runs)


def test_whatever_is_killed_comes_back(stack: LocalStack) -> None:
    for program in stack.list_states():
        os.kill(program.process_id, signal.SIGKILL)
        wait_for(lambda before=program: is_back(stack, before.name, before.process_id), f"{program.name} back", 120)  # type: ignore[misc]
    done = run_mlops("local", "up", "--state", str(stack.state.path))
    assert done.returncode == 0, done.stdout + done.stderr
    # What answers at once is still called STARTING for two seconds.
    wait_for(lambda: {program.state for program in stack.list_states()} == {"RUNNING"}, "every program to run", 60)
    assert httpx.get(f"{url(stack)}/livez", timeout=30).status_code == 200
    wait_for(lambda: find_version(url(stack)) == "2", "version 2 to answer again", 120)


def is_back(stack: LocalStack, name: str, before: int) -> bool:
    [now] = [program for program in stack.list_states() if program.name == name]
    return now.state == "RUNNING" and now.process_id != before

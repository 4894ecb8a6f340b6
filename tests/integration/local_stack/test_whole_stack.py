"""`mlops demo` to its end, with the real Airflow, MLflow, store and replica; the tests build on each other.

Before, `test_interruptions.py` has ended the same stack many times.
"""

from __future__ import annotations

import json
import os
import signal
import time
from contextlib import closing, suppress
from datetime import UTC, datetime

import psutil
import pytest

from mlops.airflow_api import AirflowApi
from mlops.local.stack import LocalStack
from mlops.local.supervisor import find_processes
from mlops.loop import RUN_SECONDS, TRAIN, find_version, wait_for
from tests.integration.local_stack.demo_process import DemoProcess, find_listeners, run_mlops

BACK_SECONDS = 600
"""Some seconds; a replica or MLflow that starts on a starved machine takes minutes."""

EVER = datetime(2026, 1, 1, tzinfo=UTC)

KILLED = {"postgres", "airflow-scheduler", "serving"}
"""In every push; the others in the long form."""

PROGRAMS = [
    pytest.param(name, marks=() if name in KILLED else pytest.mark.long)
    for name in (
        "postgres",
        "objects",
        "mlflow",
        "airflow-apiserver",
        "airflow-dag-processor",
        "airflow-scheduler",
        "airflow-triggerer",
        "serving",
    )
]


def url(stack: LocalStack) -> str:
    return f"http://127.0.0.1:{stack.state.read_ports()['serving']}"


def describe_host(stack: LocalStack) -> dict[str, str]:
    """The settings with which a person's commands find the stack of another folder than `.local`."""
    settings, ports = stack.state.read_settings(), stack.state.read_ports()
    warehouse = f"warehouse:{settings['WAREHOUSE_DB_PASSWORD']}@127.0.0.1:{ports['postgres']}/warehouse"
    return {
        "MLOPS_MLFLOW_URL": f"http://127.0.0.1:{ports['mlflow']}",
        "MLOPS_MLFLOW_USERNAME": "trainer",
        "MLOPS_MLFLOW_PASSWORD": settings["MLFLOW_TRAINER_PASSWORD"],
        "MLOPS_GATE_SIGNING_KEY": settings["GATE_SIGNING_KEY"],
        "MLOPS_S3_ENDPOINT_URL": f"http://127.0.0.1:{ports['objects']}",
        "MLOPS_S3_ACCESS_KEY": settings["S3_TASKS_USER"],
        "MLOPS_S3_SECRET_KEY": settings["S3_TASKS_PASSWORD"],
        "MLOPS_WAREHOUSE_DSN": f"postgresql://{warehouse}",
        "MLOPS_GATEWAY_URL": url(stack),
        "MLOPS_AIRFLOW_URL": f"http://127.0.0.1:{ports['airflow']}",
        "MLOPS_AIRFLOW_USERNAME": settings["AIRFLOW_ADMIN_USERNAME"],
        "MLOPS_AIRFLOW_PASSWORD": settings["AIRFLOW_ADMIN_PASSWORD"],
    }


def test_the_demo_ends_with_a_version_that_answers(stack: LocalStack) -> None:
    assert find_version(url(stack)) == "1"


def test_every_program_runs(stack: LocalStack) -> None:
    done = run_mlops("local", "status", "--state", str(stack.state.path))
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("running") == 8
    assert {program.name for program in stack.list_states()} == {parameter.values[0] for parameter in PROGRAMS}


def test_nothing_listens_to_another_machine(stack: LocalStack) -> None:
    found: set[tuple[str, str]] = set()
    for process in find_processes(stack.state.path):
        # Airflow's processes come and go.
        with suppress(psutil.NoSuchProcess):
            name, connections = process.name(), process.net_connections("inet")
            found |= {(name, at.laddr.ip) for at in connections if at.status == psutil.CONN_LISTEN}
    assert len(found) > 3
    assert {address for _, address in found} == {"127.0.0.1"}, found


def test_a_second_start_finds_all_of_it_running_and_starts_nothing(stack: LocalStack) -> None:
    before = stack.list_states()
    for command in (["local", "up"], ["demo", "--exit"]):
        done = run_mlops(*command, "--state", str(stack.state.path))
        assert done.returncode == 0, done.stdout + done.stderr
    assert "It ran before and keeps running" in done.stdout
    assert [program.process_id for program in stack.list_states()] == [program.process_id for program in before]


@pytest.mark.long
def test_a_file_that_is_put_trains_a_version_that_answers(stack: LocalStack) -> None:
    environment = describe_host(stack)
    before = find_version(url(stack))
    started = time.monotonic()
    done = run_mlops("dataset", "put", "iris", "ml_code/samples/iris_new_rows.csv", environment=environment)
    assert done.returncode == 0, done.stderr
    wait_for(lambda: find_version(url(stack)) != before, "a new version to answer", RUN_SECONDS)
    print(f"\nfrom put to an answer of the new version: {time.monotonic() - started:.0f} s")


@pytest.mark.long  # tests/e2e/test_smoke.py has the same command on the compose project
def test_smoke_passes_every_step_and_leaves_the_champion(stack: LocalStack) -> None:
    before = find_version(url(stack))
    done = run_mlops("smoke", "--env-file", str(stack.state.env_file), "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    print(done.stdout)
    steps = json.loads(done.stdout)
    assert [step["step"] for step in steps if step["ok"]] == ["reach", "train", "gate", "deploy", "predict", "check"]
    assert find_version(url(stack)) == before


def test_a_training_from_the_shell_is_deployed_and_asked(stack: LocalStack) -> None:
    environment = describe_host(stack)
    before = find_version(url(stack))
    done = run_mlops("train", "--dataset", "iris", "--force", "--deploy", environment=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    version = find_version(url(stack))
    assert version != before
    assert f"iris version {version} is served at {url(stack)}/models/iris/predict" in done.stdout
    assert "verify_through_gateway" in done.stderr
    again = run_mlops("deploy", "iris", environment=environment)
    assert again.returncode == 0, again.stderr
    assert f"iris: version {version} serves already" in again.stderr
    rows = '[{"sepal_length": 5.1, "sepal_width": 3.5, "petal_length": 1.4, "petal_width": 0.2}]'
    assert run_mlops("predict", "iris", rows, environment=environment).stdout == "prediction\n0\n"


def test_status_knows_every_part(stack: LocalStack) -> None:
    done = run_mlops("status", "--json", environment=describe_host(stack))
    assert done.returncode == 0, done.stdout + done.stderr
    assert {row["part"]: row["state"] for row in json.loads(done.stdout)} == dict.fromkeys(
        ["MLflow", "warehouse", "object store", "gateway", "Airflow", "scheduler", "triggerer", "dag-processor"],
        "answers",
    )


def test_doctor_finds_every_service_and_nothing_wrong(stack: LocalStack) -> None:
    done = run_mlops("doctor", "--env-file", str(stack.state.env_file), "--json")
    found = {finding["subject"]: finding["state"] for finding in json.loads(done.stdout)}
    assert done.returncode == 0, done.stdout
    assert {found[name] for name in ("gateway", "Airflow", "MLflow", "object store", "Postgres", "clock")} == {"ok"}


def test_no_run_is_red(stack: LocalStack) -> None:
    with closing(connect(stack)) as api:
        runs = {
            (dag_id, run_id): state
            for dag_id in api.list_dags()
            for run_id, state in api.list_runs(dag_id, EVER).items()
        }
    assert {run for run, state in runs.items() if state == "failed"} == set()
    assert any(dag_id == TRAIN for dag_id, _ in runs)


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_that_is_killed_comes_back(stack: LocalStack, name: str) -> None:
    [process_id] = [program.process_id for program in stack.list_states() if program.name == name]
    version = find_version(url(stack))
    os.kill(process_id, signal.SIGKILL)
    wait_for(lambda: is_back(stack, name, process_id), f"{name} back", BACK_SECONDS)
    wait_for(lambda: find_version(url(stack)) == version, f"version {version} to answer again", BACK_SECONDS)


def test_a_start_after_kills_finds_every_program_running(stack: LocalStack) -> None:
    done = run_mlops("local", "up", "--state", str(stack.state.path))
    assert done.returncode == 0, done.stdout + done.stderr
    # What answers at once is still called STARTING for two seconds.
    wait_for(
        lambda: {program.state for program in stack.list_states()} == {"RUNNING"}, "every program to run", BACK_SECONDS
    )


def test_ctrl_c_in_the_middle_of_a_training_leaves_no_process_and_no_port(demo: DemoProcess, stack: LocalStack) -> None:
    with closing(connect(stack)) as api:
        run_id = api.trigger(TRAIN, {"dataset": "iris"})
        wait_for(lambda: {task.state for task in api.list_tasks(TRAIN, run_id)} & {"running"} or None, "a task to run")
    assert demo.end(signal.SIGINT) == 0, demo.output
    assert "Traceback" not in demo.output
    assert find_processes(stack.state.path) == []
    assert find_listeners(stack.state.path) == set()


def test_killing_the_supervisor_is_said(demo: DemoProcess) -> None:
    if demo.process.poll() is None:
        demo.end(signal.SIGINT)
    again = DemoProcess(demo.state)
    again.wait_for("schemas")
    os.kill(int((demo.state / "supervisord.pid").read_text()), signal.SIGKILL)
    assert again.process.wait(timeout=300) == 1
    assert "supervisord: expected it to run" in again.output
    assert find_processes(demo.state) == []


def is_back(stack: LocalStack, name: str, before: int) -> bool:
    [now] = [program for program in stack.list_states() if program.name == name]
    return now.state == "RUNNING" and now.process_id != before


def connect(stack: LocalStack) -> AirflowApi:
    settings = stack.state.read_settings()
    login = settings["AIRFLOW_ADMIN_USERNAME"], settings["AIRFLOW_ADMIN_PASSWORD"]
    return AirflowApi(f"http://127.0.0.1:{stack.state.read_ports()['airflow']}", *login)

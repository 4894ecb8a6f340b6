"""The loop as a newcomer walks it; the tests build on each other in the order in which they stand."""

from __future__ import annotations

import subprocess
from contextlib import closing

import httpx
import pytest

from tests.e2e.stack import PROJECT, Airflow, Stack
from tests.waiting import wait_until

TRAIN = "mlops_training_pipeline"
SERVE = "model_serving_pipeline"
ROW = [[5.1, 3.5, 1.4, 0.2]]
OBJECTS = [
    {"sepal_length": 5.1, "sepal_width": 3.5, "petal_length": 1.4, "petal_width": 0.2},
    {"sepal_length": 6.0, "sepal_width": 2.9, "petal_length": 4.5, "petal_width": 1.5},
]


def read_versions(stack: Stack) -> dict[str, str]:
    models = httpx.get(f"{stack.gateway}/models", timeout=10).json()["models"]
    return {model["name"]: model["version"] for model in models}


def test_every_service_is_healthy_and_every_one_shot_ended_well(stack: Stack) -> None:
    table = stack.compose("ps", "--all", "--format", "{{.Service}} {{.State}} {{.Health}} {{.ExitCode}}").stdout
    rows = {row.split(" ")[0]: row.split(" ")[1:] for row in table.strip().splitlines()}
    one_shots = {"preflight", "airflow-init", "database-init", "storage-init"}
    assert {name for name, row in rows.items() if row[0] == "exited" and row[-1] == "0"} == one_shots
    assert {name for name, row in rows.items() if row[:2] == ["running", "healthy"]} == rows.keys() - one_shots
    assert len(stack.containers("serving")) == 2


def test_without_a_model_a_prediction_is_503_as_json(stack: Stack) -> None:
    answer = stack.predict(ROW)
    assert answer.status_code == 503
    assert "request_id" in answer.json()


def test_the_start_page_links_and_probes_every_ui(stack: Stack) -> None:
    page = httpx.get(f"{stack.gateway}/")
    assert page.status_code == 200
    assert "Airflow" in page.text
    for name in ("airflow", "mlflow", "minio"):
        url = f"{stack.gateway}/status/{name}"
        # A program that has just started may take longer than the three seconds that the page gives it.
        wait_until(lambda url=url: httpx.get(url, timeout=15).status_code == 200, 60, f"{url} is up")


def test_every_dag_file_parses(airflow: Airflow) -> None:
    assert airflow.get("/importErrors")["import_errors"] == []
    dags = {dag["dag_id"]: dag["is_paused"] for dag in airflow.get("/dags")["dags"]}
    assert dags[TRAIN] is False
    assert dags[SERVE] is False


def test_a_wrong_password_does_not_log_in(stack: Stack) -> None:
    login = {"username": stack.environment["AIRFLOW_ADMIN_USERNAME"], "password": "wrong"}
    answer = httpx.post(f"http://127.0.0.1:{stack.port('AIRFLOW_PORT')}/auth/token", json=login, timeout=30)
    assert answer.status_code == 401


def test_training_registers_a_version_that_every_replica_comes_to_serve(stack: Stack, airflow: Airflow) -> None:
    run_id = airflow.trigger(TRAIN, dataset="iris", model_type="sklearn", estimator="random_forest")
    assert airflow.wait_for_run(TRAIN, run_id) == "success", airflow.task_states(TRAIN, run_id)
    rollouts = wait_until(
        lambda: airflow.get(f"/dags/{SERVE}/dagRuns")["dag_runs"], 60, "the model asset starts a rollout"
    )
    rollout_id = rollouts[0]["dag_run_id"]
    assert airflow.wait_for_run(SERVE, rollout_id) == "success", airflow.task_states(SERVE, rollout_id)
    assert read_versions(stack) == {"iris": "1"}


def test_both_bodies_of_the_readme_are_answered(stack: Stack) -> None:
    answer = stack.predict(ROW)
    assert answer.status_code == 200
    assert answer.json()["predictions"] == [0]
    assert answer.headers["X-Model-Version"] == "1"
    answer = stack.predict(OBJECTS)
    assert answer.json()["predictions"] == [0, 1]
    assert answer.json()["model"] == {"name": "iris", "version": "1"}


def test_mlflow_shows_the_run_to_a_user_and_nothing_to_nobody(stack: Stack) -> None:
    path = f"{stack.mlflow}/api/2.0/mlflow/model-versions/get?name=iris&version=1"
    assert httpx.get(path, timeout=30).status_code == 401
    login = (stack.environment["MLFLOW_ADMIN_USERNAME"], stack.environment["MLFLOW_ADMIN_PASSWORD"])
    version = httpx.get(path, auth=login, timeout=30).json()["model_version"]
    tags = {tag["key"]: tag["value"] for tag in version["tags"]}
    assert tags["gate"] == "passed"
    assert len(tags["sha256"]) == 64
    run = httpx.get(f"{stack.mlflow}/api/2.0/mlflow/runs/get", params={"run_id": version["run_id"]}, auth=login).json()
    assert {metric["key"] for metric in run["run"]["data"]["metrics"]} >= {"accuracy"}


def test_the_trainer_may_make_a_run_where_mlflow_run_puts_it_and_serving_may_not(stack: Stack) -> None:
    for user, status in (("trainer", 200), ("serving", 403)):
        answer = httpx.post(
            f"{stack.mlflow}/api/2.0/mlflow/runs/create",
            json={"experiment_id": "0"},
            auth=(user, stack.environment[f"MLFLOW_{user.upper()}_PASSWORD"]),
            timeout=30,
        )
        assert answer.status_code == status, f"{user}: {answer.text}"


def test_serving_may_only_read_the_registry(stack: Stack) -> None:
    login = ("serving", stack.environment["MLFLOW_SERVING_PASSWORD"])
    base = f"{stack.mlflow}/api/2.0/mlflow"
    assert httpx.get(f"{base}/registered-models/search", auth=login, timeout=30).status_code == 200
    for path, body in (("registered-models/create", {"name": "taken"}), ("experiments/create", {"name": "taken"})):
        assert httpx.post(f"{base}/{path}", json=body, auth=login, timeout=30).status_code == 403


def test_the_same_training_again_is_rejected_and_registers_nothing(stack: Stack, airflow: Airflow) -> None:
    run_id = airflow.trigger(TRAIN, dataset="iris", model_type="sklearn", estimator="random_forest")
    assert airflow.wait_for_run(TRAIN, run_id) == "success"
    states = airflow.task_states(TRAIN, run_id)
    assert states["train_dataset.rejected[0]"][0] == "success"
    assert states["train_dataset.promoted[0]"][0] == "skipped"
    assert "rejected" in (states["train_dataset.gate[0]"][1] or "")
    assert "force" in airflow.log(TRAIN, run_id, "train_dataset.rejected", map_index=0)
    assert read_versions(stack) == {"iris": "1"}


def test_an_unknown_hyperparameter_fails_at_once_and_lists_what_is_allowed(airflow: Airflow) -> None:
    run_id = airflow.trigger(TRAIN, dataset="iris", model_type="xgboost", hyperparameters={"n_trees": 5})
    assert airflow.wait_for_run(TRAIN, run_id) == "failed"
    log = airflow.log(TRAIN, run_id, "choose_datasets")
    assert "n_trees" in log
    assert "n_estimators" in log


def test_a_new_dag_and_an_edit_of_it_show_within_30_seconds(stack: Stack, airflow: Airflow) -> None:
    file = stack.folder / "dags" / "probe.py"
    source = "from airflow.sdk import dag\n\n@dag(tags=['{tag}'])\ndef probe():\n    pass\n\n\nprobe()\n"
    for tag in ("first", "second"):
        file.write_text(source.format(tag=tag))
        wait_until(lambda tag=tag: has_tag(airflow, "probe", tag), 30, f"the DAG probe shows the tag {tag}")
    file.unlink()


def has_tag(airflow: Airflow, dag_id: str, tag: str) -> bool:
    answer = airflow.client.get(f"/dags/{dag_id}")
    return answer.status_code == 200 and tag in {entry["name"] for entry in answer.json()["tags"]}


def test_a_stack_that_was_cut_off_and_taken_down_comes_back_with_its_data(stack: Stack) -> None:
    ids = subprocess.run(
        ["docker", "ps", "--quiet", "--filter", f"label=com.docker.compose.project={PROJECT}"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split()
    subprocess.run(["docker", "kill", *ids], check=True, capture_output=True)
    stack.compose("down")
    stack.up()
    wait_until(lambda: stack.predict(ROW).status_code == 200, 60, "a prediction after the cut")
    assert read_versions(stack) == {"iris": "1"}
    with closing(Airflow(stack)) as airflow:
        assert airflow.get(f"/dags/{TRAIN}/dagRuns")["total_entries"] == 3


@pytest.mark.parametrize(
    ("changes", "finding"),
    [
        ({"BIND_ADDRESS": "0.0.0.0", "POSTGRES_PASSWORD": "insecure-postgres"}, "POSTGRES_PASSWORD"),
        ({"AIRFLOW_JWT_SECRET": "short"}, "AIRFLOW_JWT_SECRET: expected at least 64 characters, found 5"),
        ({"BIND_ADDRESS": "everywhere"}, "BIND_ADDRESS: expected an IP address"),
    ],
)
def test_preflight_refuses_secrets_that_are_known_or_short(stack: Stack, changes: dict[str, str], finding: str) -> None:
    options = [option for name, value in changes.items() for option in ("--env", f"{name}={value}")]
    done = stack.compose("run", "--rm", "--no-deps", *options, "preflight", check=False)
    assert done.returncode != 0
    assert finding in done.stdout


def test_without_env_up_stops_with_the_variable_and_the_two_ways(stack: Stack) -> None:
    done = stack.compose("--env-file", "/dev/null", "config", "--quiet", check=False)
    assert done.returncode != 0
    assert "run make env, or cp .env.example .env" in done.stderr


def test_a_new_env_over_old_volumes_is_detected_and_said(stack: Stack) -> None:
    done = stack.compose("run", "--rm", "--no-deps", "--env", "POSTGRES_PASSWORD=another", "database-init", check=False)
    assert done.returncode != 0
    assert "volume is older than this .env" in done.stdout + done.stderr


def test_down_with_volumes_leaves_nothing_and_up_starts_from_nothing(stack: Stack) -> None:
    stack.compose("down", "--volumes")
    left = subprocess.run(["docker", "volume", "ls", "--quiet"], check=True, capture_output=True, text=True).stdout
    assert PROJECT not in left
    stack.up()
    assert stack.predict(ROW).status_code == 503

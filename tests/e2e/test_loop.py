"""The loop as a newcomer walks it; the tests build on each other in the order in which they stand."""

from __future__ import annotations

import httpx
import pytest

from tests.e2e.airflow import SERVE, TRAIN, Airflow
from tests.e2e.stack import Stack
from tests.waiting import wait_until

BUSY_SECONDS = 240
"""In every push the machine does other work beside a test; the long form asks for the time that is promised."""

TRAINING = {"dataset": "iris", "model_type": "sklearn", "estimator": "linear"}
ROW = [[5.1, 3.5, 1.4, 0.2]]
OBJECTS = [
    {"sepal_length": 5.1, "sepal_width": 3.5, "petal_length": 1.4, "petal_width": 0.2},
    {"sepal_length": 6.0, "sepal_width": 2.9, "petal_length": 4.5, "petal_width": 1.5},
]


@pytest.fixture(scope="module")
def login(stack: Stack) -> tuple[str, str]:
    """MLflow's admin."""
    return stack.environment["MLFLOW_ADMIN_USERNAME"], stack.environment["MLFLOW_ADMIN_PASSWORD"]


@pytest.fixture(scope="module")
def second_training(airflow: Airflow) -> str:
    """The same training once more, begun before other tests so that they look on meanwhile; returns the run's id."""
    return airflow.trigger(TRAIN, **TRAINING)


def test_every_service_is_healthy_and_every_one_shot_ended_well(stack: Stack) -> None:
    table = stack.compose("ps", "--all", "--format", "{{.Service}} {{.State}} {{.Health}} {{.ExitCode}}").stdout
    rows = {row.split(" ")[0]: row.split(" ")[1:] for row in table.strip().splitlines()}
    one_shots = {"preflight", "airflow-init", "database-init", "storage-init", "storage-users"}
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
        wait_until(lambda url=url: httpx.get(url, timeout=15).status_code == 200, 240, f"{url} is up")


def test_every_dag_file_parses(airflow: Airflow) -> None:
    assert airflow.get("/importErrors")["import_errors"] == []
    assert {TRAIN, SERVE} <= list_clocked(airflow).keys()
    expected = {"minio_reconcile", "monitor_model", "collect_predictions", "housekeeping"}

    def is_clocked() -> bool:
        # While its one run is under way, a DAG has no next one.
        return {dag_id for dag_id, is_due in list_clocked(airflow).items() if is_due} == expected

    wait_until(is_clocked, 120, f"a clock starts {sorted(expected)}")


def list_clocked(airflow: Airflow) -> dict[str, str | None]:
    """The DAGs that are not paused, with the time of their next run by a clock."""
    return {dag["dag_id"]: dag["next_dagrun_run_after"] for dag in airflow.get("/dags", paused=False)["dags"]}


def test_a_wrong_password_does_not_log_in(stack: Stack) -> None:
    login = {"username": stack.environment["AIRFLOW_ADMIN_USERNAME"], "password": "wrong"}
    answer = httpx.post(f"http://127.0.0.1:{stack.port('AIRFLOW_PORT')}/auth/token", json=login, timeout=30)
    assert answer.status_code == 401


def test_training_registers_a_version_that_every_replica_comes_to_serve(stack: Stack, airflow: Airflow) -> None:
    airflow.run(TRAIN, **TRAINING)
    rollout = airflow.wait_for_new_run(SERVE, set())
    airflow.expect_success(SERVE, rollout)
    assert stack.read_versions() == {"iris": "1"}


def test_both_bodies_of_the_readme_are_answered(stack: Stack, second_training: str) -> None:
    answer = stack.predict(ROW)
    assert answer.status_code == 200
    assert answer.json()["predictions"] == [0]
    assert answer.headers["X-Model-Version"] == "1"
    answer = stack.predict(OBJECTS)
    assert answer.json()["predictions"] == [0, 1]
    assert answer.json()["model"] == {"name": "iris", "version": "1"}


def test_mlflow_shows_the_run_to_a_user_and_nothing_to_nobody(stack: Stack, login: tuple[str, str]) -> None:
    path = f"{stack.mlflow}/api/2.0/mlflow/model-versions/get?name=iris&version=1"
    assert httpx.get(path, timeout=30).status_code == 401
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


def test_a_new_dag_and_an_edit_of_it_show_within_30_seconds(stack: Stack, airflow: Airflow, repeat: int) -> None:
    seconds = 30 if repeat else BUSY_SECONDS
    file = stack.folder / "dags" / "probe.py"
    source = "from airflow.sdk import dag\n\n@dag(tags=['{tag}'])\ndef probe():\n    pass\n\n\nprobe()\n"
    for tag in ("first", "second"):
        file.write_text(source.format(tag=tag))
        wait_until(lambda tag=tag: has_tag(airflow, "probe", tag), seconds, f"the DAG probe shows the tag {tag}")
    file.unlink()


def has_tag(airflow: Airflow, dag_id: str, tag: str) -> bool:
    answer = airflow.client.get(f"/dags/{dag_id}")
    return answer.status_code == 200 and tag in {entry["name"] for entry in answer.json()["tags"]}


def test_the_same_training_again_is_rejected_and_registers_nothing(
    stack: Stack, airflow: Airflow, second_training: str
) -> None:
    states = airflow.expect_success(TRAIN, second_training)
    assert states["train_dataset.rejected[0]"][0] == "success"
    assert states["train_dataset.promoted[0]"][0] == "skipped"
    assert "rejected" in (states["train_dataset.gate[0]"][1] or "")
    assert "force" in airflow.log(TRAIN, second_training, "train_dataset.rejected", map_index=0)
    assert stack.read_versions() == {"iris": "1"}

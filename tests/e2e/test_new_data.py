"""Data that arrives by itself: a dropped file becomes a version that answers; employees; what is bad or comes twice."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from tests import kma_server
from tests.e2e.stack import PROJECT, REPOSITORY, Airflow, Stack
from tests.kma_server import DECODING_KEY
from tests.waiting import wait_until

CONSUME = "minio_asset_example"
TRAIN = "mlops_training_pipeline"
SERVE = "model_serving_pipeline"
FLOWER = [5.1, 3.5, 1.4, 0.2]
SAMPLE = REPOSITORY / "ml_code/samples/iris_new_rows.csv"
# Plays Slack's incoming webhooks within the stack: answers ok and keeps what it got, a line for each message.
SLACK = """
from http.server import BaseHTTPRequestHandler, HTTPServer

class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        with open("/tmp/slack.log", "ab") as log:
            log.write(self.rfile.read(int(self.headers["Content-Length"])) + b"\\n")
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"ok")

HTTPServer(("", 9099), Handler).serve_forever()
"""
KMA = """
if __name__ == "__main__":
    with run_kma_server(datetime.now(KST)) as kma:
        with open("/tmp/kma.url", "w") as file:
            file.write(kma.url)
        time.sleep(300)
"""
# What a program of Airflow logs while a test restarts its database.
DATABASE_AWAY = re.compile(r"OperationalError|InterfaceError|AdminShutdown")
HEADER = "sepal_length,sepal_width,petal_length,petal_width,species\n"


def put(stack: Stack, file: Path) -> subprocess.CompletedProcess[str]:
    return stack.mlops("dataset", "put", "iris", str(file))


def wait_for_new_run(airflow: Airflow, dag_id: str, seconds: float, start: Callable[[], object]) -> str:
    """Starts something, waits for the run of a DAG that follows from it, and for its end; answers its id."""
    before = {run["dag_run_id"] for run in airflow.get(f"/dags/{dag_id}/dagRuns")["dag_runs"]}
    start()
    [run_id, *_] = wait_until(
        lambda: [
            run["dag_run_id"]
            for run in airflow.get(f"/dags/{dag_id}/dagRuns")["dag_runs"]
            if run["dag_run_id"] not in before
        ],
        seconds,
        f"a run of {dag_id}",
    )
    airflow.wait_for_run(dag_id, run_id)
    return run_id


def query_warehouse(stack: Stack, sql: str) -> str:
    command = ["exec", "-T", "postgres", "psql", "-U", "postgres", "-d", "warehouse", "-Atc", sql]
    return stack.compose(*command).stdout.strip()


def run_in(stack: Stack, service: str, *arguments: str, program: str = "python", given: str = "") -> str:
    command = ["docker", "compose", "--project-name", PROJECT, "exec", "-T", service, program, *arguments]
    done = subprocess.run(
        command, cwd=stack.folder, input=given, check=True, capture_output=True, text=True, timeout=60
    )
    return done.stdout


def read_kma_program() -> str:
    """The stand-in of the weather service as a program for a container, where only tasks reach it."""
    return Path(kma_server.__file__).read_text() + KMA


def find_messages(stack: Stack, *parts: str) -> list[str] | None:
    """One message for each part that it has, once there is one for every part."""
    lines = run_in(stack, "airflow-triggerer", "-c", "touch /tmp/slack.log; cat /tmp/slack.log", program="sh")
    messages = [json.loads(line)["text"] for line in lines.splitlines()]
    found = [next((text for text in messages if part in text), "") for part in parts]
    return found if all(found) else None


def test_a_file_that_is_put_trains_a_version_that_answers(stack: Stack, airflow: Airflow) -> None:
    first = airflow.trigger(TRAIN, dataset="iris", model_type="sklearn", estimator="linear")
    assert airflow.wait_for_run(TRAIN, first) == "success"
    wait_until(lambda: stack.read_version("iris", FLOWER) == "1", 120, "version 1 answers")
    started = time.monotonic()
    done = put(stack, SAMPLE)
    assert done.returncode == 0, done.stderr
    wait_until(lambda: stack.read_version("iris", FLOWER) == "2", 600, "version 2 answers")
    print(f"\nfrom put to an answer of the new version: {time.monotonic() - started:.0f} s")
    [trained] = [run for run in airflow.get(f"/dags/{TRAIN}/dagRuns")["dag_runs"] if run["run_type"] != "manual"]
    tasks = airflow.task_states(TRAIN, trained["dag_run_id"])
    assert "promoted" in (tasks["train_dataset.gate[0]"][1] or "")


def test_the_version_was_trained_as_the_champion_was(stack: Stack) -> None:
    login = ("trainer", stack.environment["MLFLOW_TRAINER_PASSWORD"])
    path = f"{stack.mlflow}/api/2.0/mlflow/model-versions/get?name=iris&version=2"
    tags = {tag["key"]: tag["value"] for tag in httpx.get(path, auth=login).json()["model_version"]["tags"]}
    assert (tags["model_type"], tags["estimator"], tags["gate"]) == ("sklearn", "linear", "passed")


def test_the_same_file_again_says_already_loaded_and_trains_nothing(stack: Stack, airflow: Airflow) -> None:
    trainings = airflow.get(f"/dags/{TRAIN}/dagRuns")["total_entries"]
    run_id = wait_for_new_run(airflow, CONSUME, 90, lambda: put(stack, SAMPLE))
    tasks = airflow.task_states(CONSUME, run_id)
    assert tasks["take_in.accept[0]"] == ("success", "iris: 1 already loaded")
    assert tasks["take_in.publish[0]"][0] == "skipped"
    assert airflow.get(f"/dags/{TRAIN}/dagRuns")["total_entries"] == trainings


def test_a_file_of_bad_rows_fails_its_run_and_says_where_it_is(stack: Stack, airflow: Airflow, tmp_path: Path) -> None:
    bad = tmp_path / "bad.csv"
    bad.write_text(HEADER + "wide,3.5,1.4,0.2,0\n" * 20)
    run_id = wait_for_new_run(airflow, CONSUME, 90, lambda: put(stack, bad))
    tasks = airflow.task_states(CONSUME, run_id)
    assert tasks["take_in.file_away[0]"][0] == "failed"
    log = airflow.log(CONSUME, run_id, "take_in.file_away", map_index=0)
    assert "rejected/iris/" in log
    assert "found 20 bad rows of 20" in log


def test_a_restarted_triggerer_fires_for_what_came_meanwhile_and_for_nothing_old(
    stack: Stack, airflow: Airflow, tmp_path: Path
) -> None:
    new = tmp_path / "new.csv"
    new.write_text(HEADER + "5.0,3.4,1.5,0.2,0\n")
    stack.compose("kill", "airflow-triggerer")
    put(stack, new)
    run_id = wait_for_new_run(
        airflow, CONSUME, 180, lambda: stack.compose("up", "--detach", "--no-deps", "airflow-triggerer")
    )
    assert airflow.task_states(CONSUME, run_id)["take_in.accept[0]"] == ("success", "iris: 1 accepted (1 rows)")
    runs = airflow.get(f"/dags/{CONSUME}/dagRuns")["total_entries"]
    time.sleep(45)
    assert airflow.get(f"/dags/{CONSUME}/dagRuns")["total_entries"] == runs


def test_what_no_event_told_of_is_found_by_reconcile(stack: Stack, airflow: Airflow, tmp_path: Path) -> None:
    missed = tmp_path / "missed.csv"
    missed.write_text(HEADER + "5.9,3.0,5.1,1.8,2\n")
    airflow.client.patch(f"/dags/{CONSUME}", json={"is_paused": True}).raise_for_status()
    try:
        put(stack, missed)
        run_id = airflow.trigger("minio_reconcile", min_age_minutes=0)
        assert airflow.wait_for_run("minio_reconcile", run_id) == "success"
        tasks = airflow.task_states("minio_reconcile", run_id)
        assert tasks["take_in.accept[0]"] == ("success", "iris: 1 accepted (1 rows)")
    finally:
        airflow.unpause(CONSUME)


def test_employees_reach_the_warehouse_once_though_postgres_restarts_in_between(stack: Stack, airflow: Airflow) -> None:
    airflow.unpause("etl_example")
    run_id = airflow.trigger("etl_example")
    wait_until(
        lambda: airflow.task_states("etl_example", run_id)["extract"][0] in {"running", "success"}, 120, "extract runs"
    )
    stack.compose("restart", "--no-deps", "postgres")
    assert airflow.wait_for_run("etl_example", run_id) == "success", airflow.task_states("etl_example", run_id)
    rows = query_warehouse(stack, "SELECT count(*) FROM warehouse.employees")
    assert int(rows) == len((stack.folder / "ml_code/samples/employees.csv").read_text().splitlines()) - 1
    again = airflow.trigger("etl_example")
    assert airflow.wait_for_run("etl_example", again) == "success"
    assert "already loaded" in airflow.log("etl_example", again, "load")
    assert query_warehouse(stack, "SELECT count(*) FROM warehouse.employees") == rows


def test_the_assets_and_what_makes_them_are_known(airflow: Airflow) -> None:
    assets = {asset["name"]: asset for asset in airflow.get("/assets", limit=100)["assets"]}
    assert {"csv_data_asset", "employee_data_asset", "incoming", "dataset/iris", "model/iris"} <= set(assets)
    assert [task["dag_id"] for task in assets["employee_data_asset"]["producing_tasks"]] == ["etl_example"]


def test_without_a_key_the_weather_fails_at_once_and_says_how_to_set_it(airflow: Airflow) -> None:
    airflow.unpause("crawling_weather")
    try:
        run_id = airflow.trigger("crawling_weather")
        assert airflow.wait_for_run("crawling_weather", run_id, 120) == "failed"
        assert "KMA_SERVICE_KEY" in airflow.log("crawling_weather", run_id, "collect")
    finally:
        airflow.client.patch("/dags/crawling_weather", json={"is_paused": True}).raise_for_status()


def test_the_weather_of_a_place_reaches_the_warehouse_and_the_same_hour_again_changes_nothing(
    stack: Stack, airflow: Airflow
) -> None:
    run_in(stack, "airflow-scheduler", "-c", "cat > /tmp/kma.py", program="sh", given=read_kma_program())
    stack.compose("exec", "--detach", "airflow-scheduler", "python", "/tmp/kma.py")
    url = wait_until(
        lambda: run_in(stack, "airflow-scheduler", "-c", "cat /tmp/kma.url 2>/dev/null || true", program="sh"), 60, "it"
    )
    path, before = "/connections/kma_api", {"connection_id": "kma_api", "conn_type": "http"}
    airflow.client.patch(path, json=before | {"host": url, "password": DECODING_KEY}).raise_for_status()
    try:
        counts = []
        for _ in range(2):
            run_id = airflow.run("crawling_weather")
            counts.append(query_warehouse(stack, "SELECT count(*) FROM warehouse.weather_forecast"))
            assert DECODING_KEY not in airflow.log("crawling_weather", run_id, "collect")
    finally:
        airflow.client.patch(path, json=before | {"host": "", "password": ""}).raise_for_status()
        airflow.client.patch("/dags/crawling_weather", json={"is_paused": True}).raise_for_status()
    assert counts == ["60", "60"]


def test_slack_is_told_of_the_task_that_failed_and_of_the_run_that_succeeded(stack: Stack, airflow: Airflow) -> None:
    run_in(stack, "airflow-triggerer", "-c", "cat > /tmp/slack.py", program="sh", given=SLACK)
    stack.compose("exec", "--detach", "airflow-triggerer", "python", "/tmp/slack.py")
    path, before = "/connections/my_webhook", {"connection_id": "my_webhook", "conn_type": "slackwebhook"}
    webhook = before | {"host": "http://airflow-triggerer:9099/services", "password": "T0/B0/secrettoken"}
    airflow.client.patch(path, json=webhook).raise_for_status()
    airflow.unpause("etl_example")
    try:
        failed = airflow.trigger(TRAIN, dataset="iris", hyperparameters={"n_trees": 5})
        assert airflow.wait_for_run(TRAIN, failed) == "failed"
        succeeded = airflow.trigger("etl_example")
        assert airflow.wait_for_run("etl_example", succeeded) == "success"
        failure, success = wait_until(lambda: find_messages(stack, failed, succeeded), 60, "two messages")
    finally:
        airflow.client.patch(path, json=before | {"host": "", "password": ""}).raise_for_status()
    assert failure.startswith("*mlops_training_pipeline.choose_datasets* failed")
    assert "n_trees" in failure
    assert "/dags/mlops_training_pipeline/runs/" in failure
    assert success.startswith("*etl_example* succeeded")
    assert "secrettoken" not in airflow.log(TRAIN, failed, "choose_datasets")


def test_a_run_outlasts_an_object_store_that_is_away_for_a_minute(stack: Stack, airflow: Airflow) -> None:
    run_id = airflow.trigger(TRAIN, dataset="iris", model_type="sklearn", estimator="gradient_boosting")
    stack.compose("stop", "minio")
    time.sleep(60)
    stack.compose("up", "--detach", "--no-deps", "--wait", "minio")
    assert airflow.wait_for_run(TRAIN, run_id) == "success", airflow.task_states(TRAIN, run_id)
    assert "asking again" in stack.compose("logs", "--no-log-prefix", "airflow-triggerer").stdout


@pytest.mark.parametrize("service", ["airflow-triggerer", "airflow-scheduler", "airflow-dag-processor"])
def test_no_service_logs_an_error_of_ours(service: str) -> None:
    command = ["docker", "ps", "--quiet", "--filter", f"label=com.docker.compose.service={service}"]
    command += ["--filter", f"label=com.docker.compose.project={PROJECT}"]
    [container] = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    log = subprocess.run(["docker", "logs", container], check=True, capture_output=True, text=True)
    _, *traces = (log.stdout + log.stderr).split("Traceback (most recent call last)")
    assert [trace for trace in traces if not DATABASE_AWAY.search(trace)] == []

"""New data: a dropped file becomes a version that answers; employees; invalid and repeated files."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

import httpx
import pytest

from tests import kma_server
from tests.e2e.airflow import TRAIN, Airflow
from tests.e2e.stack import Stack, docker
from tests.kma_server import DECODING_KEY
from tests.waiting import wait_until

CONSUME = "minio_asset_example"
FLOWER = [5.1, 3.5, 1.4, 0.2]
SAMPLE = Path("ml_code/samples/iris_new_rows.csv")
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
    with run_kma_server(datetime.now(KST) + timedelta(hours=1)) as kma:
        with open("/tmp/kma.url", "w") as file:
            file.write(kma.url)
        time.sleep(3600)
"""
# What a program of Airflow logs while a test restarts its database.
DATABASE_AWAY = re.compile(r"OperationalError|InterfaceError|AdminShutdown")
CHAINED = re.compile(r"(another exception occurred|direct cause of the following exception):\s*$")
HEADER = "sepal_length,sepal_width,petal_length,petal_width,species\n"


def put(stack: Stack, file: Path) -> None:
    done = stack.mlops("dataset", "put", "iris", str(file))
    assert done.returncode == 0, done.stderr


def read_tags(stack: Stack, version: str) -> dict[str, str]:
    login = ("trainer", stack.environment["MLFLOW_TRAINER_PASSWORD"])
    path = f"{stack.mlflow}/api/2.0/mlflow/model-versions/get?name=iris&version={version}"
    return {tag["key"]: tag["value"] for tag in httpx.get(path, auth=login).json()["model_version"]["tags"]}


def run_in(stack: Stack, service: str, *arguments: str, program: str = "python", given: str = "") -> str:
    return stack.compose("exec", "-T", service, program, *arguments, stdin=given, timeout=300).stdout


def read_kma_program() -> str:
    """The stand-in of the weather service as a program for a container, where only tasks reach it."""
    return Path(kma_server.__file__).read_text() + KMA


def find_messages(stack: Stack, *parts: str) -> list[str] | None:
    """One message for each part that it has, once there is one for every part."""
    lines = run_in(stack, "airflow-triggerer", "-c", "touch /tmp/slack.log; cat /tmp/slack.log", program="sh")
    messages = [json.loads(line)["text"] for line in lines.splitlines()]
    found = [next((text for text in messages if part in text), "") for part in parts]
    return found if all(found) else None


def test_a_file_that_is_put_trains_as_the_champion_was_a_version_that_answers(
    stack: Stack, airflow: Airflow, trained: str
) -> None:
    before = airflow.list_runs(TRAIN)
    new = str(int(trained) + 1)
    started = time.monotonic()
    put(stack, SAMPLE)
    wait_until(lambda: stack.read_version("iris", FLOWER) == new, 600, f"version {new} answers", 0.5)
    print(f"\nfrom put to an answer of the new version: {time.monotonic() - started:.0f} s")
    [run_id] = airflow.list_runs(TRAIN) - before
    assert "promoted" in (airflow.task_states(TRAIN, run_id)["train_dataset.gate[0]"][1] or "")
    tags, tags_before = read_tags(stack, new), read_tags(stack, trained)
    assert tags["gate"] == "passed"
    assert [tags[name] for name in ("model_type", "estimator")] == [
        tags_before[name] for name in ("model_type", "estimator")
    ]


def test_the_same_file_again_says_already_loaded_and_trains_nothing(stack: Stack, airflow: Airflow) -> None:
    trainings, before = airflow.list_runs(TRAIN), airflow.list_runs(CONSUME)
    put(stack, SAMPLE)
    run_id = airflow.wait_for_new_run(CONSUME, before)
    tasks = airflow.task_states(CONSUME, run_id)
    assert tasks["take_in.accept[0]"] == ("success", "iris: 1 already loaded")
    assert tasks["take_in.publish[0]"][0] == "skipped"
    assert airflow.list_runs(TRAIN) == trainings


def test_a_file_of_bad_rows_fails_its_run_and_says_where_it_is(stack: Stack, airflow: Airflow, tmp_path: Path) -> None:
    bad = tmp_path / "bad.csv"
    bad.write_text(HEADER + "wide,3.5,1.4,0.2,0\n" * 20)
    before = airflow.list_runs(CONSUME)
    put(stack, bad)
    run_id = airflow.wait_for_new_run(CONSUME, before)
    tasks = airflow.task_states(CONSUME, run_id)
    assert tasks["take_in.file_away[0]"][0] == "failed"
    log = airflow.log(CONSUME, run_id, "take_in.file_away", map_index=0)
    assert "rejected/iris/" in log
    assert "found 20 bad rows of 20" in log


def test_a_restarted_triggerer_fires_for_what_came_meanwhile_and_for_nothing_old(
    stack: Stack, airflow: Airflow, tmp_path: Path
) -> None:
    before = airflow.list_runs(CONSUME)
    stack.compose("kill", "airflow-triggerer")
    for name, row in (("meanwhile", "5.0,3.4,1.5,0.2,0"), ("afterwards", "5.0,3.3,1.4,0.2,0")):
        new = tmp_path / f"{name}.csv"
        new.write_text(f"{HEADER}{row}\n")
        put(stack, new)
        if name == "meanwhile":
            stack.compose("up", "--detach", "--no-deps", "airflow-triggerer")
        # Just one run: an event of an old file would be a second one.
        run_id = airflow.wait_for_new_run(CONSUME, before)
        assert airflow.task_states(CONSUME, run_id)["take_in.accept[0]"] == ("success", "iris: 1 accepted (1 rows)")
        before |= {run_id}


def test_what_no_event_told_of_is_found_by_reconcile(stack: Stack, airflow: Airflow, tmp_path: Path) -> None:
    missed = tmp_path / "missed.csv"
    missed.write_text(HEADER + "5.9,3.0,5.1,1.8,2\n")
    airflow.pause(CONSUME)
    try:
        put(stack, missed)
        run_id = airflow.trigger("minio_reconcile", min_age_minutes=0)
        tasks = airflow.expect_success("minio_reconcile", run_id)
        assert tasks["take_in.accept[0]"] == ("success", "iris: 1 accepted (1 rows)")
    finally:
        airflow.unpause(CONSUME)


def test_employees_reach_the_warehouse_once_though_postgres_restarts_in_between(stack: Stack, airflow: Airflow) -> None:
    run_id = airflow.start_by_clock("etl_example")
    wait_until(
        lambda: airflow.task_states("etl_example", run_id)["extract"][0] in {"running", "success"}, 400, "extract runs"
    )
    stack.compose("restart", "--no-deps", "postgres")
    airflow.expect_success("etl_example", run_id)
    rows = stack.query_warehouse("SELECT count(*) FROM warehouse.employees")
    assert int(rows) == len((stack.folder / "ml_code/samples/employees.csv").read_text().splitlines()) - 1
    again = airflow.run("etl_example")
    assert "already loaded" in airflow.log("etl_example", again, "load")
    assert stack.query_warehouse("SELECT count(*) FROM warehouse.employees") == rows


def test_the_assets_and_what_makes_them_are_known(airflow: Airflow) -> None:
    assets = {asset["name"]: asset for asset in airflow.get("/assets", limit=100)["assets"]}
    assert {"csv_data_asset", "employee_data_asset", "incoming", "dataset/iris", "model/iris"} <= set(assets)
    assert [task["dag_id"] for task in assets["employee_data_asset"]["producing_tasks"]] == ["etl_example"]


def test_without_a_key_the_weather_fails_at_once_and_says_how_to_set_it(airflow: Airflow) -> None:
    try:
        run_id = airflow.start_by_clock("crawling_weather")
        assert airflow.wait_for_run("crawling_weather", run_id) == "failed"
        assert "KMA_SERVICE_KEY" in airflow.log("crawling_weather", run_id, "collect")
    finally:
        airflow.pause("crawling_weather")


def test_the_weather_of_a_place_reaches_the_warehouse_and_the_same_hour_again_changes_nothing(
    stack: Stack, airflow: Airflow
) -> None:
    run_in(stack, "airflow-scheduler", "-c", "cat > /tmp/kma.py", program="sh", given=read_kma_program())
    stack.compose("exec", "--detach", "airflow-scheduler", "python", "/tmp/kma.py")
    url = wait_until(
        lambda: run_in(stack, "airflow-scheduler", "-c", "cat /tmp/kma.url 2>/dev/null || true", program="sh"),
        240,
        "the address of the stand-in",
    )
    path, before = "/connections/kma_api", {"connection_id": "kma_api", "conn_type": "http"}
    airflow.client.patch(path, json=before | {"host": url, "password": DECODING_KEY}).raise_for_status()
    try:
        found: list[str] = []
        # Between two runs the next hour's issue may come out; then the third run meets the same one again.
        while len(found) < 2 or (len(found) < 3 and found[-1] != found[-2]):
            run_id = airflow.run("crawling_weather")
            found.append(stack.query_warehouse("SELECT count(*), max(collected_at) FROM warehouse.weather_forecast"))
            assert DECODING_KEY not in airflow.log("crawling_weather", run_id, "collect")
    finally:
        airflow.client.patch(path, json=before | {"host": "", "password": ""}).raise_for_status()
        airflow.pause("crawling_weather")
    assert found[0].startswith("60|")
    assert found[-1] == found[-2]


def test_slack_is_told_of_the_task_that_failed_and_of_the_run_that_succeeded(stack: Stack, airflow: Airflow) -> None:
    run_in(stack, "airflow-triggerer", "-c", "cat > /tmp/slack.py", program="sh", given=SLACK)
    stack.compose("exec", "--detach", "airflow-triggerer", "python", "/tmp/slack.py")
    path, before = "/connections/my_webhook", {"connection_id": "my_webhook", "conn_type": "slackwebhook"}
    webhook = before | {"host": "http://airflow-triggerer:9099/services", "password": "T0/B0/secrettoken"}
    airflow.client.patch(path, json=webhook).raise_for_status()
    airflow.unpause("etl_example")
    try:
        failed = airflow.trigger(TRAIN, dataset="iris", hyperparameters={"n_trees": 5})
        succeeded = airflow.trigger("etl_example")
        assert airflow.wait_for_run(TRAIN, failed) == "failed"
        airflow.expect_success("etl_example", succeeded)
        failure, success = wait_until(lambda: find_messages(stack, failed, succeeded), 240, "two messages")
    finally:
        airflow.client.patch(path, json=before | {"host": "", "password": ""}).raise_for_status()
    log = airflow.log(TRAIN, failed, "choose_datasets")
    assert "n_estimators" in log, "what is allowed"
    assert "secrettoken" not in log
    assert failure.startswith("*mlops_training_pipeline.choose_datasets* failed")
    assert "n_trees" in failure
    assert "/dags/mlops_training_pipeline/runs/" in failure
    assert success.startswith("*etl_example* succeeded")


@pytest.mark.parametrize("seconds", [0, pytest.param(60, marks=pytest.mark.long)])
def test_a_run_outlasts_an_object_store_that_is_away(stack: Stack, airflow: Airflow, seconds: float) -> None:
    stack.compose("stop", "minio")
    try:
        run_id = airflow.trigger(TRAIN, dataset="iris", model_type="sklearn", estimator="linear")
        wait_until(
            lambda: airflow.task_states(TRAIN, run_id).get("train_dataset.prepare[0]", ("", ""))[0] == "up_for_retry",
            400,
            "the run meets the outage",
        )
        wait_until(lambda: "retrying" in read_log(stack, "airflow-triggerer"), 240, "the watcher meets it too")
        time.sleep(seconds)
    finally:
        stack.compose("up", "--detach", "--no-deps", "--wait", "minio")
    airflow.expect_success(TRAIN, run_id)


@pytest.mark.parametrize("service", ["airflow-triggerer", "airflow-scheduler", "airflow-dag-processor"])
def test_no_service_logs_an_error_of_ours(stack: Stack, service: str) -> None:
    _, *traces = read_log(stack, service).split("Traceback (most recent call last)")
    assert [chain for chain in join_chains(traces) if not DATABASE_AWAY.search(chain)] == []


def join_chains(traces: list[str]) -> list[str]:
    """One text per exception: Python prints what it was raised from before it, with a heading of its own."""
    chains: list[str] = []
    for trace in traces:
        if chains and CHAINED.search(chains[-1]):
            chains[-1] += trace
        else:
            chains.append(trace)
    return chains


def read_log(stack: Stack, service: str) -> str:
    [container] = stack.containers(service)
    log = docker("logs", container)
    return log.stdout + log.stderr

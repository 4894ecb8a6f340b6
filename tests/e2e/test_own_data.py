"""A table that the project has never seen, up to its predictions; a model of another framework; the commands."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.airflow import SERVE, TRAIN, Airflow
from tests.e2e.stack import Stack
from tests.unit.ml_code.gate.test_imported_model import make_network
from tests.unit.ml_code.passengers import make_rows
from tests.waiting import wait_until

FLOWER = [5.1, 3.5, 1.4, 0.2]
PASSENGER = {"age": 30, "fare": 12.5, "town": "S", "sex": "female"}
FOLLOW_SECONDS = 600
DEPLOY_SECONDS = 1200


def succeed(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def ask(stack: Stack, *arguments: str) -> Any:
    return json.loads(succeed(stack.mlops(*arguments, "--json")))


def read_champion(stack: Stack, model: str) -> str | None:
    return next(row["champion"] for row in ask(stack, "models") if row["model"] == model)


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("table") / "passengers.csv"
    make_rows("classification").to_csv(file, index=False)
    return file


@pytest.fixture(scope="module")
def new_model(stack: Stack, table: Path) -> Iterator[subprocess.Popen[str]]:
    """The one command from a table to a model that serves, while it runs; its dataset is in the catalog."""
    command = stack.start_mlops("dataset", "add", str(table), "--target", "outcome", "--train", "--deploy")
    file = stack.folder / "ml_code" / "catalog" / "passengers.toml"
    try:
        wait_until(lambda: file.exists() or command.poll() is not None, 300, "the dataset is drafted")
        yield command
    finally:
        command.kill()
        command.communicate()


@pytest.fixture(scope="module")
def frozen_training(stack: Stack, airflow: Airflow, trained: str) -> str:
    """A training of iris, which is frozen, whose version passes the gate. Returns the run's id."""
    succeed(stack.mlops("freeze", "iris", "--why", "the fair"))
    return airflow.trigger(TRAIN, dataset="iris", model_type="lightgbm", force=True)


@pytest.fixture(scope="module")
def rollouts_before(airflow: Airflow, trained: str) -> set[str]:
    return airflow.list_runs(SERVE)


@pytest.mark.usefixtures("rollouts_before", "frozen_training", "new_model")
def test_a_broken_toml_takes_down_its_own_dataset_only(stack: Stack, airflow: Airflow) -> None:
    """The two trainings begin first, so that they run while this test and the next ones look on."""
    file = stack.folder / "ml_code" / "catalog" / "tulips.toml"
    file.write_text('name = "tulips"\ntask = "guessing"\n')
    try:
        shown = wait_until(
            lambda: doc if "tulips.toml" in (doc := airflow.get(f"/dags/{TRAIN}/details")["doc_md"]) else None,
            FOLLOW_SECONDS,
            "the DAG's page names the broken file",
        )
        assert "task" in shown
        assert airflow.get("/importErrors")["import_errors"] == []
    finally:
        file.unlink()


@pytest.mark.usefixtures("new_model")
def test_the_same_table_again_is_refused_and_changes_nothing(stack: Stack, table: Path) -> None:
    again = stack.mlops("dataset", "add", str(table), "--target", "outcome")
    assert again.returncode == 2
    assert "expected a new name" in again.stderr


@pytest.mark.parametrize(
    ("command", "finding"),
    [
        (["promote", "iris", "999", "--why", "no"], "found no version 999"),
        pytest.param(["history", "tulips"], "found 'tulips', expected one of", marks=pytest.mark.long),
        pytest.param(["train", "--dataset", "tulips"], "tulips", marks=pytest.mark.long),
        pytest.param(["train", "--dataset", "iris", "--model-type", "prophet"], "prophet", marks=pytest.mark.long),
        pytest.param(
            ["train", "--dataset", "iris", "--hyperparameters", '{"trees": 3}'], "n_estimators", marks=pytest.mark.long
        ),
    ],
)
def test_what_is_not_there_is_refused_with_what_is(stack: Stack, command: list[str], finding: str) -> None:
    done = stack.mlops(*command)
    assert done.returncode == 2, done.stdout + done.stderr
    assert finding in done.stderr


def test_a_table_of_ones_own_is_trained_and_served_by_one_command(
    stack: Stack, new_model: subprocess.Popen[str]
) -> None:
    printed, progress = new_model.communicate(timeout=DEPLOY_SECONDS)
    assert new_model.returncode == 0, printed + progress
    assert 'categorical = ["town", "sex"]' in printed
    assert "verify_through_gateway   success" in progress
    assert f"passengers version 1 is served at {stack.gateway}/models/passengers/predict" in printed


def test_a_served_table_answers_the_command_with_its_labels(stack: Stack, table: Path) -> None:
    """Through Nginx: rows as JSON, and the file that the dataset came from."""
    rows = json.dumps([PASSENGER, {**PASSENGER, "sex": "male", "age": 5}])
    assert succeed(stack.mlops("predict", "passengers", rows)).splitlines() == ["prediction", "alive", "dead"]
    predicted = succeed(stack.mlops("predict", "passengers", str(table))).splitlines()
    assert len(predicted) == len(table.read_text().splitlines())
    assert set(predicted[1:]) == {"alive", "dead"}


def test_a_frozen_model_is_not_promoted_until_it_is_unfrozen(
    stack: Stack, airflow: Airflow, trained: str, rollouts_before: set[str], frozen_training: str
) -> None:
    assert airflow.expect_success(TRAIN, frozen_training)["train_dataset.promoted[0]"][0] == "success"
    said = wait_until(
        lambda: [log for log in read_skipped_plans(airflow, rollouts_before) if "frozen" in log],
        FOLLOW_SECONDS,
        "the rollout is skipped because of the freeze",
    )
    assert "the fair" in said[0]
    assert read_champion(stack, "iris") == trained
    succeed(stack.mlops("unfreeze", "iris", "--why", "it is over"))
    assert [move["action"] for move in ask(stack, "history", "iris")][:2] == ["unfreeze", "freeze"]


def read_skipped_plans(airflow: Airflow, before: set[str]) -> list[str]:
    """The logs of the plans that were skipped in rollouts since then."""
    return [
        airflow.log(SERVE, run_id, "roll_out.plan", map_index=int(name.rpartition("[")[2].rstrip("]")))
        for run_id in airflow.list_runs(SERVE) - before
        for name, (state, _) in airflow.task_states(SERVE, run_id).items()
        if name.startswith("roll_out.plan") and state == "skipped"
    ]


def test_a_network_of_another_framework_waits_for_a_person_and_serves_once_promoted(
    stack: Stack, trained: str, tmp_path: Path
) -> None:
    file = tmp_path / "network.onnx"
    file.write_bytes(make_network().SerializeToString())
    printed = succeed(stack.mlops("register", str(file), "--dataset", "iris"))
    assert "It waits for approval" in printed
    version = printed.partition("Registered iris version ")[2].partition(".")[0]
    succeed(stack.mlops("promote", "iris", version, "--why", "it was looked at"))
    wait_until(lambda: stack.read_version("iris", FLOWER) == version, 120, f"version {version} answers")
    [last, *_] = ask(stack, "history", "iris")
    assert (last["action"], last["to_version"], last["why"]) == ("promote", version, "it was looked at")
    succeed(stack.mlops("rollback", "iris", "--why", "only tried"))
    wait_until(lambda: stack.read_version("iris", FLOWER) == trained, 120, f"version {trained} answers again")
    [last, *_] = ask(stack, "history", "iris")
    assert (last["action"], last["from_version"], last["to_version"]) == ("rollback", version, trained)


def test_a_search_from_the_shell_ends_with_a_verdict(stack: Stack) -> None:
    printed = succeed(stack.mlops("tune", "--dataset", "iris", "--estimator", "linear", "--trials", "3"))
    assert "verdict" in printed


def test_status_says_what_answers_and_fails_when_something_does_not(stack: Stack) -> None:
    # On a busy machine a service may take longer than the command waits.
    wait_until(lambda: stack.mlops("status").returncode == 0, 120, "everything answers")
    assert {row["state"] for row in ask(stack, "status")} == {"answers"}
    stack.compose("stop", "nginx")
    try:
        done = stack.mlops("status", "--json")
        assert done.returncode == 1
        assert [row["part"] for row in json.loads(done.stdout) if row["state"] != "answers"] == ["gateway"]
    finally:
        stack.compose("up", "--detach", "--no-deps", "--wait", "nginx")


def test_files_of_two_datasets_that_are_dropped_at_once_train_two_models(
    stack: Stack, airflow: Airflow, tmp_path: Path
) -> None:
    flowers, passengers = tmp_path / "flowers.csv", tmp_path / "passengers.csv"
    flowers.write_text("sepal_length,sepal_width,petal_length,petal_width,species\n6.1,2.9,4.7,1.4,1\n")
    make_rows("classification").head(50).assign(age=41.5).to_csv(passengers, index=False)
    before = airflow.get(f"/dags/{TRAIN}/dagRuns")["total_entries"]
    for dataset, file in (("iris", flowers), ("passengers", passengers)):
        succeed(stack.mlops("dataset", "put", dataset, str(file)))

    def read_verdicts() -> dict[str, str] | None:
        answer = airflow.get(f"/dags/{TRAIN}/dagRuns", order_by="-run_after", limit=10)
        runs = answer["dag_runs"][: answer["total_entries"] - before]
        tasks = [airflow.task_states(TRAIN, run["dag_run_id"]) for run in runs if run["state"] == "success"]
        verdicts = {
            states[f"train_dataset.prepare[{place}]"][1]: states[f"train_dataset.gate[{place}]"][1]
            for states in tasks
            for place in range(2)
            if f"train_dataset.prepare[{place}]" in states
        }
        return verdicts if len(verdicts) == 2 else None

    verdicts = wait_until(read_verdicts, 900, "two trainings, in one run or in two")
    assert verdicts.keys() == {"iris", "passengers"}
    assert all(verdicts.values()), verdicts

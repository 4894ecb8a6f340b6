from __future__ import annotations

import json
from datetime import datetime

import pytest
from pydantic import SecretStr
from typer.testing import CliRunner, Result

from ml_code.settings import Settings
from mlops.airflow_api import RunState
from mlops.app import app
from mlops.commands import status
from mlops.errors import NoAnswerError

NOWHERE = "http://127.0.0.1:1"


class FakeAirflow:
    url = "http://airflow"

    def __init__(self) -> None:
        self.health = {"scheduler": "healthy", "triggerer": "healthy", "dag_processor": "healthy"}
        self.runs = [
            RunState("mlops_training_pipeline", "one", "running", "2026-11-28T10:00:00Z"),
            RunState("etl_example", "two", "failed", "2026-11-28T09:00:00Z"),
            RunState("model_serving_pipeline", "three", "failed", "2026-11-28T08:00:00Z"),
        ]
        self.is_away = False

    def read_health(self) -> dict[str, str]:
        if self.is_away:
            raise NoAnswerError("Airflow: expected an answer, found none")
        return self.health

    def list_notable_runs(self, since: datetime) -> list[RunState]:
        return self.runs

    def close(self) -> None:
        pass


@pytest.fixture
def airflow(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> FakeAirflow:
    """A stack in which everything answers."""
    fake = FakeAirflow()
    monkeypatch.setattr(status, "load_host_settings", lambda: settings)
    monkeypatch.setattr(status, "connect_airflow", lambda _: fake)
    for ask in ("_ask_mlflow", "_ask_store", "_ask_gateway"):
        monkeypatch.setattr(status, ask, lambda _: None)
    monkeypatch.setattr(status, "_read_retrainings", lambda _: [])
    return fake


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["status", *arguments], env={"COLUMNS": "80"})


def read_states() -> tuple[int, dict[str, str]]:
    done = run("--json")
    return done.exit_code, {row["part"]: row["state"] for row in json.loads(done.stdout)}


def test_a_stack_that_answers_has_exit_code_0(airflow: FakeAirflow) -> None:
    code, states = read_states()
    assert code == 0
    assert set(states.values()) == {"answers"}
    parts = ["MLflow", "warehouse", "object store", "gateway", "Airflow", "scheduler", "triggerer", "dag-processor"]
    assert list(states) == parts


def test_each_part_of_airflow_is_named_and_the_unhealthy_one_is_a_failure(airflow: FakeAirflow) -> None:
    airflow.health["triggerer"] = "unhealthy"
    code, states = read_states()
    assert code == 1
    assert states["triggerer"] == "unhealthy: `docker compose logs airflow-triggerer` says why"
    assert states["scheduler"] == "answers"


def test_an_airflow_that_does_not_answer_is_one_part_that_fails(airflow: FakeAirflow) -> None:
    airflow.is_away = True
    code, states = read_states()
    assert code == 1
    assert states["Airflow"].startswith("Airflow: expected an answer")
    assert "scheduler" not in states


def test_runs_of_the_loop_are_shown_failed_ones_first_within_80_columns(airflow: FakeAirflow) -> None:
    done = run()
    assert done.exit_code == 0
    assert max(map(len, done.stdout.splitlines())) <= 80
    shown = [line.split()[:2] for line in done.stdout.splitlines() if "_pipeline" in line or "etl" in line]
    assert shown == [["model_serving_pipeline", "failed"], ["mlops_training_pipeline", "running"]]
    [row] = [row for row in json.loads(run("--json").stdout) if row["part"] == "Airflow"]
    assert [found["run_id"] for found in row["runs"]] == ["three", "one"]


def test_no_more_than_ten_runs_are_shown(airflow: FakeAirflow) -> None:
    airflow.runs = [RunState("housekeeping", str(n), "failed", "2026-11-28T10:00:00Z") for n in range(12)]
    shown = run().stdout
    assert shown.count("housekeeping") == 10
    assert "and 2 more" in shown


def test_the_last_retraining_of_each_model_is_told(airflow: FakeAirflow, monkeypatch: pytest.MonkeyPatch) -> None:
    found = {"model": "iris", "outcome": "held", "says": "version 4 waits for a person (`mlops deploy iris 4`)"}
    monkeypatch.setattr(status, "_read_retrainings", lambda _: [found])
    assert "- iris: version 4 waits for a person (`mlops deploy iris 4`)" in run().stdout
    [row] = [row for row in json.loads(run("--json").stdout) if row["part"] == "warehouse"]
    assert row["retrainings"] == [found]
    monkeypatch.setattr(status, "_read_retrainings", lambda _: [])
    assert "retraining" not in run().stdout


@pytest.mark.parametrize("dag_id", ["model_retraining", "ab_test"])
def test_a_failed_retraining_or_comparison_is_a_run_of_the_loop(dag_id: str) -> None:
    runs = [RunState(dag_id, "one", "failed", "2026-11-28T10:00:00Z")]
    assert [run["dag_id"] for run in status.select_runs(runs)] == [dag_id]


def test_without_a_login_airflow_is_not_checked(
    settings: Settings, airflow: FakeAirflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(status, "load_host_settings", lambda: settings)
    for ask in ("_ask_mlflow", "_ask_store", "_ask_gateway"):
        monkeypatch.setattr(status, ask, lambda _: None)
    monkeypatch.setattr(status, "_read_retrainings", lambda _: [])
    code, states = read_states()
    assert code == 0
    assert states["Airflow"].startswith("not checked: settings: found no address or no password of Airflow")


def test_what_does_not_answer_is_a_failure_in_its_words(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    further = {"gateway_url": NOWHERE, "s3_endpoint_url": NOWHERE, "airflow_url": NOWHERE}
    nowhere = settings.model_copy(update={**further, "airflow_password": SecretStr("secret")})
    monkeypatch.setattr(status, "load_host_settings", lambda: nowhere)
    code, states = read_states()
    assert code == 1
    assert list(states) == ["MLflow", "warehouse", "object store", "gateway", "Airflow"]
    assert "MLOPS_WAREHOUSE_DSN" in states["warehouse"]
    assert "answers" not in {states["MLflow"], states["warehouse"], states["gateway"], states["Airflow"]}

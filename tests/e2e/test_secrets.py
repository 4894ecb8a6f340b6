"""Where the secrets of .env are: in the containers of docs/security.md, and in no log, image or answer of Airflow."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.e2e.airflow import Airflow
from tests.e2e.secret_search import find_holders, find_in_images, find_secrets, read_secrets
from tests.e2e.stack import Stack, docker
from tests.repo.test_compose_rights import SECRETS
from tests.waiting import wait_until

PAGES = (
    "connections", "variables", "pools", "eventLogs", "importErrors", "plugins", "providers", "jobs", "assets/events",
    "dags", "dags/~/dagRuns", "dags/~/dagRuns/~/taskInstances", "dags/~/dagRuns/~/hitlDetails",
    "dags/~/dagRuns/~/taskInstances/~/xcomEntries", "dagWarnings",
)  # fmt: skip
"""Lists of Airflow's API, which hands out a hundred entries at once."""
PAGE = 100


@pytest.fixture(scope="module")
def secrets(stack: Stack) -> dict[str, str]:
    secrets = read_secrets(stack)
    assert len(secrets) >= 15
    return secrets


@pytest.fixture(scope="module")
def leaked(stack: Stack, airflow: Airflow) -> str:
    """Id of a run whose task has shown its whole environment, as far as Airflow allows."""
    shutil.copy(Path(__file__).parent / "dags/leak.py", stack.folder / "dags")
    wait_until(lambda: airflow.client.get("/dags/leak").status_code == 200, 400, "the DAG leak appears")
    airflow.unpause("leak")
    run_id = airflow.trigger("leak")
    assert airflow.wait_for_run("leak", run_id) == "failed"
    return run_id


def test_a_container_holds_the_secrets_of_its_row(stack: Stack, secrets: dict[str, str]) -> None:
    # The two of them open and name nothing here, and are empty.
    expected = {service: held & set(secrets) for service, held in SECRETS.items()}
    assert find_holders(stack, secrets) == expected


def test_no_image_holds_a_secret(stack: Stack, secrets: dict[str, str]) -> None:
    assert find_in_images(stack, secrets) == {"airflow": set(), "mlflow": set(), "serving": set()}


def test_a_task_that_shows_its_environment_shows_no_secret(
    airflow: Airflow, leaked: str, secrets: dict[str, str]
) -> None:
    path = f"/dags/leak/dagRuns/{quote(leaked, safe='')}/taskInstances/show"
    log = json.dumps(airflow.get(f"{path}/logs/1"))
    assert log.count("MLOPS_MLFLOW_PASSWORD=***") >= 4, log[-3000:]
    assert find_secrets(log, secrets) == set()
    rendered = airflow.get(path)["rendered_fields"]
    assert "MLOPS_MLFLOW_PASSWORD" in json.dumps(rendered)
    assert find_secrets(json.dumps(rendered), secrets) == set()


@pytest.mark.usefixtures("leaked")
def test_no_log_shows_a_secret(stack: Stack, secrets: dict[str, str]) -> None:
    [scheduler] = stack.containers("airflow-scheduler")
    files = docker("exec", scheduler, "find", "/opt/airflow/logs", "-type", "f", "-exec", "cat", "{}", "+").stdout
    assert "MLOPS_MLFLOW_PASSWORD=***" in files
    assert find_secrets(files, secrets) == set()
    assert find_secrets(stack.compose("logs", "--no-color").stdout, secrets) == set()


@pytest.mark.usefixtures("leaked")
@pytest.mark.parametrize("page", PAGES)
def test_no_answer_of_airflow_shows_a_secret(airflow: Airflow, page: str, secrets: dict[str, str]) -> None:
    total, offset = 1, 0
    while offset < total:
        answer = airflow.get(f"/{page}", limit=PAGE, offset=offset)
        assert find_secrets(json.dumps(answer), secrets) == set()
        total, offset = answer["total_entries"], offset + PAGE


def test_airflow_does_not_show_its_configuration(airflow: Airflow) -> None:
    assert airflow.client.get("/config").status_code == 403

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import mlflow
import pytest

from ml_code.settings import REPOSITORY, Settings
from ml_code.tracking import Tracker
from tests.servers import MlflowServer

BINARIES = Path(sys.executable).parent


@pytest.fixture
def environment(stack_settings: Settings) -> dict[str, str]:
    """Of a shell whose settings name the stack, and nothing else of ours."""
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "MLOPS_", "AWS_"))},
        "PATH": f"{BINARIES}:{os.environ['PATH']}",
        "COLUMNS": "200",
        "MLOPS_MLFLOW_URL": stack_settings.mlflow_url,
        "MLOPS_MLFLOW_USERNAME": stack_settings.mlflow_username,
        "MLOPS_MLFLOW_PASSWORD": stack_settings.mlflow_password.get_secret_value(),
        "MLOPS_S3_ENDPOINT_URL": stack_settings.s3_endpoint_url,
        "MLOPS_S3_ACCESS_KEY": stack_settings.s3_access_key,
        "MLOPS_S3_SECRET_KEY": stack_settings.s3_secret_key.get_secret_value(),
    }


def run(*command: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, check=False, env=environment, cwd=REPOSITORY, capture_output=True, text=True, timeout=900
    )


def test_a_model_is_trained_and_registered_from_a_shell(environment: dict[str, str], stack_settings: Settings) -> None:
    options = ["--model-type", "xgboost", "--hyperparameters", '{"n_estimators": 20}']
    done = run("mlops", "train", "--dataset", "iris", *options, environment=environment)
    assert done.returncode == 0, done.stderr
    newest = Tracker(stack_settings).list_versions("iris")[0]
    assert f"Registered iris version {newest.version}. It is not served yet" in done.stdout
    assert f"Then: mlops deploy iris {newest.version}" in done.stdout
    assert newest.tags["model_type"] == "xgboost"


def test_mlflow_run_uses_its_own_run(
    environment: dict[str, str], stack_settings: Settings, mlflow_server: MlflowServer
) -> None:
    environment |= {
        "MLFLOW_TRACKING_URI": mlflow_server.url,
        "MLFLOW_TRACKING_USERNAME": "trainer",
        "MLFLOW_TRACKING_PASSWORD": mlflow_server.passwords["trainer"],
    }
    Tracker(stack_settings)
    if mlflow.get_experiment_by_name("projects") is None:
        mlflow.create_experiment("projects")
    options = ["-P", "dataset=iris", "-P", "model_type=lightgbm", "--env-manager", "local"]
    done = run("mlflow", "run", ".", *options, "--experiment-name", "projects", environment=environment)
    assert done.returncode == 0, done.stderr
    [found] = mlflow.MlflowClient().search_runs([mlflow.get_experiment_by_name("projects").experiment_id])
    assert found.info.status == "FINISHED"
    assert found.data.metrics["accuracy"] >= 0.85
    assert found.data.tags["dataset"] == "iris"
    assert len(Tracker(stack_settings).list_versions("iris", found.info.run_id)) == 1


def test_a_server_that_is_not_there_is_one_line_and_exit_code_1(environment: dict[str, str]) -> None:
    done = run(
        "mlops", "train", "--dataset", "iris", environment=environment | {"MLOPS_S3_ENDPOINT_URL": "http://127.0.0.1:1"}
    )
    assert done.returncode == 1
    assert done.stdout == ""
    assert "error: object s3://datasets/versions/iris.json: " in done.stderr
    assert "Traceback" not in done.stderr

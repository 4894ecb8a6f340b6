"""The DAGs run by Airflow itself, without Docker, against a real MLflow, object store and replica."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from ml_code.settings import Settings
from tests.integration.serving.replica import Replica, run_replica
from tests.servers import MlflowServer, PostgresServer

DAGS = Path(__file__).parents[3] / "dags"


@pytest.fixture(scope="module")
def replica(tmp_path_factory: pytest.TempPathFactory, mlflow_server: MlflowServer) -> Iterator[Replica]:
    folder = tmp_path_factory.mktemp("replica")
    with run_replica(folder, mlflow_server.url, mlflow_server.passwords["serving"]) as replica:
        yield replica
    # The server is shared with tests that expect no champion.
    url = f"{mlflow_server.url}/api/2.0/mlflow/registered-models/delete"
    httpx.request("DELETE", url, json={"name": "iris"}, auth=mlflow_server.auth("admin")).raise_for_status()


@pytest.fixture(scope="module")
def environment(
    tmp_path_factory: pytest.TempPathFactory, postgres: PostgresServer, stack_settings: Settings, replica: Replica
) -> dict[str, str]:
    postgres.create_database("airflow_dags")
    password = stack_settings.mlflow_password.get_secret_value()
    values = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "MLOPS_"))},
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "AIRFLOW_HOME": str(tmp_path_factory.mktemp("airflow")),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": postgres.sqlalchemy_url("airflow_dags"),
        "AIRFLOW__CORE__DAGS_FOLDER": str(DAGS),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "MLOPS_MLFLOW_URL": stack_settings.mlflow_url,
        "MLOPS_MLFLOW_USERNAME": stack_settings.mlflow_username,
        "MLOPS_MLFLOW_PASSWORD": password,
        "MLOPS_S3_ENDPOINT_URL": stack_settings.s3_endpoint_url,
        "MLOPS_S3_ACCESS_KEY": stack_settings.s3_access_key,
        "MLOPS_S3_SECRET_KEY": stack_settings.s3_secret_key.get_secret_value(),
        "ROLLOUT_MLFLOW_URL": stack_settings.mlflow_url,
        "ROLLOUT_MLFLOW_USERNAME": stack_settings.mlflow_username,
        "ROLLOUT_MLFLOW_PASSWORD": password,
        "ROLLOUT_STABLE_HOST": "127.0.0.1",
        "ROLLOUT_CANARY_HOST": "",
        "ROLLOUT_PORT": str(urlsplit(replica.url).port),
    }
    subprocess.run(["airflow", "db", "migrate"], env=values, check=True, capture_output=True)
    return values


def run_dag(environment: dict[str, str], dag_id: str, **conf: object) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "tests.integration.dags.run_dag", dag_id, json.dumps(conf)],
        env=environment,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    result: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    result["log"] = done.stdout + done.stderr
    return result


def test_training_and_rollout_end_with_a_replica_that_answers(environment: dict[str, str], replica: Replica) -> None:
    trained = run_dag(environment, "mlops_training_pipeline", dataset="iris", model_type="lightgbm", force=True)
    assert trained["state"] == "success", trained["log"][-3000:]
    assert trained["tasks"]["train_dataset.promoted[0]"] == "success"
    assert trained["tasks"]["train_dataset.rejected[0]"] == "skipped"
    rolled_out = run_dag(environment, "model_serving_pipeline", model="iris")
    assert rolled_out["state"] == "success", rolled_out["log"][-3000:]
    assert replica.predict().json()["predictions"] == [0]


def test_a_training_that_is_no_better_ends_in_rejected(environment: dict[str, str]) -> None:
    trained = run_dag(environment, "mlops_training_pipeline", dataset="iris", model_type="lightgbm")
    assert trained["state"] == "success", trained["log"][-3000:]
    assert trained["tasks"]["train_dataset.rejected[0]"] == "success"
    assert trained["tasks"]["train_dataset.register[0]"] == "skipped"


def test_a_wrong_hyperparameter_is_refused_with_the_allowed_ones(environment: dict[str, str]) -> None:
    trained = run_dag(environment, "mlops_training_pipeline", dataset="iris", hyperparameters={"trees": 5})
    assert trained["state"] == "failed"
    assert "found the unknown trees, expected some of n_estimators" in trained["log"]

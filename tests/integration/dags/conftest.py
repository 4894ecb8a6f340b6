"""The environments in which Airflow runs the DAGs without Docker: databases, object store, MLflow, a replica."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from ml_code.settings import Settings
from ml_code.warehouse import Warehouse
from tests.integration.serving.replica import Replica, run_replica
from tests.servers import MlflowServer, ObjectStore, PostgresServer

REPOSITORY = Path(__file__).parents[3]
NOWHERE = "http://127.0.0.1:1"


@pytest.fixture(scope="session")
def airflow_environment(
    tmp_path_factory: pytest.TempPathFactory, postgres: PostgresServer, object_store: ObjectStore
) -> dict[str, str]:
    """Airflow, the warehouse and the object store; nothing answers as MLflow."""
    postgres.create_database("airflow_dags")
    warehouse_dsn = postgres.create_database("warehouse_dags")
    Warehouse(warehouse_dsn).migrate()
    values = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "MLOPS_"))},
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "AIRFLOW_HOME": str(tmp_path_factory.mktemp("airflow")),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": postgres.sqlalchemy_url("airflow_dags"),
        "AIRFLOW__CORE__DAGS_FOLDER": str(REPOSITORY / "dags"),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(REPOSITORY / "plugins"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW_CONN_AWS_DEFAULT": describe_connection(object_store),
        "MLOPS_MLFLOW_URL": NOWHERE,
        "MLOPS_MLFLOW_USERNAME": "trainer",
        "MLOPS_MLFLOW_PASSWORD": "secret",
        "MLOPS_S3_ENDPOINT_URL": object_store.url,
        "MLOPS_S3_ACCESS_KEY": object_store.access_key,
        "MLOPS_S3_SECRET_KEY": object_store.secret_key,
        "MLOPS_WAREHOUSE_DSN": warehouse_dsn,
    }
    subprocess.run(["airflow", "db", "migrate"], env=values, check=True, capture_output=True)
    return values


@pytest.fixture(scope="module")
def replica(tmp_path_factory: pytest.TempPathFactory, mlflow_server: MlflowServer) -> Iterator[Replica]:
    folder = tmp_path_factory.mktemp("replica")
    with run_replica(folder, mlflow_server.url, mlflow_server.passwords["serving"]) as replica:
        yield replica
    # The server is shared with tests that expect no champion.
    url = f"{mlflow_server.url}/api/2.0/mlflow/registered-models/delete"
    httpx.request("DELETE", url, json={"name": "iris"}, auth=mlflow_server.auth("admin")).raise_for_status()


@pytest.fixture(scope="module")
def environment(airflow_environment: dict[str, str], stack_settings: Settings, replica: Replica) -> dict[str, str]:
    """All of the stack: what `airflow_environment` has, MLflow, and one replica that serves."""
    password = stack_settings.mlflow_password.get_secret_value()
    return {
        **airflow_environment,
        "MLOPS_MLFLOW_URL": stack_settings.mlflow_url,
        "MLOPS_MLFLOW_USERNAME": stack_settings.mlflow_username,
        "MLOPS_MLFLOW_PASSWORD": password,
        "ROLLOUT_MLFLOW_URL": stack_settings.mlflow_url,
        "ROLLOUT_MLFLOW_USERNAME": stack_settings.mlflow_username,
        "ROLLOUT_MLFLOW_PASSWORD": password,
        "ROLLOUT_STABLE_HOST": "127.0.0.1",
        "ROLLOUT_CANARY_HOST": "",
        "ROLLOUT_PORT": str(urlsplit(replica.url).port),
    }


def describe_connection(store: ObjectStore) -> str:
    """The connection `aws_default` to an object store, as Airflow reads it from the environment."""
    return json.dumps(
        {
            "conn_type": "aws",
            "login": store.access_key,
            "password": store.secret_key,
            "extra": {"endpoint_url": store.url, "region_name": "us-east-1"},
        }
    )

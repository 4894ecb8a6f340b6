"""The environments in which Airflow runs the DAGs without Docker: a replica beside the shared servers."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from ml_code.settings import Settings
from tests.integration.serving.replica import Replica, run_replica
from tests.servers import MlflowServer


@pytest.fixture(scope="module")
def replica(tmp_path_factory: pytest.TempPathFactory, mlflow_server: MlflowServer) -> Iterator[Replica]:
    folder = tmp_path_factory.mktemp("replica")
    with run_replica(folder, mlflow_server.url, mlflow_server.passwords["serving"]) as replica:
        yield replica
    # The server is shared with tests that expect no champion.
    mlflow_server.delete_models()


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
        "MLOPS_GATEWAY_URL": replica.url,
        "ROLLOUT_STABLE_HOST": "127.0.0.1",
        "ROLLOUT_CANARY_HOST": "",
        "ROLLOUT_PORT": str(urlsplit(replica.url).port),
    }

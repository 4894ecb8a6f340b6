from __future__ import annotations

import httpx
import psycopg2
import pytest

from tests.servers import MlflowServer, ObjectStore, PostgresServer


def test_postgres_refuses_a_wrong_password(postgres: PostgresServer) -> None:
    with pytest.raises(psycopg2.OperationalError, match="password authentication failed"):
        psycopg2.connect(postgres.dsn().replace(postgres.password, "wrong"))


def test_the_object_store_refuses_a_request_without_a_signature(object_store: ObjectStore) -> None:
    assert httpx.get(f"{object_store.url}/datasets").status_code in {400, 403}


@pytest.mark.parametrize("user", ["admin", "trainer", "serving"])
def test_mlflow_knows_its_users(mlflow_server: MlflowServer, user: str) -> None:
    answer = httpx.get(f"{mlflow_server.url}/api/2.0/mlflow/users/current", auth=mlflow_server.auth(user))
    assert answer.json()["user"]["username"] == user


def test_mlflow_refuses_nobody(mlflow_server: MlflowServer) -> None:
    answer = httpx.get(f"{mlflow_server.url}/api/2.0/mlflow/experiments/get?experiment_id=0")
    assert answer.status_code == 401

"""Airflow on this machine: a migrated database of its own, and the environment that its processes run in."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from ml_code.warehouse import Warehouse
from tests.servers import ObjectStore, PostgresServer

REPOSITORY = Path(__file__).parents[2]


def prepare_airflow(home: Path, postgres: PostgresServer, store: ObjectStore, name: str) -> dict[str, str]:
    """Makes the databases `airflow_<name>` and `warehouse_<name>`; nothing answers where MLflow would."""
    postgres.create_database(f"airflow_{name}")
    warehouse_dsn = postgres.create_database(f"warehouse_{name}")
    Warehouse(warehouse_dsn).migrate()
    values = {
        **{key: value for key, value in os.environ.items() if not key.startswith(("AIRFLOW", "MLOPS_"))},
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": postgres.sqlalchemy_url(f"airflow_{name}"),
        "AIRFLOW__CORE__DAGS_FOLDER": str(REPOSITORY / "dags"),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(REPOSITORY / "plugins"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW_CONN_AWS_DEFAULT": describe_connection(store),
        "MLOPS_MLFLOW_URL": "http://127.0.0.1:1",
        "MLOPS_MLFLOW_USERNAME": "trainer",
        "MLOPS_MLFLOW_PASSWORD": "secret",
        "MLOPS_S3_ENDPOINT_URL": store.url,
        "MLOPS_S3_ACCESS_KEY": store.access_key,
        "MLOPS_S3_SECRET_KEY": store.secret_key,
        "MLOPS_WAREHOUSE_DSN": warehouse_dsn,
    }
    subprocess.run(["airflow", "db", "migrate"], env=values, check=True, capture_output=True)
    return values


def describe_connection(store: ObjectStore) -> str:
    """The connection `aws_default` to an object store, as Airflow reads it from the environment."""
    fields = {
        "conn_type": "aws",
        "login": store.access_key,
        "password": store.secret_key,
        "extra": {"endpoint_url": store.url, "region_name": "us-east-1"},
    }
    return json.dumps(fields)

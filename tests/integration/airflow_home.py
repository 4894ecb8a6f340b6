"""Airflow on this machine: a migrated database of its own, and the environment that its processes run in."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from ml_code.warehouse import Warehouse
from tests.integration.airflow_process import run_in_airflow
from tests.servers import ObjectStore, PostgresServer

REPOSITORY = Path(__file__).parents[2]


AIRFLOW = {
    "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    "AIRFLOW__CORE__PLUGINS_FOLDER": str(REPOSITORY / "plugins"),
    "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
}


def migrate_airflow(home: Path, postgres: PostgresServer) -> str:
    """Makes a database with Airflow's tables, to be copied, and returns its name."""
    name = "airflow_template"
    postgres.create_database(name)
    environment = make_airflow_environment(home, postgres.sqlalchemy_url(name), REPOSITORY / "dags")
    run_in_airflow(environment, "tests.integration.airflow_process:migrate")
    return name


def prepare_airflow(home: Path, postgres: PostgresServer, store: ObjectStore, name: str) -> dict[str, str]:
    """Makes `warehouse_<name>` for Airflow's database `name`; nothing answers where MLflow would."""
    warehouse_dsn = postgres.create_database(f"warehouse_{name}")
    Warehouse(warehouse_dsn).migrate()
    return {
        **make_airflow_environment(home, postgres.sqlalchemy_url(name), REPOSITORY / "dags"),
        "AIRFLOW_CONN_AWS_DEFAULT": describe_connection(store),
        "MLOPS_MLFLOW_URL": "http://127.0.0.1:1",
        "MLOPS_MLFLOW_USERNAME": "trainer",
        "MLOPS_MLFLOW_PASSWORD": "secret",
        "MLOPS_GATE_SIGNING_KEY": "key-of-the-tests",
        "MLOPS_S3_ENDPOINT_URL": store.url,
        "MLOPS_S3_ACCESS_KEY": store.access_key,
        "MLOPS_S3_SECRET_KEY": store.secret_key,
        "MLOPS_WAREHOUSE_DSN": warehouse_dsn,
    }


def make_airflow_environment(home: Path, database_url: str, dags: Path) -> dict[str, str]:
    """This process's environment, with one Airflow and without the settings of another."""
    return {
        **{key: value for key, value in os.environ.items() if not key.startswith(("AIRFLOW", "MLOPS_"))},
        **AIRFLOW,
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": database_url,
        "AIRFLOW__CORE__DAGS_FOLDER": str(dags),
    }


def describe_connection(store: ObjectStore) -> str:
    """The connection `aws_default` to an object store, as Airflow reads it from the environment."""
    fields = {
        "conn_type": "aws",
        "login": store.access_key,
        "password": store.secret_key,
        "extra": {"endpoint_url": store.url, "region_name": "us-east-1"},
    }
    return json.dumps(fields)

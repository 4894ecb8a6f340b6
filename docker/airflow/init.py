"""Prepares the start of Airflow: schemas, the admin, connections and pools. Safe to repeat."""

from __future__ import annotations

import json
import os
import sys
from typing import Any

MONITOR_READS = [("can_read", what) for what in ("DAGs", "DAG Runs", "Pools", "ImportError")]
"""All that the monitoring may do in Airflow: no log, no value between tasks, no code."""


def say(message: str) -> None:
    """Prints without a buffer, so that messages and Airflow's log lines stay in order."""
    print(message, flush=True)


def migrate_airflow() -> None:
    """Migrates Airflow's schema in this process: another process would import Airflow once more."""
    from airflow.cli import cli_parser

    arguments = cli_parser.get_parser().parse_args(["db", "migrate"])
    arguments.func(arguments)
    say("database airflow: migrated")


def migrate_warehouse() -> None:
    """Applies the pending migrations of the warehouse as the owner of its tables, whom tasks do not know."""
    from ml_code.errors import WarehouseError
    from ml_code.warehouse import Warehouse

    try:
        applied = Warehouse(os.environ["WAREHOUSE_OWNER_DSN"]).migrate()
    except WarehouseError as error:
        sys.exit(f"FAIL: {error}")
    say(f"database warehouse: {', '.join(applied) or 'nothing'} applied")


def ensure_admin() -> None:
    """Creates the admin, or sets the password of .env."""
    from airflow.providers.fab.auth_manager.cli_commands.utils import get_application_builder
    from werkzeug.security import check_password_hash

    name, password = os.environ["AIRFLOW_ADMIN_USERNAME"], os.environ["AIRFLOW_ADMIN_PASSWORD"]
    with get_application_builder() as builder:
        security = builder.sm
        user = security.find_user(username=name)
        if user is None:
            role = security.find_role("Admin")
            security.add_user(name, "Admin", "", f"{name}@localhost", role, password=password)
            say(f"user {name}: created")
        elif not check_password_hash(user.password, password):
            security.reset_password(user.id, password)
            say(f"user {name}: password set")
        else:
            say(f"user {name}: found")


def ensure_monitor() -> None:
    """Creates the user of the monitoring, or sets its password, where the profile observability gives one."""
    from airflow.providers.fab.auth_manager.cli_commands.utils import get_application_builder
    from werkzeug.security import check_password_hash

    if not (password := os.environ.get("AIRFLOW_MONITOR_PASSWORD")):
        return
    with get_application_builder() as builder:
        security = builder.sm
        security.bulk_sync_roles([{"role": "Monitor", "perms": MONITOR_READS}])
        user = security.find_user(username="monitor")
        if user is None:
            role = security.find_role("Monitor")
            security.add_user("monitor", "Monitor", "", "monitor@localhost", role, password=password)
        elif not check_password_hash(user.password, password):
            security.reset_password(user.id, password)
        say("user monitor: ready")


def connections() -> dict[str, dict[str, Any]]:
    """Returns the preset connections by id. An empty setting becomes a connection with an empty password."""
    from psycopg2.extensions import parse_dsn

    environment = os.environ
    warehouse = parse_dsn(environment["MLOPS_WAREHOUSE_DSN"])
    return {
        "aws_default": {
            "conn_type": "aws",
            "login": environment["MLOPS_S3_ACCESS_KEY"],
            "password": environment["MLOPS_S3_SECRET_KEY"],
            "extra": json.dumps({"endpoint_url": environment["MLOPS_S3_ENDPOINT_URL"], "region_name": "us-east-1"}),
        },
        "warehouse_default": {
            "conn_type": "postgres",
            "host": warehouse["host"],
            "port": int(warehouse["port"]),
            "schema": warehouse["dbname"],
            "login": warehouse["user"],
            "password": warehouse["password"],
        },
        "my_webhook": {
            "conn_type": "slackwebhook",
            "host": "https://hooks.slack.com/services",
            "password": environment.get("SLACK_WEBHOOK_URL", "").removeprefix("https://hooks.slack.com/services/"),
        },
        "kma_api": {
            "conn_type": "http",
            "host": "https://apis.data.go.kr/1360000/VilageFcstInfoService_2.0",
            "password": environment.get("KMA_SERVICE_KEY", ""),
        },
    }


def ensure_connections_and_pools() -> None:
    """Sets the preset connections to the values of .env, and creates the pool that trainings share."""
    from airflow.models import Connection, Pool
    from airflow.utils.session import create_session
    from sqlalchemy import delete, select

    with create_session() as session:
        for conn_id, fields in connections().items():
            session.execute(delete(Connection).where(Connection.conn_id == conn_id))
            session.add(Connection(conn_id=conn_id, description="set by airflow-init from .env", **fields))
            say(f"connection {conn_id}: set")
        if session.scalar(select(Pool).where(Pool.pool == "training")) is None:
            session.add(Pool(pool="training", slots=1, description="one training at a time", include_deferred=False))
            say("pool training: created with 1 slot")


if __name__ == "__main__":
    # First, because it refuses the databases of a newer version, and then nothing is changed.
    migrate_warehouse()
    migrate_airflow()
    ensure_admin()
    ensure_monitor()
    ensure_connections_and_pools()

"""The users of the monitoring on real servers: what they read, and that they read nothing else."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import datetime
from pathlib import Path

import httpx
import psycopg2
import psycopg2.errors
import pytest

from ml_code.warehouse import Warehouse
from mlops.airflow_api import AirflowApi
from mlops.exporter.airflow import AirflowSource
from mlops.exporter.warehouse import WarehouseSource
from serving.rollout.promotion_log import WarehouseLog
from tests.integration.airflow_server import DAG, AirflowServer, run_airflow_server
from tests.integration.postgres_roles import HBA, INITDB, address, run_init, run_sql
from tests.ports import free_port
from tests.servers import PostgresServer, run_postgres
from tests.waiting import wait_until

PASSWORD = secrets.token_hex(16)
WINDOWS = [
    ("2026-11-20", "2026-11-21", 0.9, 40, 0.4, False),
    ("2026-11-21", "2026-11-22", 0.7, 10, 0.1, True),
    ("2026-11-22", "2026-11-23", None, 0, 0.0, False),
]
"""Start, end, score, labelled answers of a hundred, coverage, and whether labels are few."""


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with run_postgres(HBA, INITDB) as server:
        assert run_init(server).returncode == 0
        Warehouse(address(server, "warehouse_owner", "warehouse")).migrate()
        yield server


@pytest.fixture(scope="module")
def monitor(server: PostgresServer) -> str:
    """The DSN of the monitoring, in a warehouse with a champion, windows, verdicts and collections."""
    dsn = address(server, "warehouse", "warehouse")
    log = WarehouseLog(Warehouse(dsn))
    log.record("iris", "promote", "ada", "better", from_version=None, to_version="1")
    log.record("iris", "promote", "ada", "better", from_version="1", to_version="2")
    log.record("iris", "freeze", "ada", "holiday")
    for start, end, score, labelled, coverage, is_few in WINDOWS:
        values = f"'{start}', '{end}', '', 'accuracy', {score or 'NULL'}, 0.6, 0.95, 100, {labelled}, {coverage}, 0.93"
        run_sql(
            dsn,
            "INSERT INTO warehouse.live_metric (model, version, variant, window_start, window_end, slice, metric, "
            "score, low, high, rows, labelled, coverage, holdout, labels_digest, has_few_labels) "
            f"VALUES ('iris', '2', 'champion', {values}, 'd', {is_few})",
        )
    for day, verdict in (("20", "clean"), ("21", "drift")):
        run_sql(
            dsn,
            "INSERT INTO warehouse.drift_window (model, version, window_start, window_end, verdict, rows, figures) "
            f"VALUES ('iris', '2', '2026-11-{day}', '2026-11-{int(day) + 1}', '{verdict}', 300, '{{}}')",
        )
    run_sql(
        dsn,
        "INSERT INTO warehouse.prediction_collection (collection, began_at, segments, rows, dropped, torn, unreadable) "
        "VALUES ('a', '2026-11-22 10:00Z', 1, 5, 0, 1, 0), ('b', '2026-11-22 10:10Z', 1, 5, 0, 2, 3)",
    )
    run_sql(
        address(server, "warehouse_owner", "warehouse"),
        "INSERT INTO warehouse.backup VALUES ('a', '2026-11-21 03:00Z', '2026-11-21 03:05Z', 9), "
        "('b', '2026-11-22 03:00Z', '2026-11-22 03:04Z', 9)",
    )
    return address(server, "monitor", "warehouse")


def read_samples(dsn: str) -> dict[str, float]:
    metrics = WarehouseSource(Warehouse(dsn)).read()
    return {"/".join((s.name, *s.labels.values())): s.value for metric in metrics for s in metric.samples}


def test_the_newest_figures_of_each_kind_are_read(monitor: str) -> None:
    found = read_samples(monitor)
    assert [name for name in found if name.startswith("mlops_champion_moved")] == [
        "mlops_champion_moved_timestamp_seconds/iris/2"
    ]
    assert found["mlops_live_score/iris/2/accuracy"] == 0.7
    assert found["mlops_holdout_score/iris/2/accuracy"] == 0.93
    assert found["mlops_label_coverage_ratio/iris"] == 0
    assert found["mlops_live_has_few_labels/iris"] == 0
    assert found["mlops_live_window_rows/iris"] == 100
    verdicts = {name.rpartition("/")[2]: value for name, value in found.items() if "verdict" in name}
    assert verdicts == {"clean": 0, "drift": 1, "quality": 0, "no verdict": 0}
    complete = datetime.fromisoformat("2026-11-22T10:10:00Z").timestamp()
    assert found["mlops_prediction_log_collected_timestamp_seconds"] == complete
    assert found["mlops_prediction_log_damaged_total/torn"] == 3
    assert found["mlops_prediction_log_damaged_total/unreadable"] == 3
    backed_up = datetime.fromisoformat("2026-11-22T03:04:00Z").timestamp()
    assert found["mlops_backup_end_timestamp_seconds"] == backed_up
    assert found["mlops_postgres_connections/warehouse"] >= 1
    assert found["mlops_postgres_connections_limit"] > found["mlops_postgres_connections/warehouse"]


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT who FROM warehouse.promotion_log",
        "SELECT why FROM warehouse.promotion_log",
        "SELECT * FROM warehouse.rollout",
        "SELECT figures FROM warehouse.drift_window",
        "SELECT * FROM warehouse.employees",
        "SELECT * FROM warehouse.label_token",
        "SET transaction_read_only = off; DELETE FROM warehouse.live_metric",
        "SET transaction_read_only = off; CREATE TABLE warehouse.mine (x int)",
        "SET ROLE warehouse",
    ],
)
def test_the_role_reads_no_text_of_people_and_writes_nothing(monitor: str, statement: str) -> None:
    with pytest.raises(psycopg2.errors.InsufficientPrivilege):
        run_sql(monitor, statement)


def test_the_role_writes_nothing_unless_it_asks_to(monitor: str) -> None:
    with pytest.raises(psycopg2.errors.ReadOnlySqlTransaction):
        run_sql(monitor, "CREATE TEMPORARY TABLE mine (x int)")


def test_the_role_opens_the_warehouse_alone(server: PostgresServer, monitor: str) -> None:
    psycopg2.connect(monitor).close()
    for other in ("airflow", "mlflow", "postgres"):
        with pytest.raises(psycopg2.OperationalError, match=r"no pg_hba\.conf entry"):
            psycopg2.connect(address(server, "monitor", other))


def test_without_the_profile_the_role_does_not_log_in(server: PostgresServer, monitor: str) -> None:
    try:
        assert run_init(server, MONITOR_DB_PASSWORD="").returncode == 0
        with pytest.raises(psycopg2.OperationalError, match="password authentication failed"):
            psycopg2.connect(monitor)
    finally:
        assert run_init(server).returncode == 0
    psycopg2.connect(monitor).close()


@contextmanager
def run_exporter(**settings: str) -> Iterator[str]:
    """The exporter as its container runs it; yields the address of its figures."""
    port = free_port()
    environment = {f"EXPORTER_{name.upper()}": value for name, value in settings.items()}
    environment |= {"PATH": os.environ["PATH"], "EXPORTER_HOST": "127.0.0.1", "EXPORTER_PORT": str(port)}
    command = [sys.executable, "-m", "mlops.exporter"]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        output, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert f"listens on port {port}" in output
    assert not [value for name, value in settings.items() if "password" in name and value in errors]


def read_text(address: str) -> str:
    try:
        return httpx.get(f"http://{address}/metrics", timeout=10).text
    except httpx.TransportError:
        return ""


def test_the_exporter_serves_figures_until_it_is_told_to_end(monitor: str, tmp_path: Path) -> None:
    away = {"gateway_url": "http://127.0.0.1:9", "airflow_url": "http://127.0.0.1:9", "airflow_password": PASSWORD}
    with run_exporter(warehouse_dsn=monitor, disk_dir=str(tmp_path), **away) as address:
        for line in (
            'mlops_drift_verdict{model="iris",verdict="drift"} 1.0',
            'mlops_exporter_source_up{source="warehouse"} 1.0',
            'mlops_exporter_source_up{source="airflow"} 0.0',
            'mlops_probes_total{outcome="failed"} 1.0',
            "mlops_disk_used_ratio 0.",
        ):
            wait_until(lambda line=line: line in read_text(address), 120, line)  # type: ignore[misc]


@pytest.fixture(scope="module")
def airflow(
    tmp_path_factory: pytest.TempPathFactory, postgres: PostgresServer, airflow_template: str
) -> Iterator[AirflowServer]:
    postgres.create_database("airflow_monitoring", template=airflow_template)
    settings = {"AIRFLOW_MONITOR_PASSWORD": PASSWORD}
    with run_airflow_server(tmp_path_factory.mktemp("airflow"), postgres, "airflow_monitoring", settings) as server:
        yield server


def test_airflows_figures_are_read_as_a_user_who_may_read_little_else(airflow: AirflowServer) -> None:
    with closing(AirflowApi(airflow.url, *airflow.admin)) as admin:
        run_id = admin.trigger(DAG, {})
    with closing(AirflowApi(airflow.url, "monitor", PASSWORD)) as api:
        metrics = AirflowSource(api).read()
    found = {"/".join((s.name, *s.labels.values())): s.value for metric in metrics for s in metric.samples}
    assert found[f"mlops_airflow_dag_runs/{DAG}/queued"] == 1
    assert found["mlops_airflow_pool_size_slots/default_pool"] == 128
    assert found["mlops_airflow_component_healthy/metadatabase"] == 1
    assert found["mlops_airflow_component_healthy/scheduler"] == 0
    assert found["mlops_airflow_import_errors"] == 0
    token = httpx.post(f"{airflow.url}/auth/token", json={"username": "monitor", "password": PASSWORD}, timeout=60)
    bearer = {"Authorization": f"Bearer {token.json()['access_token']}"}
    refused = {
        path: httpx.request(method, f"{airflow.url}/api/v2{path}", json=body, headers=bearer, timeout=60).status_code
        for method, path, body in (
            ("GET", f"/dagSources/{DAG}", None),
            ("GET", f"/dags/{DAG}/dagRuns/{run_id}/taskInstances", None),
            ("GET", f"/dags/{DAG}/dagRuns/{run_id}/taskInstances/print_world_0/logs/1", None),
            ("GET", f"/dags/{DAG}/dagRuns/{run_id}/taskInstances/print_world_0/xcomEntries", None),
            ("GET", "/connections", None),
            ("GET", "/variables", None),
            ("GET", "/eventLogs", None),
            ("PATCH", f"/dags/{DAG}", {"is_paused": True}),
            ("POST", f"/dags/{DAG}/dagRuns", {"logical_date": None}),
        )
    }
    assert set(refused.values()) == {403}, refused

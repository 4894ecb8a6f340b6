"""Airflow's api-server with the product's login, as a process on loopback: people and roles are real."""

from __future__ import annotations

import runpy
import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from tests.integration.airflow_home import make_airflow_environment
from tests.integration.airflow_process import migrate, run_in_airflow
from tests.ports import free_port
from tests.processes import run_process
from tests.servers import PostgresServer
from tests.waiting import wait_until

DOCKER = Path(__file__).parents[2] / "docker/airflow"
DAG = "hello_airflow_dag"
"""The one DAG of the server; no process runs its tasks."""

AUTH_MANAGER = "airflow.providers.fab.auth_manager.fab_auth_manager.FabAuthManager"


@dataclass(frozen=True, slots=True)
class AirflowServer:
    """Where the server is, and its admin."""

    url: str
    admin: tuple[str, str]


@contextmanager
def run_airflow_server(
    home: Path, postgres: PostgresServer, database: str, settings: dict[str, str]
) -> Iterator[AirflowServer]:
    """Prepares the database as airflow-init does, and runs the api-server with these settings; half a minute."""
    server = AirflowServer(f"http://127.0.0.1:{free_port()}", ("admin", secrets.token_hex(16)))
    environment = {
        **make_airflow_environment(home, postgres.sqlalchemy_url(database), DOCKER.parents[1] / "dags/examples"),
        "AIRFLOW_CONFIG": str(DOCKER / "airflow.cfg"),
        "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(home / "logs"),
        "AIRFLOW__CORE__AUTH_MANAGER": AUTH_MANAGER,
        "AIRFLOW__FAB__CONFIG_FILE": str(DOCKER / "webserver_config.py"),
        "AIRFLOW__API__BASE_URL": server.url,
        "AIRFLOW__API__SECRET_KEY": secrets.token_hex(16),
        "AIRFLOW__API_AUTH__JWT_SECRET": secrets.token_hex(32),
        "AIRFLOW_ADMIN_USERNAME": server.admin[0],
        "AIRFLOW_ADMIN_PASSWORD": server.admin[1],
        **settings,
    }
    run_in_airflow(environment, f"{__name__}:prepare", dag_id=DAG)
    command = [str(Path(sys.executable).parent / "airflow"), "api-server", "--host", "127.0.0.1"]
    with run_process([*command, "--port", server.url.rpartition(":")[2]], home / "api-server.log", env=environment):
        wait_until(lambda: _answers(server.url), 400, f"Airflow's api-server answers; its log is {home}")
        yield server


def prepare(dag_id: str) -> None:
    """Makes the tables, the admin, the user of the monitoring if it has a password, and one DAG."""
    from airflow.configuration import conf  # noqa: PLC0415
    from airflow.dag_processing.bundles.manager import DagBundlesManager  # noqa: PLC0415
    from airflow.dag_processing.dagbag import DagBag, sync_bag_to_db  # noqa: PLC0415

    migrate()
    init = runpy.run_path(str(DOCKER / "init.py"))
    init["ensure_admin"]()
    init["ensure_monitor"]()
    DagBundlesManager().sync_bundles_to_db()
    folder = conf.get("core", "dags_folder")
    bag = DagBag(f"{folder}/{dag_id}.py", bundle_path=Path(folder), bundle_name="dags-folder")
    sync_bag_to_db(bag, "dags-folder", None)


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/api/v2/version", timeout=5).is_success
    except httpx.HTTPError:
        return False

"""Which networks and secrets each service of docker-compose.yaml has: what it needs, and nothing else.

The tables are written by hand on purpose. A service that needs more changes them, and docs/security.md with them.
"""

from __future__ import annotations

import re

import pytest

from tests.repo.repository import list_services, read_compose

SERVICES = list_services()

ALL = {"control", "data", "edge"}

NETWORKS = {
    "preflight": {"data"},
    "postgres": {"data", "edge"},
    "database-init": set(),
    "minio": {"data", "edge"},
    "storage-users": {"data", "edge"},
    "storage-init": ALL,
    "mlflow": ALL,
    "airflow-init": ALL,
    "airflow-apiserver": ALL,
    "airflow-scheduler": ALL,
    "airflow-dag-processor": ALL,
    "airflow-triggerer": ALL,
    "serving": {"control"},
    "serving-canary": {"control"},
    "nginx": {"control", "edge"},
}

AIRFLOW = {"AIRFLOW_DB_PASSWORD", "AIRFLOW_FERNET_KEY", "AIRFLOW_JWT_SECRET", "AIRFLOW_SECRET_KEY"}
TASKS = {"S3_TASKS_PASSWORD", "MLFLOW_TRAINER_PASSWORD", "WAREHOUSE_DB_PASSWORD", "GATEWAY_ROLLOUT_TOKEN"}
DATABASES = {"AIRFLOW_DB_PASSWORD", "MLFLOW_DB_PASSWORD", "WAREHOUSE_DB_PASSWORD", "WAREHOUSE_OWNER_DB_PASSWORD"}
STORE_USERS = {"S3_BACKUP_PASSWORD", "S3_MLFLOW_PASSWORD", "S3_TASKS_PASSWORD"}
MLFLOW_USERS = {"MLFLOW_ADMIN_PASSWORD", "MLFLOW_SERVING_PASSWORD", "MLFLOW_TRAINER_PASSWORD"}

SECRETS = {
    # It checks every one before anything starts, and ends.
    "preflight": {
        "AIRFLOW_ADMIN_PASSWORD", "GATEWAY_ROLLOUT_TOKEN", "GATEWAY_TOKENS", "MINIO_ROOT_PASSWORD", "MLFLOW_SECRET_KEY",
        "POSTGRES_PASSWORD", *AIRFLOW, *DATABASES, *MLFLOW_USERS, *STORE_USERS,
    },
    "postgres": {"POSTGRES_PASSWORD"},
    "database-init": {"POSTGRES_PASSWORD", *DATABASES},
    # The services' keys are for rclone, which has no users.
    "minio": {"MINIO_ROOT_PASSWORD", *STORE_USERS},
    "storage-users": {"MINIO_ROOT_PASSWORD", *STORE_USERS},
    "storage-init": {"MINIO_ROOT_PASSWORD", *STORE_USERS},
    "mlflow": {"S3_MLFLOW_PASSWORD", "MLFLOW_DB_PASSWORD", "MLFLOW_SECRET_KEY", *MLFLOW_USERS},
    "airflow-init": {
        "AIRFLOW_ADMIN_PASSWORD", "KMA_SERVICE_KEY", "SLACK_WEBHOOK_URL", "WAREHOUSE_OWNER_DB_PASSWORD",
        *AIRFLOW, *TASKS,
    },
    "airflow-apiserver": {"OIDC_CLIENT_SECRET", *AIRFLOW},
    "airflow-scheduler": {*AIRFLOW, *TASKS},
    "airflow-dag-processor": AIRFLOW,
    "airflow-triggerer": AIRFLOW,
    "serving": {"MLFLOW_SERVING_PASSWORD"},
    "serving-canary": {"MLFLOW_SERVING_PASSWORD"},
    "nginx": {"GATEWAY_ROLLOUT_TOKEN", "GATEWAY_TOKENS"},
}  # fmt: skip

SECRET = re.compile(r"\$\{([A-Z0-9_]*(?:PASSWORD|SECRET|_KEY|TOKEN|WEBHOOK)[A-Z0-9_]*)")


def test_every_service_is_in_the_tables() -> None:
    assert set(NETWORKS) == set(SECRETS) == set(SERVICES)


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_on_the_networks_that_it_needs(name: str) -> None:
    assert set(SERVICES[name].get("networks", ())) == NETWORKS[name]
    assert SERVICES[name].get("network_mode") == (None if NETWORKS[name] else "none")


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_holds_the_secrets_that_it_needs(name: str) -> None:
    values = map(str, SERVICES[name].get("environment", {}).values())
    assert {secret for value in values for secret in SECRET.findall(value)} == SECRETS[name]


def test_only_the_edge_reaches_the_outside() -> None:
    networks = read_compose()["networks"]
    assert {name: (network or {}).get("internal", False) for name, network in networks.items()} == {
        "edge": False,
        "control": True,
        "data": True,
    }


@pytest.mark.parametrize("name", SERVICES)
def test_the_store_alone_has_capabilities(name: str) -> None:
    """Its image's own user is root, who hands the work to lesser users."""
    expected = ["CHOWN", "SETGID", "SETUID"] if name == "minio" else []
    assert SERVICES[name].get("cap_add", []) == expected


def test_a_replica_logs_in_as_a_reader() -> None:
    for name in ("serving", "serving-canary"):
        assert SERVICES[name]["environment"]["SERVING_MLFLOW_USERNAME"] == "serving"


def test_postgres_admits_whom_its_file_names() -> None:
    assert "hba_file=/etc/postgresql/pg_hba.conf" in SERVICES["postgres"]["command"]
    assert "./docker/postgres/pg_hba.conf:/etc/postgresql/pg_hba.conf:ro" in SERVICES["postgres"]["volumes"]
    sharing = {name for name, service in SERVICES.items() if "postgres-socket" in str(service.get("volumes"))}
    assert sharing == {"postgres", "database-init"}


def test_postgres_keeps_passwords_as_scram() -> None:
    assert "password_encryption=scram-sha-256" in SERVICES["postgres"]["command"]


def test_mlflow_is_reached_by_its_own_names_alone_and_runs_no_jobs() -> None:
    environment = SERVICES["mlflow"]["environment"]
    hosts = environment["MLFLOW_SERVER_ALLOWED_HOSTS"].split(",")
    names = {"mlflow", "localhost", "127.0.0.1", "${PUBLIC_HOST:-localhost}"}
    assert set(hosts) == names | {f"{name}:*" for name in names}
    assert environment["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] == "false"

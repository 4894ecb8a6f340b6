"""Which networks and secrets each service has, in each form of the stack: what it needs, and nothing else.

The tables are written by hand on purpose. A service that needs more changes them, and docs/security.md with them.
"""

from __future__ import annotations

import re

import pytest

from tests.repo.repository import (
    OBSERVABILITY_FILE,
    ROOT,
    list_celery_services,
    list_profile_services,
    list_services,
    read_compose,
)

SERVICES = list_services()
CELERY = list_celery_services()
OBSERVABILITY = list_profile_services(OBSERVABILITY_FILE)

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
CELERY_NETWORKS = NETWORKS | {"broker": {"data"}, "airflow-worker": ALL}
OBSERVABILITY_NETWORKS = NETWORKS | {
    "exporter": {"control", "data"},
    "prometheus": {"control", "edge"},
    "alertmanager": {"control", "edge"},
    "grafana": {"control", "edge"},
    "postgres-exporter": {"control", "data"},
}

AIRFLOW_DATABASE = {"AIRFLOW_DB_PASSWORD", "AIRFLOW_FERNET_KEY"}
AIRFLOW = {*AIRFLOW_DATABASE, "AIRFLOW_JWT_SECRET", "AIRFLOW_SECRET_KEY"}
DATA = {"S3_TASKS_PASSWORD", "WAREHOUSE_DB_PASSWORD"}
TASKS = {"GATE_SIGNING_KEY", *DATA, "MLFLOW_TRAINER_PASSWORD", "GATEWAY_ROLLOUT_TOKEN"}
WORKER = {"BROKER_PASSWORD", "CELERY_DB_PASSWORD"}
DATABASES = {"AIRFLOW_DB_PASSWORD", "MLFLOW_DB_PASSWORD", "WAREHOUSE_DB_PASSWORD", "WAREHOUSE_OWNER_DB_PASSWORD"}
STORE_USERS = {"S3_BACKUP_PASSWORD", "S3_MLFLOW_PASSWORD", "S3_TASKS_PASSWORD"}
MLFLOW_USERS = {"MLFLOW_ADMIN_PASSWORD", "MLFLOW_SERVING_PASSWORD", "MLFLOW_TRAINER_PASSWORD"}

SECRETS = {
    # It checks every one before anything starts, and ends.
    "preflight": {
        "AIRFLOW_ADMIN_PASSWORD", "GATE_SIGNING_KEY", "GATEWAY_ROLLOUT_TOKEN", "GATEWAY_TOKENS", "MINIO_ROOT_PASSWORD",
        "MLFLOW_SECRET_KEY", "POSTGRES_PASSWORD", "UNIT_HASH_KEY", *AIRFLOW, *DATABASES, *MLFLOW_USERS, *STORE_USERS,
    },
    "postgres": {"POSTGRES_PASSWORD"},
    "database-init": {"POSTGRES_PASSWORD", *DATABASES},
    # The services' keys are for rclone, which has no users.
    "minio": {"MINIO_ROOT_PASSWORD", *STORE_USERS},
    "storage-users": {"MINIO_ROOT_PASSWORD", *STORE_USERS},
    "storage-init": {"MINIO_ROOT_PASSWORD", *STORE_USERS},
    "mlflow": {
        "S3_MLFLOW_PASSWORD", "MLFLOW_DB_PASSWORD", "MLFLOW_SECRET_KEY", "MLFLOW_TRACER_PASSWORD", *MLFLOW_USERS,
    },
    "airflow-init": {
        "AIRFLOW_ADMIN_PASSWORD", "KMA_SERVICE_KEY", "SLACK_WEBHOOK_URL", "WAREHOUSE_OWNER_DB_PASSWORD",
        *AIRFLOW_DATABASE, *DATA,
    },
    "airflow-apiserver": {"OIDC_CLIENT_SECRET", *AIRFLOW},
    # Tasks are its children, so an author of DAGs can read what it holds.
    "airflow-scheduler": {*AIRFLOW_DATABASE, "AIRFLOW_JWT_SECRET", "OTEL_EXPORTER_OTLP_HEADERS", *TASKS},
    "airflow-dag-processor": AIRFLOW_DATABASE,
    "airflow-triggerer": AIRFLOW_DATABASE,
    "serving": {"MLFLOW_SERVING_PASSWORD", "OTEL_EXPORTER_OTLP_HEADERS", "UNIT_HASH_KEY"},
    "serving-canary": {"MLFLOW_SERVING_PASSWORD", "OTEL_EXPORTER_OTLP_HEADERS", "UNIT_HASH_KEY"},
    "nginx": {"GATEWAY_ROLLOUT_TOKEN", "GATEWAY_TOKENS"},
}  # fmt: skip

CELERY_SECRETS = SECRETS | {
    "preflight": {*SECRETS["preflight"], *WORKER},
    "database-init": {*SECRETS["database-init"], "CELERY_DB_PASSWORD"},
    "broker": {"BROKER_PASSWORD"},
    "airflow-scheduler": {*AIRFLOW_DATABASE, "AIRFLOW_JWT_SECRET", *WORKER},
    # No key of Airflow: each task's token is part of its message.
    "airflow-worker": {"OTEL_EXPORTER_OTLP_HEADERS", *TASKS, *WORKER},
}

MONITOR = {"AIRFLOW_MONITOR_PASSWORD", "GATEWAY_PROBE_TOKEN", "MONITOR_DB_PASSWORD"}
OBSERVABILITY_SECRETS = SECRETS | {
    "preflight": {*SECRETS["preflight"], *MONITOR, "GRAFANA_ADMIN_PASSWORD"},
    "database-init": {*SECRETS["database-init"], "MONITOR_DB_PASSWORD"},
    "airflow-init": {*SECRETS["airflow-init"], "AIRFLOW_MONITOR_PASSWORD"},
    "nginx": {*SECRETS["nginx"], "GATEWAY_PROBE_TOKEN"},
    # Each opens figures alone; it holds no secret of the loop.
    "exporter": MONITOR,
    "prometheus": set(),
    "alertmanager": {"SLACK_WEBHOOK_URL", "SMTP_PASSWORD"},
    "grafana": {"GRAFANA_ADMIN_PASSWORD"},
    "postgres-exporter": {"MONITOR_DB_PASSWORD"},
}

SECRET = re.compile(r"\$\{([A-Z0-9_]*(?:PASSWORD|SECRET|_KEY|TOKEN|WEBHOOK|HEADERS)[A-Z0-9_]*)")


FORMS = [
    *((name, SERVICES[name], NETWORKS[name], SECRETS[name]) for name in SERVICES),
    *((f"{name} with celery", CELERY[name], CELERY_NETWORKS[name], CELERY_SECRETS[name]) for name in CELERY),
    *(
        (f"{name} with observability", OBSERVABILITY[name], OBSERVABILITY_NETWORKS[name], OBSERVABILITY_SECRETS[name])
        for name in OBSERVABILITY
    ),
]
TABLE = re.compile(r"^\| `([A-Z0-9_]+)` \|[^|]*\| ([^|]*) \| ([^|]*) \| ([^|]*) \|$", flags=re.MULTILINE)


def test_every_service_is_in_the_tables() -> None:
    assert set(NETWORKS) == set(SECRETS) == set(SERVICES)
    assert set(CELERY_NETWORKS) == set(CELERY_SECRETS) == set(CELERY)
    assert set(OBSERVABILITY_NETWORKS) == set(OBSERVABILITY_SECRETS) == set(OBSERVABILITY)


@pytest.mark.parametrize(("service", "networks"), [form[1:3] for form in FORMS], ids=[form[0] for form in FORMS])
def test_a_service_is_on_the_networks_that_it_needs(service: dict, networks: set[str]) -> None:
    assert set(service.get("networks", ())) == networks
    assert service.get("network_mode") == (None if networks else "none")


@pytest.mark.parametrize(("service", "secrets"), [form[1::2] for form in FORMS], ids=[form[0] for form in FORMS])
def test_a_service_holds_the_secrets_that_it_needs(service: dict, secrets: set[str]) -> None:
    values = map(str, service.get("environment", {}).values())
    assert {secret for value in values for secret in SECRET.findall(value)} == secrets


def test_the_page_tells_which_service_holds_each_secret() -> None:
    _, _, section = (ROOT / "docs/security.md").read_text().partition("\n## Where each secret is\n")
    rows = {name: columns for name, *columns in TABLE.findall(section.partition("\n## ")[0])}
    forms = (SECRETS, CELERY_SECRETS, OBSERVABILITY_SECRETS)
    expected = {
        secret: [list_holders(form, secret) or "none" for form in forms]
        for secret in set().union(*CELERY_SECRETS.values(), *OBSERVABILITY_SECRETS.values())
    }
    assert rows == {
        secret: [one, *("the same" if other == one else other for other in others)]
        for secret, (one, *others) in expected.items()
    }


def list_holders(services: dict[str, set[str]], secret: str) -> str:
    """The services that hold a secret, as the page writes them; preflight holds all of them."""
    return ", ".join(sorted(name for name, secrets in services.items() if secret in secrets and name != "preflight"))


def test_a_task_of_a_worker_has_the_same_settings_as_one_of_the_scheduler() -> None:
    tasks = ("MLOPS_", "ROLLOUT_", "OMP_", "MPL")
    of = {
        name: {key: value for key, value in services[name]["environment"].items() if key.startswith(tasks)}
        for services, name in ((SERVICES, "airflow-scheduler"), (CELERY, "airflow-worker"))
    }
    assert of["airflow-worker"] == of["airflow-scheduler"] != {}


def test_the_scheduler_keeps_its_settings_where_a_worker_runs_the_tasks() -> None:
    """An anchor ends with its file, so the other file repeats them."""
    before, after = (services["airflow-scheduler"]["environment"] for services in (SERVICES, CELERY))
    kept = {
        name: value
        for name, value in before.items()
        if name.startswith(("AIRFLOW_", "TLS", "PUBLIC_", "GATEWAY_P", "LOG_"))
    }
    added = {name: value for name, value in after.items() if "celery" not in f"{name} {value}".lower()}
    assert added == kept


def test_the_broker_is_not_published_and_has_a_password() -> None:
    assert "ports" not in CELERY["broker"]
    assert "requirepass $BROKER_PASSWORD" in (ROOT / "docker/celery/start.sh").read_text()


def test_only_the_edge_reaches_the_outside() -> None:
    networks = read_compose()["networks"]
    assert {name: (network or {}).get("internal", False) for name, network in networks.items()} == {
        "edge": False,
        "control": True,
        "data": True,
    }


@pytest.mark.parametrize("name", CELERY)
def test_the_store_alone_has_capabilities(name: str) -> None:
    """Its image's own user is root, who hands the work to lesser users."""
    expected = ["CHOWN", "SETGID", "SETUID"] if name == "minio" else []
    assert CELERY[name].get("cap_add", []) == expected


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

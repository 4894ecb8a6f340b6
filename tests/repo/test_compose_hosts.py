"""Rules of workers on other hosts: what `PROFILE=hosts` opens, and what docker/celery/worker.yaml holds."""

from __future__ import annotations

import re
from typing import Any

import yaml

from mlops.worker.env_file import REQUIRED
from tests.repo.repository import ROOT, list_celery_services, read_compose

HOSTS: dict[str, dict[str, Any]] = yaml.safe_load((ROOT / "docker/hosts/compose.yaml").read_text())["services"]
TEXT = (ROOT / "docker/celery/worker.yaml").read_text()
[(NAME, WORKER)] = yaml.safe_load(TEXT)["services"].items()
LOCAL = list_celery_services()["airflow-worker"]

PUBLISHED = {"broker": 6379, "postgres": 5432, "minio": 9000, "mlflow": 5000, "airflow-apiserver": 8080}

APART = {
    # The gate, the gateway, the replicas, and folders of the serving host.
    "MLOPS_GATE_SIGNING_KEY", "MLOPS_GATEWAY_URL", "MLOPS_GATEWAY_TOKEN", "MLOPS_LOOP_STATUS_DIR",
    "MLOPS_PREDICTION_LOG_DIR", "MLOPS_PREDICTION_LOG_DAYS", "MLOPS_PREDICTION_LOG_GB",
    # Housekeeping, which runs there.
    "MLOPS_BACKUP_DAYS", "MLOPS_BATCH_DAYS", "MLOPS_BATCH_GB", "MLOPS_QUARANTINE_DAYS", "MLOPS_QUARANTINE_GB",
    "MLOPS_SNAPSHOT_DAYS", "MLOPS_TASK_LOG_DAYS", "MLOPS_TASK_LOG_GB", "MLOPS_TASK_LOGS_URI", "MLOPS_VERSIONS_KEPT",
    # Settings of the scheduler.
    "AIRFLOW__CORE__PARALLELISM", "AIRFLOW__MLOPS__INCOMING_POLL_SECONDS", "AIRFLOW__MLOPS__TASK_LOG_DAYS",
    "AIRFLOW__MLOPS__TASK_LOG_GB",
}  # fmt: skip
"""What a worker on the serving host has, and one elsewhere has not; rollouts and spans besides."""


def test_it_opens_five_ports_on_the_named_address_alone() -> None:
    ports = {name: service["ports"] for name, service in HOSTS.items() if "ports" in service}
    assert ports == {name: [f"${{WORKERS_ADDRESS:-127.0.0.1}}:{port}:{port}"] for name, port in PUBLISHED.items()}


def test_the_address_is_judged_before_anything_is_published() -> None:
    assert HOSTS["preflight"]["environment"] == {"WORKERS_ADDRESS": "${WORKERS_ADDRESS:-127.0.0.1}"}
    services = list_celery_services()
    for name in PUBLISHED:
        before, waiting = set[str](), [name]
        while waiting:
            before |= (found := set(services[waiting.pop()].get("depends_on", ())))
            waiting += found
        assert "preflight" in before, name


def test_the_scheduler_tells_the_release_where_other_hosts_have_workers() -> None:
    assert set(HOSTS["airflow-scheduler"]["environment"]) == {"WORKERS_ADDRESS"}
    start = (ROOT / "docker/airflow/start.sh").read_text()
    assert 'if [ "${WORKERS_ADDRESS-}" ]; then python -m mlops.worker publish & fi' in start


def test_it_changes_nothing_else() -> None:
    assert set(HOSTS) == {*PUBLISHED, "preflight", "airflow-scheduler"}
    assert set().union(*HOSTS.values()) == {"environment", "networks", "ports"}
    assert {name: service["networks"] for name, service in HOSTS.items() if "networks" in service} == {
        "broker": ["edge"]  # from `data` alone no port can be published
    }


def test_a_worker_elsewhere_holds_the_passwords_of_its_tasks_and_no_other_secret() -> None:
    secrets = set(re.findall(r"\$\{([A-Z0-9_]*(?:PASSWORD|SECRET|_KEY|TOKEN|WEBHOOK|HEADERS)[A-Z0-9_]*)", TEXT))
    assert secrets == set(REQUIRED)
    table = (ROOT / "docs/security.md").read_text().partition("\n## Where each secret is\n")[2].partition("\n## ")[0]
    [line] = [line for line in table.split("\n\n") if "on another host" in line]
    assert set(re.findall(r"`(\w+_PASSWORD)`", line)) == set(REQUIRED)


def test_it_reaches_airflows_database_by_no_setting() -> None:
    addresses = [value for value in map(str, WORKER["environment"].values()) if "postgres" in value]
    assert len(addresses) == 2
    assert all(re.search(r"(//|user=)(celery|warehouse)\b", address) for address in addresses)
    assert not [name for name in WORKER["environment"] if "DATABASE" in name or "JWT" in name or "FERNET" in name]


def test_every_other_setting_is_that_of_a_worker_here() -> None:
    apart = {name for name in LOCAL["environment"] if name.startswith(("ROLLOUT_", "OTEL_"))} | APART
    assert set(LOCAL["environment"]) >= apart
    here = {name: _read(value) for name, value in LOCAL["environment"].items() if name not in apart}
    there = {name: _read(value) for name, value in WORKER["environment"].items()}
    assert there.pop("WORKER_RELEASE")
    assert there == here


def test_the_names_of_the_stack_mean_its_host() -> None:
    named = {entry.partition("=")[0] for entry in WORKER["extra_hosts"]}
    assert named == set(PUBLISHED)
    assert {entry.partition("=")[2].partition(":")[0] for entry in WORKER["extra_hosts"]} == {"${STACK_ADDRESS"}


def test_it_is_as_hardened_and_limited_as_every_other_service() -> None:
    hardened = read_compose()["x-hardened"]
    assert {key: WORKER[key] for key in hardened} == hardened
    for key in ("image", "pull_policy", "init", "restart", "entrypoint", "tmpfs", "pids_limit", "stop_grace_period"):
        assert WORKER[key] == LOCAL[key], key
    assert WORKER["mem_limit"] == f"${{WORKER_MEMORY:-{LOCAL['mem_limit']}}}"
    assert WORKER["volumes"] == ["training-spool:/var/tmp"]
    assert "ports" not in WORKER


def test_a_worker_elsewhere_takes_no_task_of_the_serving_host() -> None:
    assert WORKER["command"][-2:] == ["--queues", "${WORKER_QUEUES:-default,training}"]
    assert LOCAL["command"][-2:] == ["--queues", "default,training,rollout"]
    for worker in (WORKER, LOCAL):
        assert worker["healthcheck"]["test"][-1] == worker["command"][-1]


def test_on_kubernetes_every_worker_takes_every_queue() -> None:
    values = yaml.safe_load((ROOT / "docker/kubernetes/airflow-values.yaml").read_text())
    assert values["workers"]["args"][-1] == f"exec airflow celery worker --queues {LOCAL['command'][-1]}"


def _read(value: object) -> str:
    """A setting without the hint of its error."""
    return re.sub(r":\?[^}]*\}", "}", str(value))

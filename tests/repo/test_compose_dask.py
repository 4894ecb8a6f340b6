"""Rules of the containers of a fit on several workers, `make up PROFILE=dask`: one key, a network of their own."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from tests.repo.repository import ROOT, list_profile_services, list_services, read_compose

FILE = "docker/dask/compose.yaml"
TEXT = (ROOT / FILE).read_text()
ADDED: dict[str, dict[str, Any]] = {
    name: service for name, service in list_profile_services(FILE).items() if name not in list_services()
}


def test_a_worker_holds_the_key_of_the_store_and_no_other() -> None:
    secrets = set(re.findall(r"\$\{([A-Z0-9_]+):\?", TEXT))
    assert secrets == {"S3_TASKS_PASSWORD"}
    table = (ROOT / "docs/security.md").read_text().partition("\n## Where each secret is\n")[2].partition("\n## ")[0]
    [line] = [line for line in table.splitlines() if "PROFILE=dask" in line]
    assert re.findall(r"`(\w+_\w+)`", line) == ["S3_TASKS_PASSWORD"]


def test_the_scheduler_is_reached_by_tasks_and_workers_alone() -> None:
    networks = yaml.safe_load(TEXT)["networks"]
    assert networks == {"cluster": {"internal": True}}
    members = {
        name for name, service in list_profile_services(FILE).items() if "cluster" in service.get("networks", [])
    }
    assert members == {"airflow-scheduler", "dask-scheduler", "dask-worker"}
    assert ADDED["dask-scheduler"]["networks"] == ["cluster"]
    assert not any("ports" in service for service in ADDED.values())


@pytest.mark.parametrize("name", ["dask-scheduler", "dask-worker"])
def test_they_are_as_hardened_as_every_other_service(name: str) -> None:
    service, hardened = ADDED[name], read_compose()["x-hardened"]
    assert {key: service[key] for key in hardened} == hardened
    assert {"init", "mem_limit", "pids_limit", "cpu_shares", "stop_grace_period", "healthcheck"} <= set(service)
    assert all(volume.endswith(":ro") for volume in service.get("volumes", []) if volume.startswith("."))


def test_all_of_them_and_the_tasks_have_one_image_with_a_user() -> None:
    merged = list_profile_services(FILE)
    images = {merged[name]["image"] for name in ("airflow-scheduler", "dask-scheduler", "dask-worker")}
    assert images == {"mlops-loop/cluster:${IMAGE_TAG:-dev}"}
    stage = (ROOT / "Dockerfile").read_text().partition("FROM airflow AS cluster\n")[2].partition("\n# ---")[0]
    assert re.findall(r"^USER (\w+)", stage, flags=re.MULTILINE) == ["root", "airflow"]

"""Rules of the container for notebooks, `make up PROFILE=notebook`: on loopback, with two keys and no other."""

from __future__ import annotations

import re

import yaml

from tests.repo.repository import ROOT, read_compose

TEXT = (ROOT / "docker/notebook/compose.yaml").read_text()
[(NAME, SERVICE)] = yaml.safe_load(TEXT)["services"].items()


def test_it_holds_the_keys_of_a_training_and_no_other() -> None:
    secrets = set(re.findall(r"\$\{([A-Z0-9_]+):\?", TEXT))
    assert secrets == {"MLFLOW_TRAINER_PASSWORD", "S3_TASKS_PASSWORD"}
    table = (ROOT / "docs/security.md").read_text().partition("\n## Where each secret is\n")[2].partition("\n## ")[0]
    for secret in secrets:
        assert f"`{secret}`" in table.partition("PROFILE=notebook")[2]


def test_it_is_published_on_loopback_alone() -> None:
    assert SERVICE["ports"] == ["127.0.0.1:${NOTEBOOK_PORT:-8888}:8888"]


def test_it_is_as_hardened_as_every_other_service() -> None:
    hardened = read_compose()["x-hardened"]
    assert {key: SERVICE[key] for key in hardened} == hardened
    assert {"init", "mem_limit", "pids_limit", "cpu_shares", "stop_grace_period", "healthcheck"} <= set(SERVICE)
    assert all(volume.endswith(":ro") for volume in SERVICE["volumes"] if volume.startswith("."))
    assert "privileged" not in SERVICE
    assert not any("docker.sock" in volume for volume in SERVICE["volumes"])


def test_training_and_serving_come_before_it() -> None:
    services = read_compose()["services"]
    assert SERVICE["cpu_shares"] < min(service["cpu_shares"] for service in services.values())


def test_its_image_is_a_target_with_a_user() -> None:
    stage = (ROOT / "Dockerfile").read_text().partition(f"FROM airflow AS {NAME}\n")[2].partition("\n# ---")[0]
    users = re.findall(r"^USER (\w+)", stage, flags=re.MULTILINE)
    assert users == ["root", "airflow"]


def test_the_token_is_that_of_jupyter_itself() -> None:
    """Which is random at each start; a fixed or empty one would be in this repository."""
    start = (ROOT / "docker/notebook/start.sh").read_text()
    assert "ip=0.0.0.0" in start
    assert not re.search(r"token|password|allow_origin|disable_check_xsrf", start.partition("set -eu")[2])

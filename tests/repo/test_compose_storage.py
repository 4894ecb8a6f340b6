"""Rules of the store of several nodes, `make up PROFILE=storage-cluster`: the name `minio` stays, and all else too."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from typing import Any

import pytest
import yaml

from mlops.store_copy import MARKER
from tests.repo.repository import ROOT, list_profile_services, list_services

FILE = "docker/storage-cluster/compose.yaml"
MAIN = list_services()
SERVICES = list_profile_services(FILE)
NODES = [f"storage-{number}" for number in range(1, 5)]
OWN = [*NODES, "minio", "storage-before"]
SETTINGS = (ROOT / "docker/storage-cluster/nginx.conf").read_text()


class _Loader(yaml.SafeLoader):
    """Reads past Compose's tags."""


_Loader.add_multi_constructor("!", lambda *_: None)


def test_nothing_else_changes() -> None:
    assert {name for name, service in SERVICES.items() if service != MAIN.get(name)} == set(OWN)
    assert SERVICES["minio"]["ports"] == MAIN["minio"]["ports"]
    assert SERVICES["minio"]["networks"] == MAIN["minio"]["networks"]


def test_each_node_has_a_name_and_two_disks_of_its_own() -> None:
    assert {SERVICES[name]["hostname"] for name in NODES} == set(NODES)
    disks = [volume.partition(":")[0] for name in NODES for volume in SERVICES[name]["volumes"]]
    declared = set(yaml.load((ROOT / FILE).read_text(), _Loader)["volumes"])
    assert set(disks) == declared
    assert len(disks) == len(declared) == 8
    assert {SERVICES[name]["command"][1] for name in NODES} == {"http://storage-{1...4}:9000/data{1...2}"}


def test_no_node_is_published_or_on_an_open_network() -> None:
    for name in NODES:
        assert not SERVICES[name]["ports"]
        assert SERVICES[name]["networks"] == ["data"]
    assert SERVICES["storage-before"]["ports"] == ["127.0.0.1:${MINIO_BEFORE_PORT:-9002}:9000"]


def test_the_store_before_starts_for_a_copy_alone() -> None:
    assert SERVICES["storage-before"]["profiles"] == ["copy"]
    assert SERVICES["storage-before"]["volumes"] == MAIN["minio"]["volumes"]
    assert [name for name, service in SERVICES.items() if "profiles" in service] == ["storage-before"]


@pytest.mark.parametrize("name", OWN)
def test_a_service_is_as_hardened_as_the_store(name: str) -> None:
    for key in ("cap_drop", "security_opt", "read_only", "restart", "logging", "cpu_shares"):
        assert SERVICES[name][key] == MAIN["minio"][key]
    assert {"mem_limit", "pids_limit", "stop_grace_period", "healthcheck"} <= set(SERVICES[name])


def test_the_gateway_holds_no_key_and_no_capability() -> None:
    gateway = SERVICES["minio"]
    assert not gateway["environment"]
    assert not gateway["cap_add"]
    assert gateway["volumes"] == ["./docker/storage-cluster/nginx.conf:/etc/nginx/nginx.conf:ro"]


def test_the_gateway_knows_every_node_for_both_ports() -> None:
    for port in (9000, 9001):
        assert re.findall(rf"server (storage-\d):{port} resolve", SETTINGS) == NODES
    assert f"proxy_next_upstream_tries {len(NODES)};" in SETTINGS


def test_a_copy_and_the_start_of_the_loop_know_one_marker() -> None:
    bucket, key = MARKER.removeprefix("s3://").split("/")
    assert f'COPY = ("{bucket}", "{key}")' in (ROOT / "docker/airflow/buckets.py").read_text()


@pytest.mark.skipif(not shutil.which("docker"), reason="Docker's command is not installed")
def test_compose_merges_the_files_as_this_test_does() -> None:
    files = ("docker-compose.yaml", FILE)
    command = ["docker", "compose", "--env-file", ".env.example", *(f"--file={name}" for name in files)]
    done = subprocess.run(
        [*command, "--profile", "copy", "config", "--format", "json"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)["services"]
    assert set(found) == set(SERVICES)
    for name in OWN:
        assert len(found[name].get("ports") or []) == len(SERVICES[name]["ports"])
        assert set(found[name]["networks"]) == set(SERVICES[name]["networks"])
        assert len(found[name]["volumes"]) == len(SERVICES[name]["volumes"])
        assert (found[name]["command"] or [None])[0] == SERVICES[name]["command"][0]

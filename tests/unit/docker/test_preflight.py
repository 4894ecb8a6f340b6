from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

FILE = Path(__file__).parents[3] / "docker" / "airflow" / "preflight.py"


@pytest.fixture(scope="module")
def preflight() -> ModuleType:
    spec = importlib.util.spec_from_file_location("preflight", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def secrets(preflight: ModuleType) -> dict[str, str]:
    return {name: "x" * length for name, length in preflight.MIN_LENGTHS.items()}


def test_random_secrets_on_loopback_pass_without_a_word(preflight: ModuleType, secrets: dict[str, str]) -> None:
    assert preflight.check_secrets(secrets | {"BIND_ADDRESS": "127.0.0.1"}) == ([], [])


def test_known_secrets_on_loopback_are_a_warning(preflight: ModuleType, secrets: dict[str, str]) -> None:
    failures, warnings = preflight.check_secrets(secrets | {"AIRFLOW_DB_PASSWORD": "insecure-airflow-db"})
    assert failures == []
    assert "AIRFLOW_DB_PASSWORD" in warnings[0]


def test_known_secrets_off_loopback_forbid_a_start(preflight: ModuleType, secrets: dict[str, str]) -> None:
    known = {"AIRFLOW_DB_PASSWORD": "insecure-airflow-db", "BIND_ADDRESS": "0.0.0.0"}
    failures, _ = preflight.check_secrets(secrets | known)
    assert "AIRFLOW_DB_PASSWORD" in failures[0]
    assert "make env" in failures[0]


def test_off_loopback_warns_that_it_needs_tls(preflight: ModuleType, secrets: dict[str, str]) -> None:
    _, warnings = preflight.check_secrets(secrets | {"BIND_ADDRESS": "192.0.2.7"})
    assert "TLS" in warnings[0]


@pytest.mark.parametrize("value", ["", "short"])
def test_a_missing_or_short_secret_is_named(preflight: ModuleType, secrets: dict[str, str], value: str) -> None:
    failures, _ = preflight.check_secrets(secrets | {"MLFLOW_ADMIN_PASSWORD": value})
    assert failures[0].startswith("MLFLOW_ADMIN_PASSWORD: expected at least 12 characters")


def test_too_little_memory_says_found_expected_and_where_to_raise_it(preflight: ModuleType) -> None:
    assert preflight.check_memory(8.0) == []
    assert "expected at least 4 GB for Docker, found 2.1 GB" in preflight.check_memory(2.1)[0]


def test_too_little_disk_is_named(preflight: ModuleType) -> None:
    assert preflight.check_disk(10.0) == []
    assert "found 0.5 GB" in preflight.check_disk(0.5)[0]


def test_a_folder_that_cannot_be_read_names_the_setting(preflight: ModuleType, tmp_path: Path) -> None:
    assert preflight.check_mounts([tmp_path], tmp_path) == []
    assert "AIRFLOW_UID" in preflight.check_mounts([tmp_path / "missing"], tmp_path)[0]


def test_a_log_volume_that_cannot_be_written_says_how_to_make_it_anew(preflight: ModuleType, tmp_path: Path) -> None:
    assert "docker volume rm" in preflight.check_mounts([tmp_path], tmp_path / "missing")[0]

from __future__ import annotations

from pathlib import Path

import pytest
from dotenv import dotenv_values

from mlops.errors import StateFolderError
from mlops.local import compose_file

ROOT = Path(__file__).parents[4]
EXAMPLE = {name: value or "" for name, value in dotenv_values(ROOT / ".env.example").items()}
SERVICES = [
    "database-init", "storage-init", "mlflow", "airflow-init", "airflow-apiserver", "airflow-scheduler",
    "airflow-dag-processor", "airflow-triggerer", "serving",
]  # fmt: skip


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "compose.yaml"
    path.write_text(
        "x-base: &base\n  COLOUR: ${COLOUR:-red}\n"
        "services:\n  door:\n    environment:\n      <<: *base\n      KEY: ${KEY:?set it}\n      PORT: 80\n"
    )
    return path


def test_settings_fill_in_defaults_and_merged_keys(file: Path) -> None:
    found = compose_file.read_environment(file, "door", {"KEY": "k", "COLOUR": "blue"})
    assert found == {"COLOUR": "blue", "KEY": "k", "PORT": "80"}


def test_a_missing_or_empty_setting_has_its_default(file: Path) -> None:
    for settings in ({"KEY": "k"}, {"KEY": "k", "COLOUR": ""}):
        assert compose_file.read_environment(file, "door", settings)["COLOUR"] == "red"


def test_a_missing_required_setting_is_named(file: Path) -> None:
    with pytest.raises(StateFolderError, match="KEY: expected a value, found none"):
        compose_file.read_environment(file, "door", {})


def test_addresses_are_replaced_everywhere_in_a_value() -> None:
    moved = compose_file.move_to({"DSN": "x@postgres:5432/a", "OTHER": "postgres"}, {"postgres:5432": "127.0.0.1:7"})
    assert moved == {"DSN": "x@127.0.0.1:7/a", "OTHER": "postgres"}


@pytest.mark.parametrize("service", SERVICES)
def test_every_service_of_the_stack_gets_an_environment_without_gaps(service: str) -> None:
    found = compose_file.read_environment(ROOT / "docker-compose.yaml", service, EXAMPLE)
    assert found
    assert [name for name, value in found.items() if "$" in value] == []

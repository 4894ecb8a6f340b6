from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from mlops.checks import findings

NOW = datetime(2026, 11, 25, 9, 0, tzinfo=UTC)
EXAMPLE = {"BIND_ADDRESS": "127.0.0.1", "AIRFLOW_ADMIN_PASSWORD": "insecure-airflow", "TIMEZONE": "Asia/Seoul"}
GOOD = EXAMPLE | {"AIRFLOW_ADMIN_PASSWORD": "a1b2c3d4"}


@pytest.mark.parametrize(
    ("engine", "compose", "has_client", "state"),
    [
        (None, None, False, "warning"),
        (None, "2.40.3", True, "warning"),
        ("28.5", None, True, "failure"),
        ("28.5", "v2.5.0", True, "failure"),
        ("28.5", "2.40.3-3", True, "ok"),
        ("28.5", "v5.0.1", True, "ok"),
    ],
)
def test_docker_is_missing_old_or_fine(engine: str | None, compose: str | None, has_client: bool, state: str) -> None:
    found = findings.check_docker(engine, compose, has_client=has_client)
    assert found.state == state
    assert bool(found.advice) is (state != "ok")


def test_memory_and_disk_that_are_too_small_are_failures() -> None:
    assert [findings.check_memory(gb).state for gb in (2.0, 3.5, 8.0)] == ["failure", "warning", "ok"]
    assert [findings.check_disk(gb, 0.5).state for gb in (0.5, 50.0)] == ["failure", "ok"]
    assert [findings.check_disk(50.0, share).state for share in (0.79, 0.8)] == ["ok", "warning"]


def test_a_missing_or_old_backup_is_a_warning() -> None:
    ages = [findings.check_backup(days, has_target=True) for days in (None, 1.9, 2.1)]
    assert [found.state for found in ages] == ["warning", "ok", "warning"]
    assert findings.check_backup(None, has_target=False).found == "no BACKUP_DIR"


@pytest.mark.parametrize("sign", [-1, 1])
def test_a_clock_five_minutes_off_is_a_failure_in_either_direction(sign: int) -> None:
    states = [
        findings.check_clock("MinIO", NOW + sign * timedelta(seconds=seconds), NOW).state for seconds in (5, 100, 301)
    ]
    assert states == ["ok", "warning", "failure"]


def test_missing_and_incomplete_settings_are_told_apart() -> None:
    assert findings.check_settings(None, EXAMPLE).state == "warning"
    without_password = {name: value for name, value in GOOD.items() if "PASSWORD" not in name}
    found = findings.check_settings(without_password, EXAMPLE)
    assert (found.state, found.found) == ("failure", "no AIRFLOW_ADMIN_PASSWORD")
    without_zone = {name: value for name, value in GOOD.items() if name != "TIMEZONE"}
    assert findings.check_settings(without_zone, EXAMPLE).state == "warning"
    assert findings.check_settings(GOOD, EXAMPLE).state == "ok"


@pytest.mark.parametrize(("bind", "state"), [("127.0.0.1", "warning"), ("0.0.0.0", "failure"), ("::1", "warning")])
def test_known_secrets_are_a_warning_on_loopback_only(bind: str, state: str) -> None:
    assert findings.check_settings(EXAMPLE | {"BIND_ADDRESS": bind}, EXAMPLE).state == state


@pytest.mark.parametrize(
    ("bind", "state"), [("127.0.0.1", "ok"), ("[::1]", "ok"), ("0.0.0.0", "failure"), ("[::]", "failure")]
)
def test_guessable_secrets_are_a_failure_off_loopback(bind: str, state: str) -> None:
    weak = GOOD | {"AIRFLOW_ADMIN_PASSWORD": "Summer-2026-Summer-2026", "BIND_ADDRESS": bind}
    found = findings.check_settings(weak, EXAMPLE)
    assert found.state == state
    assert "Summer" not in found.found


def test_packages_that_differ_from_the_lock_are_named() -> None:
    pinned = {"mlflow": "3.17.2", "pandas": "3.0.3"}
    found = findings.check_packages(pinned, {"mlflow": "3.16.0", "numpy": "2.5.5"})
    assert found.state == "failure"
    assert found.found == "mlflow 3.16.0 instead of 3.17.2, pandas missing instead of 3.0.3"
    assert findings.check_packages(pinned, pinned | {"numpy": "2.5.5"}).state == "ok"


def test_a_machine_without_openmp_is_warned() -> None:
    assert [findings.check_openmp(is_installed=found).state for found in (True, False)] == ["ok", "warning"]


def test_a_missing_service_is_a_failure_only_while_others_answer() -> None:
    port, other = "MLFLOW_PORT 5000", "AIRFLOW_PORT 8080"
    [nothing] = findings.check_services({"MLflow": (port, "silent"), "Airflow": (other, "silent")})
    assert (nothing.state, nothing.found) == ("warning", "none runs")
    states = {
        found.subject: found.state
        for found in findings.check_services({"MLflow": (port, "silent"), "Airflow": (other, "answers")})
    }
    assert states == {"MLflow": "failure", "Airflow": "ok"}


def test_a_port_of_another_program_is_named_with_its_variable() -> None:
    held, _ = findings.check_services({"MLflow": ("MLFLOW_PORT 5000", "taken")})
    assert held.state == "failure"
    assert "set another MLFLOW_PORT in .env" in held.advice


def test_warnings_without_failures_are_healthy() -> None:
    warning, failure = findings.check_memory(3.5), findings.check_memory(1)
    assert findings.is_healthy([warning])
    assert not findings.is_healthy([warning, failure])

"""The first line of a worker that may not start, and the doctor in it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mlops.app import app
from mlops.worker import __main__ as main
from mlops.worker import settings
from tests.ports import free_port

ROOT = Path(__file__).parents[4]


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch) -> int:
    """A worker all of whose addresses are of a port that nobody listens at."""
    port = free_port()
    monkeypatch.setenv("AIRFLOW_HOME", str(ROOT))
    for name, url in {
        "WORKER_RELEASE": "0.0.1-0123456789ab-0123456789ab",
        "AIRFLOW__CELERY__BROKER_URL": f"redis://:secret-of-the-broker@127.0.0.1:{port}/0",
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"http://127.0.0.1:{port}/execution/",
        "AIRFLOW__CELERY__RESULT_BACKEND": f"db+postgresql+psycopg2://celery:secret@127.0.0.1:{port}/celery",
        "MLOPS_S3_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "MLOPS_MLFLOW_URL": f"http://127.0.0.1:{port}",
    }.items():
        monkeypatch.setenv(name, url)
    return port


@pytest.mark.usefixtures("port")
def test_a_worker_of_another_release_ends_with_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.check() == 1
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith(f"FAIL: worker: image: {settings.read_release().text} (release ")
    assert "load the image of the release that the stack runs" in line


def test_of_many_failures_a_worker_shows_the_first(
    port: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WORKER_RELEASE", settings.read_release().text)
    assert main.check() == 1
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith(f"FAIL: worker: broker: no answer at 127.0.0.1:{port}")
    assert "secret" not in line


@pytest.mark.usefixtures("port")
def test_the_doctor_of_a_worker_lists_all_of_them() -> None:
    done = CliRunner().invoke(app, ["doctor", "--json"], catch_exceptions=False)
    assert done.exit_code == 1
    findings = {finding["subject"]: finding for finding in json.loads(done.stdout)}
    assert set(findings) == {
        "image", "broker", "execution API", "object store", "MLflow", "results", "broker login", "clock",
    }  # fmt: skip
    assert {finding["state"] for finding in findings.values()} == {"failure"}
    assert "secret" not in done.stdout


def test_a_machine_that_is_told_of_no_stack_is_no_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORKER_RELEASE", raising=False)
    assert not settings.is_elsewhere()


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("redis://:p@broker:6379/0", ("broker", 6379)),
        ("https://store.example", ("store.example", 443)),
        ("http://store.example/path", ("store.example", 80)),
        ("db+postgresql+psycopg2://celery:p@[::1]:5432/celery", ("::1", 5432)),
    ],
)
def test_the_address_of_a_part_is_in_its_url(url: str, address: tuple[str, int]) -> None:
    assert settings.find_address(url) == address

from __future__ import annotations

import os
import traceback
from pathlib import Path

import pytest

from ml_code.errors import SettingsError
from ml_code.settings import load_settings

VARIABLES = {
    "MLOPS_MLFLOW_URL": "http://mlflow:5000",
    "MLOPS_MLFLOW_USERNAME": "trainer",
    "MLOPS_MLFLOW_PASSWORD": "one",
    "MLOPS_S3_ENDPOINT_URL": "http://minio:9000",
    "MLOPS_S3_ACCESS_KEY": "two",
    "MLOPS_S3_SECRET_KEY": "three",
}


@pytest.fixture(autouse=True)
def _empty_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith("MLOPS_"):
            monkeypatch.delenv(name)


def set_all(monkeypatch: pytest.MonkeyPatch, **changes: str) -> None:
    for name, value in (VARIABLES | changes).items():
        monkeypatch.setenv(name, value)


def test_the_environment_names_the_servers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    set_all(monkeypatch, MLOPS_DATASETS_DIR=str(tmp_path))
    settings = load_settings()
    assert settings.mlflow_url == "http://mlflow:5000"
    assert settings.datasets_dir == tmp_path
    assert settings.datasets_uri == "s3://datasets"


def test_a_secret_is_not_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    set_all(monkeypatch, MLOPS_MLFLOW_PASSWORD="do-not-show")
    assert "do-not-show" not in repr(load_settings())


def test_the_traceback_of_a_missing_value_shows_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    set_all(monkeypatch, MLOPS_S3_ACCESS_KEY="", MLOPS_WAREHOUSE_DSN="do-not-show")
    with pytest.raises(SettingsError) as raised:
        load_settings()
    shown = "".join(traceback.format_exception(raised.value))
    assert "s3_access_key" in shown
    assert "do-not-show" not in shown


def test_an_unknown_name_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    set_all(monkeypatch, MLOPS_MLFLOW_PASWORD="typo")
    with pytest.raises(SettingsError, match="found the unknown names MLOPS_MLFLOW_PASWORD"):
        load_settings()


def test_a_missing_value_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    set_all(monkeypatch, MLOPS_S3_SECRET_KEY="")
    with pytest.raises(SettingsError, match="MLOPS_S3_SECRET_KEY"):
        load_settings()


def test_an_empty_environment_names_the_variables_and_the_stack_on_this_machine() -> None:
    with pytest.raises(SettingsError, match=r"no MLOPS_MLFLOW_URL .*load_host_settings\(\)"):
        load_settings()

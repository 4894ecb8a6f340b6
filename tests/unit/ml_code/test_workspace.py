from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from ml_code.errors import CatalogError, SettingsError
from ml_code.settings import REPOSITORY, Settings
from ml_code.workspace import Workspace, open_workspace
from tests.unit.ml_code.passengers import PASSENGERS


def test_each_door_opens_on_its_first_use_and_once(workspace: Workspace) -> None:
    opened: list[Settings] = []
    workspace = replace(workspace, connect_tracker=lambda settings: opened.append(settings) or object())
    assert opened == []
    assert workspace.tracker is workspace.tracker
    assert opened == [workspace.settings]
    assert workspace.storage is workspace.storage


def test_a_workspace_without_a_warehouse_names_the_missing_setting(workspace: Workspace) -> None:
    with pytest.raises(SettingsError, match="MLOPS_WAREHOUSE_DSN"):
        _ = workspace.warehouse


def test_a_dataset_that_is_added_later_is_found(tmp_path: Path, workspace: Workspace) -> None:
    with pytest.raises(CatalogError, match="found 'passengers'"):
        workspace.load_dataset("passengers")
    (tmp_path / "passengers.toml").write_text(PASSENGERS)
    assert workspace.load_dataset("passengers").target == "outcome"
    assert list(workspace.catalog.datasets) == ["passengers"]


def test_without_settings_those_of_the_environment_count(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> None:
    monkeypatch.setattr("ml_code.workspace.load_settings", lambda: settings)
    assert open_workspace().settings == settings


@pytest.mark.parametrize(
    ("step", "spared"),
    [
        ("ml_code.workspace", "mlflow sklearn pandas boto3 psycopg2"),
        ("ml_code.training.plans", "mlflow sklearn pandas boto3 psycopg2"),
        ("ml_code.data.snapshots", "mlflow sklearn psycopg2"),
        ("ml_code.batch.shards", "mlflow sklearn psycopg2"),
        ("ml_code.gate.judging", "sklearn xgboost lightgbm skl2onnx matplotlib psycopg2"),
        ("ml_code.gate.holdout_rows", "mlflow sklearn pandas psycopg2"),
    ],
)
def test_a_step_imports_no_library_that_it_does_without(step: str, spared: str) -> None:
    program = f"import sys, {step}; print(*sorted(set({spared.split()!r}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []

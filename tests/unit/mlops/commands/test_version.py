from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ml_code.errors import SettingsError
from ml_code.settings import REPOSITORY, Settings
from ml_code.warehouse import MIGRATIONS
from mlops.app import app
from mlops.commands import version


def show(monkeypatch: pytest.MonkeyPatch, settings: Settings | None, env_file: Path) -> dict[str, str]:
    def load() -> Settings:
        if settings is None:
            raise SettingsError("none here")
        return settings

    monkeypatch.setattr(version, "load_host_settings", load)
    monkeypatch.setattr(version, "find_env_file", lambda: env_file)
    ended = CliRunner().invoke(app, ["version", "--json"])
    assert ended.exit_code == 0, ended.output
    return {row["part"]: row["version"] for row in json.loads(ended.stdout)}


def test_it_names_release_commit_images_migrations_and_libraries(
    monkeypatch: pytest.MonkeyPatch, settings: Settings, tmp_path: Path
) -> None:
    env_file = tmp_path / ".env"
    env_file.write_text("IMAGE_TAG=v9\nNGINX_IMAGE=nginx:1.30.6\nMLFLOW_ADMIN_PASSWORD=secret\n")
    shown = show(monkeypatch, settings.model_copy(update={"git_commit": "abc123"}), env_file)
    assert shown["release"] == tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["version"]
    assert (shown["commit"], shown["image airflow"], shown["image nginx"]) == (
        "abc123",
        "mlops-loop/airflow:v9",
        "nginx:1.30.6",
    )
    assert f"{shown['migration of this code']}.sql" in {file.name for file in MIGRATIONS.iterdir()}
    assert shown["migration of the warehouse"].startswith("unknown: settings: found no MLOPS_WAREHOUSE_DSN")
    assert shown["scikit-learn"].startswith("1.")
    assert "secret" not in str(shown)


def test_without_a_stack_it_still_names_the_release(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    shown = show(monkeypatch, None, tmp_path / "missing")
    assert shown["release"]
    assert shown["commit"] == "unknown"
    assert [part for part in shown if part.startswith("image")] == []

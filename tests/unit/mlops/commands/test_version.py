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
from mlops.compose import ComposeProject
from tests.unit.mlops.fake_docker import FakeDocker, answer_stack, describe_container


def show(monkeypatch: pytest.MonkeyPatch, settings: Settings | None, env_file: Path) -> dict[str, str]:
    def load(_: Path) -> Settings:
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


STACK = {
    "mlops-loop": "0.1.0",
    "apache-airflow": "3.3.0",
    "mlflow": "3.17.0",
    "bentoml": "1.4.0",
}


def show_beside_a_stack(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *options: str) -> str:
    (tmp_path / ".env").write_text("IMAGE_TAG=dev\nS3_IMAGE=pgsty/silo:2\n")
    containers = [
        describe_container(
            "airflow-scheduler", "mlops-loop/airflow:dev", tmp_path, environment=["MLOPS_GIT_COMMIT=0ld"]
        ),
        describe_container("serving", "mlops-loop/serving:dev", tmp_path, image_id="sha256:earlier"),
        describe_container("minio", "pgsty/silo:1", tmp_path),
        describe_container("mlflow", "mlops-loop/mlflow:dev", tmp_path, status="exited"),
    ]

    def read_libraries(command: list[str]) -> str:
        return json.dumps({name: STACK[name] for name in command[6:] if name in STACK})

    docker = FakeDocker({**answer_stack(*containers), "docker exec": read_libraries})
    monkeypatch.setattr(version, "find_env_file", lambda: tmp_path / ".env")
    monkeypatch.setattr(version, "ComposeProject", lambda env_file: ComposeProject(env_file, docker.run))
    ended = CliRunner().invoke(app, ["version", *options])
    assert ended.exit_code == 0, ended.output
    return ended.stdout


def test_beside_a_stack_it_shows_what_the_containers_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    rows = {row["part"]: row for row in json.loads(show_beside_a_stack(monkeypatch, tmp_path, "--json"))}
    runs = {part: row["runs"] for part, row in rows.items()}
    assert (runs["release"], runs["commit"], runs["apache-airflow"]) == ("0.1.0", "0ld", "3.3.0")
    assert runs["image airflow"] == "mlops-loop/airflow:dev"
    assert runs["image serving"] == "mlops-loop/serving:dev, of an earlier build"
    assert runs["mlflow"] is None, "its container does not run"
    assert (runs["image s3"], rows["image s3"]["version"]) == ("pgsty/silo:1", "pgsty/silo:2")
    differing = {part for part, row in rows.items() if row["differs"]}
    assert {"commit", "image serving", "image s3", "bentoml"} <= differing
    assert not differing & {"image airflow", "mlflow", "image mlflow"}


def test_differences_are_marked_and_the_next_step_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    shown = show_beside_a_stack(monkeypatch, tmp_path)
    assert "! pgsty/silo:1" in shown
    assert "`make upgrade`" in shown


def test_without_docker_it_shows_what_is_here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("IMAGE_TAG=dev\n")

    def fail(*_: object, **__: object) -> None:
        raise FileNotFoundError

    monkeypatch.setattr(version, "find_env_file", lambda: tmp_path / ".env")
    monkeypatch.setattr(version, "ComposeProject", lambda env_file: ComposeProject(env_file, fail))
    ended = CliRunner().invoke(app, ["version"])
    assert ended.exit_code == 0
    assert "mlops-loop/airflow:dev" in ended.stdout
    assert "runs" not in ended.stdout

"""The compose project is stopped, prepared and started in the right order."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from mlops.backup.site import ComposeOperator, describe_identity, open_compose_site
from mlops.compose import ComposeProject
from mlops.errors import BackupError

ENV = """\
MLFLOW_TRAINER_PASSWORD=trainer
S3_TASKS_PASSWORD=tasks
S3_BACKUP_USER=backup
S3_BACKUP_PASSWORD=of-backups
MINIO_ROOT_USER=mlops
MINIO_ROOT_PASSWORD=of-root
WAREHOUSE_DB_PASSWORD=warehouse
MLFLOW_DB_PASSWORD=mlflow
"""


class Compose:
    """Notes the commands; the one with a word fails."""

    def __init__(self, failing: str = "no command") -> None:
        self.commands: list[str] = []
        self.failing = failing

    def run(self, command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
        assert options["cwd"] == Path("/checkout")
        text = " ".join(command).removeprefix("docker compose --env-file /checkout/other.env ")
        self.commands.append(text)
        return subprocess.CompletedProcess(command, int(self.failing in text), "", "port is taken")


def test_nothing_but_the_servers_runs_while_data_is_replaced() -> None:
    compose = Compose()
    operator = ComposeOperator(ComposeProject(Path("/checkout/other.env"), compose.run))
    operator.open_stores()
    operator.start()
    down, up, *jobs, start = compose.commands
    assert down.startswith("down --remove-orphans")
    assert "--volumes" not in down
    assert up.endswith("--wait --build postgres minio")
    assert [job.split()[-1] for job in jobs] == ["database-init", "storage-users", "storage-init"]
    assert start.startswith("up --detach --wait")


def test_a_command_that_fails_is_told_with_the_way_on() -> None:
    operator = ComposeOperator(ComposeProject(Path("/checkout/other.env"), Compose("storage-users").run))
    with pytest.raises(
        BackupError, match=r"storage-users: expected exit code 0, found 1: port is taken.*which goes on"
    ):
        operator.open_stores()


def test_backups_read_by_a_key_that_cannot_write(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(ENV)
    site = open_compose_site(tmp_path / ".env")
    assert site.reader._settings.s3_access_key == "backup"
    assert site.writer._settings.s3_access_key == "mlops"
    told = ("--env-file", str(tmp_path / ".env"))
    assert site.postgres.launcher == ("docker", "compose", *told, "exec", "-T", "postgres")
    assert site.postgres.folder == tmp_path


def test_the_secret_files_beside_the_settings_are_found(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(ENV)
    (tmp_path / "docker/nginx/secrets").mkdir(parents=True)
    (tmp_path / "docker/nginx/secrets/tokens").write_text("a:b")
    found = open_compose_site(tmp_path / ".env").list_secret_files()
    assert found == {"env": ENV.encode(), "docker/nginx/secrets/tokens": b"a:b"}


def test_an_env_without_the_key_of_backups_says_how_to_get_one(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(ENV.replace("S3_BACKUP_PASSWORD", "OTHER"))
    with pytest.raises(BackupError, match="`make env` adds"):
        open_compose_site(tmp_path / ".env")


def test_installations_differ_by_each_of_their_secrets_and_show_none() -> None:
    one = describe_identity({"AIRFLOW_FERNET_KEY": "a", "GATE_SIGNING_KEY": "b", "UNIT_HASH_KEY": "c"})
    other = describe_identity({"AIRFLOW_FERNET_KEY": "a", "GATE_SIGNING_KEY": "x", "UNIT_HASH_KEY": "c"})
    assert [name for name in one if one[name] != other[name]] == ["GATE_SIGNING_KEY"]
    assert describe_identity({"AIRFLOW_FERNET_KEY": "b"})["AIRFLOW_FERNET_KEY"] != one["GATE_SIGNING_KEY"]

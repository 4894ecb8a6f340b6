"""`mlops backup`, `verify` and `restore` as a person types them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from mlops.app import app
from mlops.compose import claim
from tests.unit.mlops.backup.small_set import make_set

SET = "20261129T030000Z"


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("BACKUP_DIR", "BACKUP_DAYS", "BACKUP_PASSPHRASE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def env_file(tmp_path: Path) -> Path:
    """Settings whose folder of sets has a whole one and one without a file."""
    make_set(tmp_path / "backups" / SET)
    broken = make_set(tmp_path / "backups/20261128T030000Z")
    (broken / "objects.jsonl").unlink()
    path = tmp_path / ".env"
    path.write_text("BACKUP_DIR=backups\n")
    return path


def run(env_file: Path, *arguments: str) -> Result:
    return CliRunner().invoke(app, [*arguments, "--env-file", str(env_file)], catch_exceptions=False)


def test_the_list_shows_which_sets_are_whole(env_file: Path) -> None:
    found = {row["set"]: row["state"] for row in json.loads(run(env_file, "backup", "--list", "--json").stdout)}
    assert found == {"20261128T030000Z": "not whole", SET: "whole"}
    assert SET in run(env_file, "backup", "--list").stdout


def test_the_newest_whole_set_is_read(env_file: Path) -> None:
    done = run(env_file, "verify", "--files-only")
    assert done.exit_code == 0
    assert f"{SET}: every byte is as it was written; made at 2026-11-29T03:00:00" in done.stdout


@pytest.mark.parametrize("named", ["20261128T030000Z", "backups/20261128T030000Z"])
def test_a_bad_set_ends_with_one(env_file: Path, named: str) -> None:
    place = named if "/" not in named else str(env_file.parent / named)
    done = run(env_file, "verify", place, "--files-only")
    assert done.exit_code == 1
    assert "objects.jsonl: No such file" in done.stderr


def test_a_restore_beside_an_upgrade_or_another_one_is_refused(env_file: Path) -> None:
    with claim(env_file.parent):
        done = run(env_file, "restore")
    assert done.exit_code == 1
    assert "expected no other `mlops restore`, `mlops scale` or `mlops upgrade`" in done.stderr


def test_without_a_folder_the_way_out_is_told(env_file: Path) -> None:
    env_file.write_text("")
    done = run(env_file, "backup")
    assert done.exit_code == 1
    assert "found no BACKUP_DIR" in done.stderr
    assert "--target" in done.stderr


@pytest.mark.parametrize("days", ["0", "-1", "inf", "nan", "two"])
def test_days_that_are_no_number_are_refused(env_file: Path, days: str) -> None:
    env_file.write_text(f"BACKUP_DIR=backups\nBACKUP_DAYS={days}\n")
    done = run(env_file, "backup", "--list")
    assert done.exit_code == 1
    assert "expected a number of days above 0" in done.stderr


def test_a_machine_without_settings_needs_the_passphrase(env_file: Path) -> None:
    env_file.unlink()
    done = run(env_file, "restore", str(env_file.parent / "backups" / SET))
    assert done.exit_code == 1
    assert "in the variable BACKUP_PASSPHRASE" in done.stderr

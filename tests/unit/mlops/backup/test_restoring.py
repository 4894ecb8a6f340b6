"""What a restore refuses before it touches anything, and how settings and descriptions come back."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from mlops.backup import restoring
from mlops.backup.manifest import read_manifest
from mlops.backup.sealing import SEALED, seal
from mlops.errors import BackupError
from tests.unit.mlops.backup.small_set import make_set


def test_an_older_set_and_one_of_this_version_are_accepted(tmp_path: Path) -> None:
    manifest = read_manifest(make_set(tmp_path / "set"))
    here = restoring.find_versions()
    for versions in ({}, here, {"airflow": "2.0.0", "release": "0.0.1"}):
        restoring.refuse_newer(tmp_path, replace(manifest, versions=versions, migrations=["0001_search_path.sql"]))


@pytest.mark.parametrize("part", ["release", "airflow", "mlflow"])
def test_a_set_of_a_newer_version_is_refused(tmp_path: Path, part: str) -> None:
    manifest = read_manifest(make_set(tmp_path / "set"))
    newer = replace(manifest, versions={part: f"{restoring.find_versions()[part]}.1"})
    with pytest.raises(BackupError, match=f"{part} .* instead of"):
        restoring.refuse_newer(tmp_path, newer)


def test_settings_come_back_where_there_are_none(tmp_path: Path) -> None:
    folder, checkout = make_set(tmp_path / "set"), tmp_path / "checkout"
    files = {"env": b"A=1", "docker/nginx/secrets/tokens": b"mine", "../outside": b"x", f"{tmp_path}/absolute": b"x"}
    (folder / SEALED).write_bytes(seal(files, "right"))
    (checkout / "docker/nginx/secrets").mkdir(parents=True)
    with pytest.raises(BackupError, match="in the variable BACKUP_PASSPHRASE"):
        restoring.put_settings_back(folder, checkout / ".env", checkout, None)
    restoring.put_settings_back(folder, checkout / ".env", checkout, "right")
    assert (checkout / ".env").read_bytes() == b"A=1"
    assert (checkout / "docker/nginx/secrets/tokens").read_bytes() == b"mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkout", "set"]
    (checkout / ".env").write_bytes(b"A=2")
    restoring.put_settings_back(folder, checkout / ".env", checkout, "right")
    assert (checkout / ".env").read_bytes() == b"A=2"


def test_a_dataset_that_is_described_otherwise_here_stays_and_is_told(tmp_path: Path) -> None:
    folder, catalog = make_set(tmp_path / "set"), tmp_path / "checkout/ml_code/catalog"
    catalog.mkdir(parents=True)
    assert restoring.put_catalog_back(folder, tmp_path / "checkout") == []
    assert (catalog / "mine.toml").read_text() == 'name = "mine"\n'
    (catalog / "mine.toml").write_text("edited")
    assert restoring.put_catalog_back(folder, tmp_path / "checkout") == ["mine"]
    assert (catalog / "mine.toml").read_text() == "edited"

"""Which sets there are, and which go."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path

import pytest

from mlops.backup import sets
from mlops.errors import BackupError
from tests.unit.mlops.backup.small_set import NOW, make_set


def make_sets(target: Path, *days: float) -> list[str]:
    """Sets that are so many days old, the first one first."""
    for age in days:
        make_set(target / (NOW - timedelta(days=age)).strftime("%Y%m%dT%H%M%SZ"))
    return [found.name for found in sets.list_sets(target)]


def test_sets_that_are_too_old_go(tmp_path: Path) -> None:
    oldest, old, _, _ = make_sets(tmp_path, 40, 15, 13, 0)
    assert sets.prune(tmp_path, 14, NOW) == [oldest, old]
    assert len(sets.list_sets(tmp_path)) == 2


def test_the_last_whole_set_stays_however_old_it_is(tmp_path: Path) -> None:
    _, whole, broken = make_sets(tmp_path, 60, 50, 40)
    (tmp_path / broken / "databases/mlflow.dump").unlink()
    sets.prune(tmp_path, 14, NOW)
    assert [found.name for found in sets.list_sets(tmp_path)] == [whole]
    assert sets.prune(tmp_path, 14, NOW) == []


def test_without_a_whole_set_nothing_goes(tmp_path: Path) -> None:
    (name,) = make_sets(tmp_path, 60)
    (tmp_path / name / "manifest.sha256").write_text("0\n")
    assert sets.prune(tmp_path, 14, NOW) == []
    assert len(sets.list_sets(tmp_path)) == 1


def test_a_clock_that_was_ahead_deletes_no_newer_set(tmp_path: Path) -> None:
    make_sets(tmp_path, 1, 0, -300)
    assert sets.prune(tmp_path, 14, NOW) == []


def test_a_truncated_set_is_not_the_newest(tmp_path: Path) -> None:
    whole, truncated = make_sets(tmp_path, 2, 1)
    dump = tmp_path / truncated / "databases/airflow.dump"
    os.truncate(dump, 3)
    newest = sets.find_newest(tmp_path)
    assert newest is not None
    assert newest.name == whole
    assert sets.find_set(tmp_path, None).name == whole


def test_what_is_interrupted_is_no_set_and_goes(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), sets.begun(tmp_path) as partial:
        (partial / "databases/dump").write_bytes(b"half")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / sets.PARTIAL).mkdir()
    (tmp_path / sets.PARTIAL / "killed").write_bytes(b"")
    assert sets.list_sets(tmp_path) == []
    with sets.begun(tmp_path) as partial:
        assert list(partial.iterdir()) == []
        sets.finish(partial, NOW)
    assert [found.name for found in sets.list_sets(tmp_path)] == ["20261129T030000Z"]


def test_two_sets_of_one_second_are_two(tmp_path: Path) -> None:
    for _ in range(2):
        with sets.begun(tmp_path) as partial:
            sets.finish(partial, NOW)
    assert [found.name for found in sets.list_sets(tmp_path)] == ["20261129T030000Z", "20261129T030000Z-2"]


def test_two_backups_at_once_are_refused(tmp_path: Path) -> None:
    with sets.locked(tmp_path), pytest.raises(BackupError, match="another backup is at work"), sets.locked(tmp_path):
        pass


def test_a_full_disk_is_told_and_other_sets_stay(tmp_path: Path) -> None:
    (name,) = make_sets(tmp_path, 1)
    with pytest.raises(BackupError, match=r"No space left.*the older ones stay"), sets.locked(tmp_path):
        raise OSError(28, "No space left on device", str(tmp_path))
    assert sets.find_set(tmp_path, name) == tmp_path / name


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(BackupError, match="expected a folder"), sets.locked(tmp_path / "file/below"):
        pass


def test_a_missing_set_is_told(tmp_path: Path) -> None:
    with pytest.raises(BackupError, match="`mlops backup` makes one"):
        sets.find_set(tmp_path, None)
    with pytest.raises(BackupError, match="shows the sets"):
        sets.find_set(tmp_path, "20200101T000000Z")

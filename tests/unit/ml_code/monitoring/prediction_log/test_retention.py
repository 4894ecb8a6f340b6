"""How long the prediction log stays in the store, on folders."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from ml_code.errors import StorageError
from ml_code.monitoring.prediction_log.collection import hold_lock
from ml_code.monitoring.prediction_log.retention import GB, prune
from ml_code.workspace import Workspace
from tests.log_rows import NOON, LogWarehouse, make_log_workspace


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return make_log_workspace(tmp_path)


def limit(workspace: Workspace, **limits: Any) -> Workspace:
    return replace(workspace, settings=workspace.settings.model_copy(update=limits))


def put(workspace: Workspace, hours_old: int, model: str = "iris", name: str = "a", size: int = 100) -> None:
    hour = NOON - timedelta(hours=hours_old)
    uri = workspace.places.locate_log_hour(model, "14f875ec", hour, name)
    workspace.storage.write_bytes(uri, b"x" * size)


def list_hours(workspace: Workspace) -> list[str]:
    """Model and hour of each object that is there."""
    folder = workspace.places.list_dated()[0]
    parts = [entry.uri.removeprefix(folder).split("/") for entry in workspace.storage.list_objects(folder)]
    return [f"{part[0]} {part[-2]}" for part in parts]


def test_an_hour_goes_when_all_of_it_is_too_old(workspace: Workspace) -> None:
    for hours_old in (23, 24, 25, 26):
        put(workspace, hours_old)
    found = prune(limit(workspace, prediction_log_days=1), NOON + timedelta(minutes=30))
    assert (found.objects, found.size_bytes) == (2, 200)
    assert list_hours(workspace) == ["model=iris hour=12", "model=iris hour=13"]
    assert prune(limit(workspace, prediction_log_days=1), NOON + timedelta(minutes=30)).objects == 0


def test_nothing_goes_while_a_backup_runs(tmp_path: Path) -> None:
    warehouse = LogWarehouse()
    workspace = limit(make_log_workspace(tmp_path, warehouse), prediction_log_days=1)
    put(workspace, 48)
    warehouse.is_backed_up = True
    assert prune(workspace, NOON).objects == 0
    warehouse.is_backed_up = False
    assert prune(workspace, NOON).objects == 1


def test_the_oldest_hours_of_all_models_go_first_until_the_rest_fits(workspace: Workspace) -> None:
    for hours_old, model in ((1, "iris"), (2, "titanic"), (3, "iris"), (4, "titanic")):
        put(workspace, hours_old, model)
    assert prune(limit(workspace, prediction_log_gb=200 / GB), NOON).objects == 2
    assert list_hours(workspace) == ["model=iris hour=11", "model=titanic hour=10"]


def test_labels_go_with_the_predictions_and_batches_of_predictions_stay(workspace: Workspace) -> None:
    put(workspace, 48)
    root = workspace.settings.predictions_uri
    label, batch, other = (
        f"{root}/{name}"
        for name in (
            "labels/model=iris/date=2026-11-18/hour=12/a.parquet",
            "iris/batch/part-00000.parquet",
            "log/notes.txt",
        )
    )
    for uri in (label, batch, other):
        workspace.storage.write_bytes(uri, b"x")
    assert prune(limit(workspace, prediction_log_days=1, prediction_log_gb=0.5 / GB), NOON).objects == 2
    assert [workspace.storage.find(uri) is not None for uri in (label, batch, other)] == [False, True, True]


def test_a_pruning_that_is_interrupted_goes_on_with_the_next_call(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    for hours_old in (48, 49, 50):
        put(workspace, hours_old)
    small = limit(workspace, prediction_log_days=1)
    real, deleted = small.storage.delete, []

    def delete_two(uri: str) -> None:
        if len(deleted) == 2:
            raise StorageError("store: away")
        deleted.append(uri)
        real(uri)

    monkeypatch.setattr(small.storage, "delete", delete_two)
    with pytest.raises(StorageError):
        prune(small, NOON)
    assert list_hours(workspace) == ["model=iris hour=12"]  # the newest of them
    monkeypatch.undo()
    assert prune(small, NOON).objects == 1


def test_unreadable_lines_are_kept_as_long_as_the_log(workspace: Workspace, tmp_path: Path) -> None:
    folder = tmp_path / "volume/unreadable"
    folder.mkdir(parents=True)
    for name, hours_old in (("old", 25), ("new", 23)):
        (folder / f"{name}.jsonl").write_bytes(b"?\n")
        moment = (NOON - timedelta(hours=hours_old)).timestamp()
        os.utime(folder / f"{name}.jsonl", (moment, moment))
    prune(limit(workspace, prediction_log_days=1), NOON)
    assert [path.name for path in folder.iterdir()] == ["new.jsonl"]


ASIDE = {
    "labels without use": "labels/unused/{}.jsonl",
    "a CSV file that was read": "feedback/iris/processed/{}.csv",
    "a CSV file that was rejected": "feedback/iris/rejected/{}.csv",
    "its reasons": "feedback/iris/rejected/{}.csv.reasons.txt",
}


def put_aside(workspace: Workspace, place: str, hours_old: int) -> Path:
    path = Path(workspace.settings.predictions_uri) / place.format(hours_old)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * 100)
    moment = (NOON - timedelta(hours=hours_old)).timestamp()
    os.utime(path, (moment, moment))
    return path


@pytest.mark.parametrize("place", ASIDE.values(), ids=ASIDE)
@pytest.mark.parametrize("limits", [{"prediction_log_days": 1}, {"prediction_log_gb": 2000 / GB}], ids=["days", "size"])
def test_what_is_set_aside_has_a_bound_by_days_and_size(
    workspace: Workspace, place: str, limits: dict[str, float]
) -> None:
    old, new, newest = (put_aside(workspace, place, hours_old) for hours_old in (30, 3, 1))
    assert prune(limit(workspace, **limits), NOON).objects == 1
    assert (old.exists(), new.exists(), newest.exists()) == (False, True, True)


def test_a_csv_file_that_waits_is_never_pruned(workspace: Workspace) -> None:
    path = put_aside(workspace, "feedback/iris/{}.csv", 10_000)
    assert prune(limit(workspace, prediction_log_gb=0.1 / GB), NOON).objects == 0
    assert path.exists()


def test_unreadable_lines_have_a_bound_by_size(workspace: Workspace) -> None:
    folder = workspace.settings.prediction_log_dir
    assert folder
    paths = [put_aside(workspace, f"{folder}/unreadable/{{}}.jsonl", hours_old) for hours_old in (3, 2, 1)]
    prune(limit(workspace, prediction_log_gb=2000 / GB), NOON)
    assert [path.exists() for path in paths] == [False, True, True]


def test_nothing_is_deleted_while_labels_are_collected(workspace: Workspace) -> None:
    put(workspace, 48)
    home = workspace.settings.prediction_log_dir
    assert home
    with hold_lock(home / "feedback.lock"):
        assert prune(limit(workspace, prediction_log_days=1), NOON).objects == 0
    assert prune(limit(workspace, prediction_log_days=1), NOON).objects == 1

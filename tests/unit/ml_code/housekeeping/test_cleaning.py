"""A run of housekeeping on folders: what goes, what stays, and that a clock or an error deletes nothing."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from ml_code.errors import HousekeepingError, StorageError, WarehouseError
from ml_code.gate.decision import Decision
from ml_code.housekeeping import cleaning, finding, rules
from ml_code.housekeeping.choice import Entry
from ml_code.workspace import Workspace
from tests.unit.ml_code.housekeeping.world import NOW, World


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_the_first_run_of_a_stack_shows_and_deletes_nothing(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.put("datasets/quarantine/iris/a.csv", 100)
    with caplog.at_level(logging.INFO):
        assert world.clean() == {}
    assert "would delete quarantine: 1" in caplog.text
    assert world.list_files() == ["datasets/quarantine/iris/a.csv"]
    assert world.rows.runs["run-1"]["planned"][rules.QUARANTINE] == {"entries": 1, "bytes": 100}
    assert world.clean() == {rules.QUARANTINE: 1}


def test_a_dry_run_deletes_nothing_even_if_its_tasks_are_run(world: World) -> None:
    world.put("datasets/quarantine/iris/a.csv", 100)
    world.start()
    assert world.clean(is_dry=True) == {}
    done = cleaning.delete(world.workspace, "run-2", rules.QUARANTINE)
    assert done is not None
    assert (done.entries, len(world.list_files())) == (0, 1)


def test_what_is_too_old_goes_and_the_rest_stays(world: World) -> None:
    world.registry.make("iris", 1, NOW, sha256="kept")
    for days, outcome in ((91, "old"), (89, "young")):
        world.put(f"predictions/iris/{outcome}/part-0.csv", days)
        world.put(f"predictions/iris/files/{outcome}.onnx", days)
        world.put(f"predictions/drift/model=iris/version=1/{outcome}.html", days)
        world.put(f"predictions/labels/unused/{outcome}.jsonl", days)
        world.put(f"predictions/feedback/iris/processed/{outcome}.csv", days)
        world.put(f"datasets/quarantine/iris/{outcome}.csv", days)
        world.put(f"datasets/clean/iris/{outcome}.parquet", days)
        world.put(f"predictions/log/model=iris/{outcome}.parquet", days)
        world.put(f"predictions/feedback/iris/{outcome}.csv", days)
    world.put("predictions/iris/files/kept.onnx", 1000)
    world.put("task-logs/dag_id=a/old.log", 31)
    world.put("task-logs/dag_id=a/young.log", 29)
    world.start()
    assert world.clean() == {rules.BATCHES: 2, rules.QUARANTINE: 1, rules.LOOP_FILES: 3, rules.LOGS: 1}
    assert [name for name in world.list_files() if "old" in name] == [
        "datasets/clean/iris/old.parquet",
        "predictions/feedback/iris/old.csv",
        "predictions/log/model=iris/old.parquet",
    ]
    assert len([name for name in world.list_files() if "young" in name]) == 10
    assert "predictions/iris/files/kept.onnx" in world.list_files()


def test_the_oldest_batches_go_whole_until_the_rest_fits(tmp_path: Path) -> None:
    world = World(tmp_path, batch_gb=250e-9)
    for days in (20, 30, 40):
        world.put(f"predictions/iris/batch-{days}/plan.json", days + 5, 40)
        world.put(f"predictions/iris/batch-{days}/part.csv", days, 60)
    world.start()
    assert world.clean() == {rules.BATCHES: 1}
    assert [name for name in world.list_files() if "batch-40" in name] == []
    assert len(world.list_files()) == 4


def test_nothing_younger_than_the_backups_goes_for_its_size(tmp_path: Path) -> None:
    world = World(tmp_path, batch_gb=1e-9, backup_days=14)
    world.put("predictions/iris/young/part.csv", 13)
    world.put("predictions/iris/old/part.csv", 15)
    world.start()
    assert world.clean() == {rules.BATCHES: 1}
    assert world.list_files() == ["predictions/iris/young/part.csv"]


def test_a_snapshot_goes_when_no_run_and_no_version_names_it(world: World) -> None:
    world.registry.make("iris", 1, NOW, dataset_version="of-a-version")
    world.registry.runs = [{"dataset_version": "of-a-run"}]
    for name in ("of-a-version", "of-a-run", "of-nobody", "present"):
        world.put(f"datasets/snapshots/iris/{name}.parquet", 200 if name == "present" else 100)
    world.put("datasets/snapshots/iris/young.parquet", 29)
    world.put("datasets/snapshots/iris/notes.txt", 300)
    (world.folder / "datasets/versions").mkdir()
    (world.folder / "datasets/versions/iris.json").write_text('{"version": "present", "inputs": "", "source": ""}')
    world.put("datasets/snapshots/gone/newest.parquet", 100)
    world.put("datasets/snapshots/gone/older.parquet", 101)
    world.start()
    assert world.clean() == {rules.SNAPSHOTS: 2}
    left = [Path(name).stem for name in world.list_files() if "/snapshots/" in name]
    assert sorted(left) == ["newest", "notes", "of-a-run", "of-a-version", "present", "young"]


def test_versions_beyond_the_newest_go_unless_somebody_may_need_them(tmp_path: Path) -> None:
    world = World(tmp_path, versions_kept=3)
    decision = Decision("iris", "promote", "", "accuracy", 0.9, 0.8, 50, "manual", best_version="2").to_json()
    world.registry.make("iris", 12, NOW - timedelta(days=50), gate__decision=decision)
    world.registry.aliases["iris"] = {"champion": "4", "previous": "3"}
    world.rows.in_use["iris"] = ["6", None, "7"]
    world.registry.make("of-a-person", 12, NOW - timedelta(days=50))
    world.start()
    assert world.clean() == {rules.VERSIONS: 4}
    assert set(world.registry.list_numbers("iris")) == {"2", "3", "4", "6", "7", "10", "11", "12"}
    assert len(world.registry.list_numbers("of-a-person")) == 12
    assert set(world.rows.held) == {"rollout/iris"}


def test_collections_go_with_the_log_except_the_newest(world: World) -> None:
    world.rows.collections = {f"of-day-{days}": NOW - timedelta(days=days) for days in (200, 100)}
    world.start()
    assert world.clean() == {rules.COLLECTIONS: 1}
    assert list(world.rows.collections) == ["of-day-100"]
    world.rows.collections["of-day-89"] = NOW - timedelta(days=89)
    assert world.clean() == {rules.COLLECTIONS: 1}
    assert list(world.rows.collections) == ["of-day-89"]


def test_a_version_that_is_promoted_after_the_plan_stays(tmp_path: Path) -> None:
    world = World(tmp_path, versions_kept=1)
    world.registry.make("iris", 3, NOW - timedelta(days=50))
    world.start()
    found = finding.find_versions(world.workspace, NOW)
    world.rows.in_use["iris"] = ["1"]
    done = cleaning.delete(world.workspace, "run-1", rules.VERSIONS, finders={rules.VERSIONS: lambda *_: found})
    assert done is not None
    assert done.entries == 0  # the first run is dry
    world.rows.runs["run-1"]["is_dry"] = False
    done = cleaning.delete(world.workspace, "run-1", rules.VERSIONS, finders={rules.VERSIONS: lambda *_: found})
    assert done is not None
    assert (done.entries, world.registry.list_numbers("iris")) == (1, ["1", "3"])


@pytest.mark.parametrize(
    "name", ["version 2 of iris", "datasets/snapshots/iris/abc.parquet", "predictions/iris/files/f00.onnx"]
)
def test_a_rule_that_would_delete_what_serves_is_refused_before_anything_goes(world: World, name: str) -> None:
    world.registry.make("iris", 2, NOW - timedelta(days=500), sha256="f00", dataset_version="abc")
    world.registry.aliases["iris"] = {"champion": "2"}
    world.put("datasets/quarantine/iris/a.csv", 100)
    world.start()

    def find_champion(workspace: Workspace, clock: datetime) -> list[Entry]:
        return [Entry(name, clock, 1, (name,))]

    finders = {rules.QUARANTINE: finding.find_quarantine, rules.SNAPSHOTS: find_champion}
    with pytest.raises(HousekeepingError, match="version 2 of iris serves from, expected nothing that an alias names"):
        world.clean(finders=finders)
    world.rows.runs["run-2"]["is_dry"] = False
    with pytest.raises(HousekeepingError, match=f"found {name}"):
        cleaning.delete(world.workspace, "run-2", rules.SNAPSHOTS, finders=finders)
    assert world.list_files() == ["datasets/quarantine/iris/a.csv"]


def test_a_clock_that_jumps_ahead_makes_two_days_too_old_and_no_more(world: World) -> None:
    for days in (80, 88.5, 91):
        world.put(f"datasets/quarantine/iris/{days}.csv", days)
    world.start()
    assert world.clean(NOW + timedelta(days=1000)) == {rules.QUARANTINE: 2}
    assert world.list_files() == ["datasets/quarantine/iris/80.csv"]


def test_a_clock_that_is_set_back_deletes_less_and_the_next_run_goes_on(world: World) -> None:
    world.put("datasets/quarantine/iris/a.csv", 90.02)
    world.start()
    assert world.clean(NOW - timedelta(hours=1)) == {}
    assert world.clean(NOW) == {rules.QUARANTINE: 1}


def test_the_database_has_the_last_word_on_the_time(world: World) -> None:
    world.put("datasets/quarantine/iris/a.csv", 89)
    world.start()
    world.rows.clock = NOW
    assert world.clean(NOW + timedelta(days=2)) == {}


def test_a_run_that_is_killed_in_a_batch_goes_on_with_the_next(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(3):
        world.put(f"predictions/iris/batch/part-{number}.csv", 100)
    world.start()
    real, deleted = world.workspace.storage.delete, []

    def delete_one(uri: str) -> None:
        if deleted:
            raise StorageError("the store is away")
        deleted.append(uri)
        real(uri)

    with monkeypatch.context() as patch:
        patch.setattr(world.workspace.storage, "delete", delete_one)
        with pytest.raises(StorageError, match="away"):
            world.clean()
    assert len(world.list_files()) == 2
    assert world.clean() == {rules.BATCHES: 1}
    assert world.list_files() == []


def test_a_run_beside_another_deletion_or_a_backup_deletes_nothing(world: World) -> None:
    world.put("datasets/quarantine/iris/a.csv", 100)
    world.start()
    world.rows.is_locked = True
    assert world.clean() == {}
    assert world.list_files() == ["datasets/quarantine/iris/a.csv"]


def test_a_run_that_loses_its_lock_ends(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cleaning, "PROVED_EVERY", 1)
    for number in range(3):
        world.put(f"datasets/quarantine/iris/{number}.csv", 100)
    world.start()
    real = world.workspace.storage.delete

    def delete_and_break(uri: str) -> None:
        real(uri)
        world.rows.is_locked = True

    monkeypatch.setattr(world.workspace.storage, "delete", delete_and_break)
    with pytest.raises(WarehouseError, match="broke"):
        world.clean()
    assert len(world.list_files()) == 2


def test_no_link_is_followed_and_no_other_folder_is_touched(world: World) -> None:
    outside = world.put("elsewhere/precious.csv", 500)
    world.put("datasets/quarantine/iris/a.csv", 100)
    (world.folder / "datasets/quarantine/link").symlink_to(outside.parent)
    world.put("datasets/quarantined/b.csv", 100)
    world.put("predictions/iris-other/batch/part.csv", 100)
    world.put("predictions/iris/loose.csv", 100)
    world.start()
    assert world.clean() == {rules.QUARANTINE: 1}
    assert outside.is_file()
    assert [name for name in world.list_files() if name.endswith(("b.csv", "part.csv", "loose.csv"))] != []
    assert len(world.list_files()) == 4


def test_a_name_that_leaves_its_folder_is_nobodys(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.put("datasets/quarantine/iris/a.csv", 100)
    folder = f"{world.folder}/datasets/quarantine/"
    real = world.workspace.storage.list_objects

    def list_hostile(prefix: str) -> list[object]:
        found = list(real(prefix))
        names = (f"{folder}../clean/iris.parquet", f"{folder}iris/../../clean/b", f"{folder}/x", f"{folder}./y", "z")
        extra = [type(found[0])(name, "t", found[0].modified_at, 1) for name in names] if found else []
        return [*found, *extra]

    monkeypatch.setattr(world.workspace.storage, "list_objects", list_hostile)
    assert [entry.name for entry in finding.find_quarantine(world.workspace, NOW)] == [f"{folder}iris/a.csv"]


def test_the_disk_stays_flat_for_ninety_days(tmp_path: Path) -> None:
    """Each day makes a batch, a snapshot with its run, a report, logs, a page of drift and a version."""
    limits = {"batch_days": 10, "quarantine_days": 10, "prediction_log_days": 10, "task_log_days": 10}
    world = World(tmp_path, **limits, snapshot_days=10, versions_kept=5, backup_days=3)
    world.registry.aliases["iris"] = {"champion": "1"}
    sizes = []
    for day in range(91):
        now = NOW + timedelta(days=day)
        world.registry.make("iris", 1, now, sha256="f{}", dataset_version="s{}")
        name = f"day-{day}"
        world.put(f"predictions/iris/{name}/part.csv", 0, 1000, now)
        world.put(f"predictions/iris/files/f{day + 1}.onnx", 0, 1000, now)
        world.put(f"predictions/drift/model=iris/version=1/{name}.html", 0, 1000, now)
        world.put(f"datasets/quarantine/iris/{name}.csv", 0, 1000, now)
        world.put(f"datasets/snapshots/iris/s{day + 1}.parquet", 0, 1000, now)
        world.put(f"task-logs/dag_id=a/{name}.log", 0, 1000, now)
        world.clean(now)
        sizes.append(world.measure())
    assert max(sizes[20:]) == min(sizes[20:])
    assert world.registry.list_numbers("iris")[0] == "1"
    assert "datasets/snapshots/iris/s1.parquet" in world.list_files()
    assert "predictions/iris/files/f1.onnx" in world.list_files()


def test_a_person_is_told_of_a_full_disk_of_the_volumes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cleaning, "measure_disk", lambda folder: 0.85)
    assert cleaning.find_full_disk(World(tmp_path / "without").workspace) is None
    told = cleaning.find_full_disk(World(tmp_path / "with", prediction_log_dir=tmp_path).workspace)
    assert told is not None
    assert "found 85% used" in told

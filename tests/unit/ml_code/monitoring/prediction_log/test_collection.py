"""The collection of the prediction log, on folders and a warehouse in memory; killed anywhere."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from ml_code.errors import SettingsError
from ml_code.monitoring.prediction_log import collection
from ml_code.monitoring.prediction_log.blocks import Head
from ml_code.monitoring.prediction_log.collection import collect, group_files
from ml_code.monitoring.prediction_log.reading import list_models, read_watermark
from ml_code.segments import SegmentWriter
from ml_code.workspace import Workspace
from tests.log_rows import IRIS, LogWarehouse, make_log_workspace, make_rows, render_lines
from tests.unit.ml_code.monitoring.prediction_log.replica_log import answer, read_numbers


class KilledError(BaseException):
    """The process ends here."""


def test_rows_come_into_the_store_once_by_hour_and_the_volume_is_empty(
    workspace: Workspace, volume: collection.Volume, warehouse: LogWarehouse, tmp_path: Path
) -> None:
    answer(volume, 5)
    answer(volume, 3, owner="canary-b", first=5)
    found = collect(workspace)
    assert found is not None
    assert (found.segments, found.rows, found.dropped) == (2, 8, 4)
    again = collect(workspace)
    assert again is not None
    assert again.rows == 0
    assert read_numbers(workspace) == list(range(8))
    assert not list(volume.home.rglob("*.jsonl"))
    assert list(volume.batches.iterdir()) == []
    objects = sorted((tmp_path / "predictions").rglob("*.parquet"))
    assert [path.parent.name for path in objects] == ["hour=12", "hour=13", "hour=14"]
    assert len(warehouse.collections) == 2
    [(_, model, schema)] = warehouse.batches
    assert (model, schema) == ("iris", IRIS.schema)
    assert list_models(workspace) == ["iris"]


STEPS: dict[str, tuple[object, str]] = {
    "segments are moved": (collection, "take_free"),
    "an object is put": (collection, "_store"),
    "the database knows": (collection, "_record"),
    "the folder is renamed": (Path, "rename"),
    "the folder is deleted": (shutil, "rmtree"),
}


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("step", STEPS)
def test_killed_at_a_step_twice_in_a_row_every_row_is_there_once(
    workspace: Workspace, volume: collection.Volume, monkeypatch: pytest.MonkeyPatch, step: str, when: str
) -> None:
    owner, name = STEPS[step]
    real: Callable[..., object] = getattr(owner, name)

    def die(*arguments: object, **options: object) -> object:
        if when == "after":
            real(*arguments, **options)
        raise KilledError

    for attempt in range(2):
        answer(volume, 4, owner=f"stable-{attempt}", first=4 * attempt)
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, die)
            with pytest.raises(KilledError):
                collect(workspace)
    assert collect(workspace) is not None
    assert read_numbers(workspace) == list(range(8))
    assert list(volume.batches.iterdir()) == []


def test_killed_in_the_middle_of_a_deletion_no_object_is_replaced_by_less(
    workspace: Workspace, volume: collection.Volume, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer(volume, 4)
    answer(volume, 4, owner="stable-b", first=4)

    def delete_one(folder: Path) -> None:
        next(iter(folder.iterdir())).unlink()
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", delete_one)
        with pytest.raises(KilledError):
            collect(workspace)
    collect(workspace)
    assert read_numbers(workspace) == list(range(8))


def test_a_repeated_batch_writes_the_same_bytes(
    workspace: Workspace, volume: collection.Volume, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    answer(volume, 4)

    def read_objects() -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in (tmp_path / "predictions").rglob("*.parquet")}

    with monkeypatch.context() as patch:
        patch.setattr(collection, "_record", lambda *_: (_ for _ in ()).throw(KilledError))
        with pytest.raises(KilledError):
            collect(workspace)
    before = read_objects()
    collect(workspace)
    assert read_objects() == before


def test_a_second_collection_at_the_same_time_does_nothing(workspace: Workspace, volume: collection.Volume) -> None:
    answer(volume, 2)
    file = os.open(volume.home / "collector.lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(file, fcntl.LOCK_EX)
    assert collect(workspace) is None
    os.close(file)
    assert collect(workspace) is not None
    assert read_numbers(workspace) == [0, 1]


def test_a_segment_that_is_written_stays(workspace: Workspace, volume: collection.Volume) -> None:
    writer = SegmentWriter(volume.segments, "stable-a")
    writer.write(render_lines(IRIS, make_rows([[5.1, 3.5, 1.4, 0.2]], [0])))
    found = collect(workspace)
    assert found is not None
    assert found.segments == 0
    writer.close()
    collect(workspace)
    assert read_numbers(workspace) == [0]


def test_torn_and_unreadable_lines_are_counted_and_the_latter_kept(
    workspace: Workspace, volume: collection.Volume, warehouse: LogWarehouse
) -> None:
    text = render_lines(IRIS, make_rows([["long", 3.5, 1.4, 0.2]], [0]))
    answer(volume, 2, tail=b'{"format":9}\n' + text + b'{"format":1,"mod')
    found = collect(workspace)
    assert found is not None
    assert (found.rows, found.torn, found.unreadable) == (2, 1, 2)
    [kept] = volume.unreadable.iterdir()
    assert kept.read_bytes() == b'{"format":9}\n' + text
    assert read_numbers(workspace) == [0, 1]


def test_what_another_release_could_not_read_is_tried_once(workspace: Workspace, volume: collection.Volume) -> None:
    answer(volume, 2, tail=b'{"format":9}\n')
    [segment] = volume.segments.iterdir()
    volume.unreadable.mkdir()
    segment.rename(volume.unreadable / "20261129T120000.000000Z-0.jsonl")
    found = collect(workspace)
    assert found is not None
    assert (found.rows, found.unreadable) == (2, 1)
    [kept] = volume.unreadable.iterdir()
    assert kept.read_bytes() == b'{"format":9}\n'
    assert read_numbers(workspace) == [0, 1]
    again = collect(workspace)
    assert again is not None
    assert (again.rows, again.unreadable) == (0, 0)
    assert list(volume.unreadable.iterdir()) == [kept]


def test_the_log_is_complete_until_before_the_newest_collection(workspace: Workspace, warehouse: LogWarehouse) -> None:
    assert read_watermark(workspace) is None
    collect(workspace)
    newest = max(row[0] for row in warehouse.collections.values())
    assert read_watermark(workspace) == newest - timedelta(seconds=90)


def test_a_batch_that_waits_keeps_the_watermark_back(
    workspace: Workspace, volume: collection.Volume, warehouse: LogWarehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    collect(workspace)
    before = read_watermark(workspace)
    answer(volume, 2)
    with monkeypatch.context() as patch:
        patch.setattr(collection, "_store", lambda *_: (_ for _ in ()).throw(KilledError))
        with pytest.raises(KilledError):
            collect(workspace)
        assert read_watermark(workspace) == before
    collect(workspace)
    assert read_watermark(workspace) != before


def test_a_collection_that_was_killed_between_two_segments_says_nothing_of_the_others(
    workspace: Workspace, volume: collection.Volume, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer(volume, 1)
    real = collection.take_free

    def take_one(folder: Path, target: Path) -> list[Path]:
        real(folder, target)
        raise KilledError

    for _ in range(2):
        with monkeypatch.context() as patch:
            patch.setattr(collection, "take_free", take_one)
            with pytest.raises(KilledError):
                collect(workspace)
        assert read_watermark(workspace) is None
    collect(workspace)
    assert read_watermark(workspace) is not None
    assert read_numbers(workspace) == [0]


def test_a_large_batch_is_read_in_groups_that_fit_into_memory(tmp_path: Path) -> None:
    for number in range(5):
        (tmp_path / f"{number}.jsonl").write_bytes(b"x" * 40)
    assert [[path.stem for path in group] for group in group_files(tmp_path, 100)] == [["0", "1"], ["2", "3"], ["4"]]
    assert [len(group) for group in group_files(tmp_path, 10)] == [1] * 5


def test_without_a_volume_the_collection_says_which_setting_is_missing(tmp_path: Path) -> None:
    workspace = make_log_workspace(tmp_path)
    bare = Workspace(workspace.settings.model_copy(update={"prediction_log_dir": None}))
    with pytest.raises(SettingsError, match="MLOPS_PREDICTION_LOG_DIR"):
        collect(bare)


def test_a_block_of_an_unknown_kind_is_kept_aside_and_stops_nothing(
    workspace: Workspace, volume: collection.Volume
) -> None:
    later = Head("iris", "3", "champion", "live", "classification", ["x"], ["picture"])
    answer(volume, 2, tail=render_lines(later, make_rows([["a"]], [0])))
    found = collect(workspace)
    assert found is not None
    assert (found.rows, found.unreadable) == (2, 1)


def test_other_entries_among_the_batches_stay_where_they_lie(
    workspace: Workspace, volume: collection.Volume, tmp_path: Path
) -> None:
    volume.batches.mkdir(parents=True)
    (volume.batches / "mine").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/secret.jsonl").write_text("key\n")
    (volume.batches / "20261120T120000.000000Z").symlink_to(tmp_path / "elsewhere")
    assert collect(workspace) is not None
    assert (tmp_path / "elsewhere/secret.jsonl").exists()
    assert not list(volume.unreadable.glob("*"))

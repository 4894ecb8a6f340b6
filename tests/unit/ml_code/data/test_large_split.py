from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ml_code.data import large_split, snapshot_blocks
from ml_code.data.features import list_classes, select_inputs
from ml_code.data.holdout import split_holdout
from ml_code.data.large_split import split_blocks
from ml_code.data.live_rows import LIVE_ID
from ml_code.data.snapshot_blocks import SnapshotBlocks
from ml_code.errors import DataCheckError, StorageError
from ml_code.training.feature_spec import describe_features
from tests.unit.ml_code.passengers import make_dataset, make_typed_rows


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot_blocks, "BLOCK_ROWS", 37)


def write(folder: Path, rows: pd.DataFrame) -> SnapshotBlocks:
    path = folder / "snapshot.parquet"
    rows.to_parquet(path, index=False)
    return SnapshotBlocks(str(path), path)


def copied(rows: pd.DataFrame) -> pd.DataFrame:
    return pd.concat([rows, rows[::2], rows, rows[::3]], ignore_index=True)


TABLES = {
    "without a key": ({}, make_typed_rows()),
    "with copies over blocks": ({}, copied(make_typed_rows())),
    "few combinations": ({"numeric": []}, copied(make_typed_rows())),
    "with a key": ({"key": "number"}, make_typed_rows().assign(number=range(400))),
    "with groups": ({"group": "town"}, copied(make_typed_rows().assign(town=[f"t{n % 50}" for n in range(400)]))),
    "with gaps in groups": ({"group": "town"}, copied(make_typed_rows())),
    "by chosen columns": ({"holdout": {"columns": ["age"]}}, copied(make_typed_rows())),
    "with live rows": ({}, copied(make_typed_rows().assign(**{LIVE_ID: [*[None] * 300, *map(str, range(100))]}))),
    "with rare classes": ({}, make_typed_rows().assign(outcome=[*["alive", "dead"] * 190, *map(str, range(20))])),
}


@pytest.mark.parametrize("name", TABLES)
def test_each_row_has_the_side_that_it_has_in_memory(tmp_path: Path, name: str) -> None:
    changes, rows = TABLES[name]
    dataset = make_dataset(**changes)
    expected = split_holdout(dataset, rows)
    large = split_blocks(dataset, write(tmp_path, rows))
    pd.testing.assert_frame_equal(large.split.train, expected.train)
    pd.testing.assert_frame_equal(large.split.holdout, expected.holdout)
    assert (large.train_rows, large.holdout_rows) == (len(expected.train), len(expected.holdout))
    assert (large.split.holdout_id, large.split.unheld_classes) == (expected.holdout_id, expected.unheld_classes)
    assert large.draw_alike() is large.split


def test_samples_are_drawn_by_row_and_describe_all_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(large_split, "TRAIN_ROWS", 40)
    monkeypatch.setattr(large_split, "HOLDOUT_ROWS", 30)
    rows = make_typed_rows(rows=2000).assign(flag=1.0)
    rows.loc[[700, 1300], "flag"] = [0.0, np.nan]
    rows.loc[1500:1502, "outcome"] = "lost"
    rows.loc[1700:1900:40, "town"] = [f"only {n}" for n in range(6)]
    dataset = make_dataset(numeric=["age", "fare", "flag"])
    expected = split_holdout(dataset, rows)
    large = split_blocks(dataset, write(tmp_path, rows))
    train, holdout = large.split.train, large.split.holdout
    assert 30 < len(train) < 90
    assert 10 < len(holdout) < 60
    assert (large.train_rows, large.holdout_rows) == (len(expected.train), len(expected.holdout))
    assert list_classes(dataset, train) == list_classes(dataset, expected.train)
    assert describe_features(dataset, select_inputs(dataset, train)) == describe_features(
        dataset, select_inputs(dataset, expected.train)
    )
    assert len(holdout.merge(expected.holdout.drop_duplicates(), how="inner")) == len(holdout)
    alike = large.draw_alike()
    assert len(alike.holdout) == round(len(alike.train) * large.holdout_rows / large.train_rows)
    grown = split_blocks(dataset, write(tmp_path, pd.concat([rows, rows.head(5)], ignore_index=True)))
    assert len(grown.split.holdout.merge(holdout.drop_duplicates(), how="inner")) >= len(holdout) - 2


def test_samples_of_few_groups_have_rows_of_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All rows of a group have one position."""
    rows = pd.concat([make_typed_rows()] * 10, ignore_index=True).assign(town=[f"t{n % 20}" for n in range(4000)])
    dataset = make_dataset(group="town")
    whole = split_blocks(dataset, write(tmp_path, rows)).split
    monkeypatch.setattr(large_split, "HOLDOUT_ROWS", 200)
    monkeypatch.setattr(large_split, "TRAIN_ROWS", 400)
    drawn = split_blocks(dataset, write(tmp_path, rows)).split
    assert 140 < len(drawn.holdout) < 260
    assert 320 < len(drawn.train) < 500
    assert set(drawn.holdout["town"]) == set(whole.holdout["town"])


def test_one_class_is_refused_as_in_memory(tmp_path: Path) -> None:
    with pytest.raises(DataCheckError, match="found the one class 'dead'"):
        split_blocks(make_dataset(), write(tmp_path, make_typed_rows().assign(outcome="dead")))


def test_a_damaged_part_of_a_snapshot_is_told_in_one_sentence(tmp_path: Path) -> None:
    blocks = write(tmp_path, make_typed_rows(rows=4000))
    content = bytearray(blocks.path.read_bytes())
    content[4:2000] = b"\xff" * 1996
    blocks.path.write_bytes(content)
    with pytest.raises(StorageError, match=r"snapshot\.parquet: found a file that cannot be read"):
        split_blocks(make_dataset(), blocks)

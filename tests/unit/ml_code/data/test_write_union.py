"""The union of files is written one file at a time; what it says of all rows comes from all files."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from ml_code.data.clean_files import CleanFile
from ml_code.data.live_rows import LIVE_ID
from ml_code.data.union import AcceptedFile, write_union
from ml_code.datasets import Dataset
from tests.unit.ml_code.passengers import make_dataset, make_typed_rows


def accept(rows: pd.DataFrame, day: int, *, is_source: bool = False, is_live: bool = False) -> AcceptedFile:
    tag = None if is_source else "tag"
    file = CleanFile(f"{day:064d}", f"{day}.csv", tag, f"2026-01-{day:02d}", len(rows), 0, is_live=is_live)
    return file, rows


def read(dataset: Dataset, files: list[AcceptedFile], folder: Path) -> pd.DataFrame:
    folder.mkdir()
    union = write_union(dataset, files, folder)
    assert [path.name for path in folder.iterdir()] == ["union.parquet"]
    rows = pd.read_parquet(union.path)
    assert len(rows) == union.rows
    return rows


def test_files_come_from_the_oldest_to_the_newest_and_live_rows_last(tmp_path: Path) -> None:
    rows = make_typed_rows(rows=40)
    live = rows[30:].assign(**{LIVE_ID: [f"r-{n}" for n in range(10)]})
    files = [
        accept(live, 1, is_live=True),
        accept(rows[10:20], 3),
        accept(rows[20:30], 2),
        accept(rows[:10], 9, is_source=True),
    ]
    found = read(make_dataset(), files, tmp_path / "a")
    expected = pd.concat([rows[:10], rows[20:30], rows[10:20], live], ignore_index=True)
    pd.testing.assert_frame_equal(found, expected)


def test_labels_are_numbers_only_if_those_of_all_counting_rows_are(tmp_path: Path) -> None:
    dataset = make_dataset(key="number")
    rows = make_typed_rows(rows=20).assign(outcome="1", number=[f"n{n}" for n in range(20)])
    wrong = accept(rows.assign(outcome=["one", *["1"] * 19]), 1)
    assert read(dataset, [wrong], tmp_path / "a")["outcome"].tolist() == ["one", *["1"] * 19]
    corrected = read(dataset, [wrong, accept(rows[:1], 2)], tmp_path / "b")
    assert corrected["outcome"].tolist() == [1] * 20
    assert corrected["number"].tolist() == [*[f"n{n}" for n in range(1, 20)], "n0"]


@pytest.mark.parametrize("first", [0, 1])
def test_a_column_that_some_files_lack_is_missing_there(tmp_path: Path, first: int) -> None:
    rows = make_typed_rows(rows=20)
    noted = rows[10:].assign(note=[None] * 9 + ["last"], weight=2.5)
    files = [accept(rows[:10], 1 + first), accept(noted, 2 - first)]
    found = read(make_dataset(), files, tmp_path / "a")
    assert (found["note"].notna().sum(), found["weight"].sum()) == (1, 25.0)
    assert set(found["note"].dropna()) == {"last"}

from __future__ import annotations

import pandas as pd
import pytest

from ml_code.data.clean_files import CleanFiles
from ml_code.data.snapshots import name_version, read_snapshot, take_snapshot
from ml_code.datasets import Dataset
from ml_code.errors import DataCheckError
from ml_code.settings import Settings
from tests.unit.ml_code.passengers import make_dataset, make_rows


def accept(dataset: Dataset, settings: Settings, rows: pd.DataFrame, tag: str | None = None) -> str:
    content = rows.to_csv(index=False).encode()
    return CleanFiles(dataset, settings).accept(content, "rows.csv", tag).sha256


def test_a_snapshot_is_the_union_of_the_source_and_the_accepted_files(settings: Settings) -> None:
    dataset, rows = make_dataset(), make_rows(rows=500)
    source = accept(dataset, settings, rows.head(400))
    first = take_snapshot(dataset, source, settings)
    accept(dataset, settings, rows.tail(200).assign(note="new"), "tag")
    second = take_snapshot(dataset, source, settings)
    assert name_version(first) != name_version(second)
    assert (len(read_snapshot(first, settings)), len(read_snapshot(second, settings))) == (400, 500)
    assert take_snapshot(dataset, source, settings) == second


def test_of_the_source_the_present_state_alone_counts(settings: Settings) -> None:
    dataset, rows = make_dataset(), make_rows()
    accept(dataset, settings, rows)
    corrected = accept(dataset, settings, rows.head(300))
    assert len(read_snapshot(take_snapshot(dataset, corrected, settings), settings)) == 300


def test_without_a_key_equal_rows_count_once(settings: Settings) -> None:
    dataset, rows = make_dataset(), make_rows()
    source = accept(dataset, settings, pd.concat([rows, rows]))
    assert len(read_snapshot(take_snapshot(dataset, source, settings), settings)) == len(rows)


def test_with_a_key_the_newest_row_counts(settings: Settings) -> None:
    dataset, rows = make_dataset(key="number"), make_rows().assign(number=[str(n) for n in range(400)])
    source = accept(dataset, settings, rows)
    accept(dataset, settings, rows.head(1).assign(fare="7.5"), "tag")
    united = read_snapshot(take_snapshot(dataset, source, settings), settings)
    assert len(united) == 400
    assert united.loc[united["number"] == "0", "fare"].tolist() == [7.5]


def test_other_checks_make_another_version_without_the_rows_that_break_them(settings: Settings) -> None:
    dataset, rows = make_dataset(), make_rows()
    source = accept(dataset, settings, rows)
    before = take_snapshot(dataset, source, settings)
    oldest = pd.to_numeric(rows["age"]).max()
    narrower = make_dataset(checks={"columns": {"age": {"maximum": float(oldest) - 0.01}}})
    after = take_snapshot(narrower, source, settings)
    assert name_version(after) != name_version(before)
    assert len(read_snapshot(after, settings)) < len(read_snapshot(before, settings))


def test_a_file_that_lacks_a_new_column_is_left_out(settings: Settings) -> None:
    rows = make_rows()
    accept(make_dataset(), settings, rows.head(100), "tag")
    wider = make_dataset(numeric=["age", "fare", "tip"])
    source = accept(wider, settings, rows.assign(tip="1"))
    assert len(read_snapshot(take_snapshot(wider, source, settings), settings)) == 400


def test_without_a_row_that_fits_there_is_no_snapshot(settings: Settings) -> None:
    source = accept(make_dataset(), settings, make_rows())
    with pytest.raises(DataCheckError, match="found 1 accepted files and no row in them that fits"):
        take_snapshot(make_dataset(numeric=["age", "fare", "tip"]), source, settings)

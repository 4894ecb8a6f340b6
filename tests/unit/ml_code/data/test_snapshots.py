from __future__ import annotations

import pandas as pd
import pytest

from ml_code.data.clean_files import CleanFiles
from ml_code.data.snapshots import name_version, read_snapshot, take_snapshot
from ml_code.datasets import Dataset
from ml_code.errors import DataCheckError
from ml_code.workspace import Workspace
from tests.unit.ml_code.passengers import make_dataset, make_rows


def accept(dataset: Dataset, workspace: Workspace, rows: pd.DataFrame, tag: str | None = None) -> str:
    content = rows.to_csv(index=False).encode()
    return CleanFiles(workspace, dataset).accept(content, "rows.csv", tag).sha256


def test_a_snapshot_is_the_union_of_the_source_and_the_accepted_files(workspace: Workspace) -> None:
    dataset, rows = make_dataset(), make_rows(rows=500)
    source = accept(dataset, workspace, rows.head(400))
    first = take_snapshot(workspace, dataset, source)
    accept(dataset, workspace, rows.tail(200).assign(note="new"), "tag")
    second = take_snapshot(workspace, dataset, source)
    assert name_version(first) != name_version(second)
    assert (
        len(read_snapshot(workspace, first)),
        len(read_snapshot(workspace, second)),
    ) == (400, 500)
    assert take_snapshot(workspace, dataset, source) == second


def test_of_the_source_the_present_state_alone_counts(workspace: Workspace) -> None:
    dataset, rows = make_dataset(), make_rows()
    accept(dataset, workspace, rows)
    corrected = accept(dataset, workspace, rows.head(300))
    assert len(read_snapshot(workspace, take_snapshot(workspace, dataset, corrected))) == 300


def test_without_a_key_equal_rows_count_once(workspace: Workspace) -> None:
    dataset, rows = make_dataset(), make_rows()
    source = accept(dataset, workspace, pd.concat([rows, rows]))
    assert len(read_snapshot(workspace, take_snapshot(workspace, dataset, source))) == len(rows)


def test_with_a_key_the_newest_row_counts(workspace: Workspace) -> None:
    dataset, rows = make_dataset(key="number"), make_rows().assign(number=[str(n) for n in range(400)])
    source = accept(dataset, workspace, rows)
    accept(dataset, workspace, rows.head(1).assign(fare="7.5"), "tag")
    united = read_snapshot(workspace, take_snapshot(workspace, dataset, source))
    assert len(united) == 400
    assert united.loc[united["number"] == "0", "fare"].tolist() == [7.5]


def test_other_checks_make_another_version_without_the_rows_that_break_them(workspace: Workspace) -> None:
    dataset, rows = make_dataset(), make_rows()
    source = accept(dataset, workspace, rows)
    before = take_snapshot(workspace, dataset, source)
    oldest = pd.to_numeric(rows["age"]).max()
    narrower = make_dataset(checks={"columns": {"age": {"maximum": float(oldest) - 0.01}}})
    after = take_snapshot(workspace, narrower, source)
    assert name_version(after) != name_version(before)
    assert len(read_snapshot(workspace, after)) < len(read_snapshot(workspace, before))


def test_a_file_that_lacks_a_new_column_is_left_out(workspace: Workspace) -> None:
    rows = make_rows()
    accept(make_dataset(), workspace, rows.head(100), "tag")
    wider = make_dataset(numeric=["age", "fare", "tip"])
    source = accept(wider, workspace, rows.assign(tip="1"))
    assert len(read_snapshot(workspace, take_snapshot(workspace, wider, source))) == 400


def test_files_without_a_fitting_row_make_no_snapshot(workspace: Workspace) -> None:
    source = accept(make_dataset(), workspace, make_rows())
    with pytest.raises(DataCheckError, match="found 1 accepted files and no row in them that fits"):
        take_snapshot(workspace, make_dataset(numeric=["age", "fare", "tip"]), source)

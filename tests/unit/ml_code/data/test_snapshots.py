from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from ml_code.data import versions
from ml_code.data.clean_files import CleanFiles
from ml_code.data.holdout import split_holdout
from ml_code.data.snapshots import find_newest, name_version, prepare, read_holdout, read_snapshot, take_snapshot
from ml_code.datasets import Dataset
from ml_code.errors import DataCheckError
from ml_code.settings import Settings
from ml_code.workspace import Workspace, open_workspace
from tests.unit.ml_code.passengers import PASSENGERS, make_dataset, make_rows


def accept(dataset: Dataset, workspace: Workspace, rows: pd.DataFrame, tag: str | None = None) -> str:
    content = rows.to_csv(index=False).encode()
    return CleanFiles(workspace, dataset).accept(content, "rows.csv", tag).sha256


def test_a_snapshot_is_the_union_of_the_source_and_the_accepted_files(workspace: Workspace) -> None:
    dataset, rows = make_dataset(), make_rows(rows=500)
    source = accept(dataset, workspace, rows.head(400))
    first = take_snapshot(workspace, dataset, source)
    accept(dataset, workspace, rows.tail(200).assign(note="new"), "tag")  # a hundred of them are in the source, too
    second = take_snapshot(workspace, dataset, source)
    assert name_version(first) != name_version(second)
    assert (
        len(read_snapshot(workspace, first)),
        len(read_snapshot(workspace, second)),
    ) == (400, 600)
    assert take_snapshot(workspace, dataset, source) == second


def test_of_the_source_the_present_state_alone_counts(workspace: Workspace) -> None:
    dataset, rows = make_dataset(), make_rows()
    accept(dataset, workspace, rows)
    corrected = accept(dataset, workspace, rows.head(300))
    assert len(read_snapshot(workspace, take_snapshot(workspace, dataset, corrected))) == 300


def test_without_a_key_equal_rows_are_different_rows(workspace: Workspace) -> None:
    dataset, rows = make_dataset(), make_rows()
    source = accept(dataset, workspace, pd.concat([rows, rows]))
    assert len(read_snapshot(workspace, take_snapshot(workspace, dataset, source))) == 2 * len(rows)
    accept(dataset, workspace, rows.head(10), "tag")
    assert len(read_snapshot(workspace, take_snapshot(workspace, dataset, source))) == 2 * len(rows) + 10


def test_the_same_rows_of_other_files_are_the_same_version(workspace: Workspace, settings: Settings) -> None:
    dataset, rows = make_dataset(), make_rows()
    in_one = take_snapshot(workspace, dataset, accept(dataset, workspace, rows))
    other = open_workspace(settings.model_copy(update={"datasets_uri": f"{settings.datasets_uri}/other"}))
    accept(dataset, other, rows.head(150)[rows.columns[::-1]], "tag")
    source = accept(dataset, other, rows.tail(250))
    in_two = take_snapshot(other, dataset, source)
    assert name_version(in_one) == name_version(in_two)
    assert sorted(read_snapshot(other, in_two)["fare"]) == sorted(read_snapshot(workspace, in_one)["fare"])


def test_a_correction_of_a_corrected_row_stays_when_the_source_changes_later(workspace: Workspace) -> None:
    dataset, rows = make_dataset(key="number"), make_rows().assign(number=[str(n) for n in range(400)])
    accept(dataset, workspace, rows)
    accept(dataset, workspace, rows.head(1).assign(fare="7.5"), "tag")
    later = accept(dataset, workspace, rows.assign(fare="9"))
    united = read_snapshot(workspace, take_snapshot(workspace, dataset, later))
    assert united.loc[united["number"] == "0", "fare"].tolist() == [7.5]
    assert (united["fare"] == 9).sum() == 399


@pytest.fixture
def passengers(tmp_path: Path, workspace: Workspace) -> Path:
    """The source of the dataset `passengers`, once prepared."""
    (tmp_path / "passengers.toml").write_text(PASSENGERS)
    path = tmp_path / "passengers.csv"
    make_rows().to_csv(path, index=False)
    return path


def test_what_is_unchanged_is_not_read_again(
    passengers: Path, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = prepare(workspace, "passengers")
    monkeypatch.setattr(CleanFiles, "accept", None)
    monkeypatch.setattr(CleanFiles, "read", None)
    (passengers.parent / "passengers.toml").write_text(PASSENGERS.replace("threshold = 0.7", "threshold = 0.8"))
    assert prepare(workspace, "passengers") == uri


@pytest.mark.parametrize("change", ["source", "file", "deletion", "rules", "snapshot", "record", "code"])
def test_what_has_changed_is_read_again(
    passengers: Path, workspace: Workspace, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    dataset, datasets = workspace.load_dataset("passengers"), Path(workspace.settings.datasets_uri)
    sha256 = accept(dataset, workspace, make_rows(rows=5), "tag")
    uri = prepare(workspace, "passengers")
    if change == "source":
        make_rows(rows=401).to_csv(passengers, index=False)
    elif change == "file":
        accept(dataset, workspace, make_rows(rows=6), "tag")
    elif change == "deletion":
        (datasets / f"clean/passengers/{sha256}.parquet").unlink()
    elif change == "rules":
        text = PASSENGERS + "[checks]\nbad_rows_share = 0.9\n[checks.columns]\nage = { maximum = 60 }\n"
        (passengers.parent / "passengers.toml").write_text(text)
    elif change == "snapshot":
        Path(uri).unlink()
    elif change == "record":
        (datasets / "versions/passengers.json").write_text('{"version": 1}')
    else:
        monkeypatch.setattr(versions, "_digest_code", lambda: "another release")
    found = []
    read = CleanFiles.read
    monkeypatch.setattr(CleanFiles, "read", lambda files, name: found.append(name) or read(files, name))
    after = prepare(workspace, "passengers")
    assert found
    assert (after == uri) == (change in {"snapshot", "record", "code"})
    assert Path(after).exists()


def test_the_newest_version_is_the_one_prepared_last_though_its_snapshot_is_older(
    passengers: Path, workspace: Workspace
) -> None:
    dataset = workspace.load_dataset("passengers")
    assert find_newest(workspace, dataset) is None
    first = prepare(workspace, "passengers")
    make_rows(rows=300).to_csv(passengers, index=False)
    second = prepare(workspace, "passengers")
    make_rows().to_csv(passengers, index=False)
    assert prepare(workspace, "passengers") == first != second
    newest = find_newest(workspace, dataset)
    assert newest is not None
    assert newest.uri == first


def test_a_store_of_an_earlier_release_has_a_newest_version(workspace: Workspace) -> None:
    dataset, datasets = make_dataset(), Path(workspace.settings.datasets_uri)
    uri = take_snapshot(workspace, dataset, accept(dataset, workspace, make_rows()))
    (datasets / "versions/passengers.json").unlink()
    newest = find_newest(workspace, dataset)
    assert newest is not None
    assert newest.uri == uri


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


def test_the_holdout_of_a_run_is_what_its_training_did_not_see(settings: Settings) -> None:
    workspace = open_workspace(settings.model_copy(update={"catalog_dir": None}))
    dataset = workspace.load_dataset("iris")
    rows = pd.DataFrame({name: [1 + index / 100 for index in range(300)] for name in dataset.numeric})
    uri = take_snapshot(
        workspace, dataset, accept(dataset, workspace, rows.assign(species=[index % 3 for index in range(300)]))
    )
    _, holdout = read_holdout(workspace, {"dataset": "iris", "snapshot_uri": uri})
    assert set(holdout.index) == set(split_holdout(dataset, read_snapshot(workspace, uri)).holdout.index)
    assert len(holdout) < 150

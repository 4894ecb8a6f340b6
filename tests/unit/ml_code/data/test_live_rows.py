"""Labelled answers as rows of a dataset: their own key, side of the holdout and place beside the files."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ml_code.data.clean_files import CleanFiles
from ml_code.data.holdout import split_holdout
from ml_code.data.live_rows import LABELLED_AT, LABELLED_BY, LIVE_ID, PREDICTED_AT, find_live, find_newest
from ml_code.data.snapshots import prepare, prepare_with, read_snapshot
from ml_code.errors import DataCheckError
from ml_code.workspace import Workspace
from tests.offline_settings import make_offline_settings
from tests.unit.ml_code.monitoring.retraining.retraining_warehouse import RetrainingWarehouse

DROPPED_AT = datetime(2026, 11, 20, 12, tzinfo=UTC)

RENTS = """
name = "rents"
task = "classification"
target = "rent"
numeric = ["size"]
categorical = ["town"]
key = "id"
group = "house"
source = { kind = "file", path = "rents.csv" }
holdout = { share = 0.2 }
gate = { metric = "accuracy", threshold = 0.5 }

[checks.columns]
size = { minimum = 1, maximum = 1000 }
id = { required = true }
"""


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    (tmp_path / "rents.toml").write_text(RENTS)
    rows = range(100)
    table = {"id": rows, "house": rows, "size": range(10, 110), "town": "S", "rent": [400, 900] * 50}
    pd.DataFrame(table).to_csv(tmp_path / "rents.csv", index=False)
    warehouse = RetrainingWarehouse()
    return Workspace(
        make_offline_settings(tmp_path / "datasets", catalog_dir=tmp_path),
        connect_warehouse=lambda _: warehouse,  # type: ignore[arg-type, return-value]
    )


def make_live(rows: int, **columns: object) -> pd.DataFrame:
    cells = {
        "size": np.full(rows, 500.0),
        "town": "B",
        "rent": "900",
        LIVE_ID: [f"{number:032x}-0" for number in range(rows)],
        PREDICTED_AT: np.arange(rows, dtype=np.float64),
        LABELLED_AT: DROPPED_AT.timestamp() * 1000,
        LABELLED_BY: "shop",
    }
    return pd.DataFrame(cells | columns)


def add(workspace: Workspace, rows: pd.DataFrame, model: str = "rents") -> str:
    return CleanFiles(workspace, workspace.load_dataset("rents")).add_live(rows, model)


def read(workspace: Workspace, uri: str) -> pd.DataFrame:
    return read_snapshot(workspace, uri)


def test_live_rows_join_a_dataset_with_key_and_group_that_they_lack(workspace: Workspace) -> None:
    rows = read(workspace, prepare_with(workspace, "rents", add(workspace, make_live(50))))
    assert (len(rows), find_live(rows).sum()) == (150, 50)
    assert rows.loc[find_live(rows), ["id", "house"]].isna().all(axis=None)
    assert set(rows["rent"]) == {400, 900}


def test_equal_live_rows_all_count(workspace: Workspace) -> None:
    rows = read(workspace, prepare_with(workspace, "rents", add(workspace, make_live(50))))
    assert rows["size"].eq(500.0).sum() == 50


def test_pending_live_rows_reach_no_other_training_until_they_are_confirmed(workspace: Workspace) -> None:
    before = prepare(workspace, "rents")
    name = add(workspace, make_live(50))
    with_them = prepare_with(workspace, "rents", name)
    assert prepare(workspace, "rents") == before != with_them
    CleanFiles(workspace, workspace.load_dataset("rents")).confirm_live(name)
    assert prepare(workspace, "rents") == with_them


def test_a_corrected_label_replaces_the_confirmed_one(workspace: Workspace) -> None:
    files = CleanFiles(workspace, workspace.load_dataset("rents"))
    files.confirm_live(add(workspace, make_live(50)))
    files.confirm_live(add(workspace, make_live(50, rent="400")))
    rows = read(workspace, prepare(workspace, "rents"))
    assert rows.loc[find_live(rows), "rent"].eq(400).all()


def test_confirming_twice_changes_nothing(workspace: Workspace) -> None:
    files = CleanFiles(workspace, workspace.load_dataset("rents"))
    name = add(workspace, make_live(50))
    files.confirm_live(name)
    files.confirm_live(name)
    assert len(files.list_names()) == 1


def test_a_third_of_the_live_rows_is_held_out_and_no_other_row_moves(workspace: Workspace) -> None:
    dataset = workspace.load_dataset("rents")
    before = split_holdout(dataset, read(workspace, prepare(workspace, "rents")))
    after = split_holdout(dataset, read(workspace, prepare_with(workspace, "rents", add(workspace, make_live(2000)))))
    assert 0.30 < find_live(after.holdout).sum() / 2000 < 0.38
    assert set(before.holdout["id"]) == set(after.holdout["id"].dropna())
    assert before.holdout_id == after.holdout_id


def test_live_rows_outside_of_the_catalogs_ranges_are_quarantined(workspace: Workspace) -> None:
    sizes = np.where(np.arange(50) < 3, 5000.0, 500.0)
    rows = read(workspace, prepare_with(workspace, "rents", add(workspace, make_live(50, size=sizes))))
    assert find_live(rows).sum() == 47
    with pytest.raises(DataCheckError, match=r"the prediction log of rents .*found 50 bad rows of 50"):
        add(workspace, make_live(50, size=5000.0))


def test_the_newest_rows_are_live_ones_of_the_time_and_later(workspace: Workspace) -> None:
    rows = read(workspace, prepare_with(workspace, "rents", add(workspace, make_live(50))))
    assert find_newest(rows, 40.0).sum() == 10
    assert not find_newest(read(workspace, prepare(workspace, "rents")), 0.0).any()


def move_token(workspace: Workspace, action: str, moment: datetime = DROPPED_AT) -> None:
    workspace.warehouse.tokens.append(("shop", action, moment))  # type: ignore[attr-defined]


def count_live(workspace: Workspace) -> int:
    return int(find_live(read(workspace, prepare(workspace, "rents"))).sum())


def test_labels_of_a_dropped_token_leave_confirmed_rows_and_come_back_with_it(workspace: Workspace) -> None:
    files = CleanFiles(workspace, workspace.load_dataset("rents"))
    files.confirm_live(add(workspace, make_live(50, **{LABELLED_BY: ["shop", "bank"] * 25})))
    with_all = prepare(workspace, "rents")
    move_token(workspace, "drop")
    assert count_live(workspace) == 25
    assert set(read(workspace, prepare(workspace, "rents"))[LABELLED_BY].dropna()) == {"bank"}
    move_token(workspace, "restore")
    assert prepare(workspace, "rents") == with_all


def test_labels_that_a_token_brings_after_its_drop_count(workspace: Workspace) -> None:
    CleanFiles(workspace, workspace.load_dataset("rents")).confirm_live(add(workspace, make_live(50)))
    move_token(workspace, "drop", DROPPED_AT - timedelta(milliseconds=1))
    assert count_live(workspace) == 50


def test_a_dropped_correction_leaves_the_label_before_it(workspace: Workspace) -> None:
    files = CleanFiles(workspace, workspace.load_dataset("rents"))
    files.confirm_live(add(workspace, make_live(50, rent="400", **{LABELLED_BY: "bank"})))
    files.confirm_live(add(workspace, make_live(50)))
    move_token(workspace, "drop")
    rows = read(workspace, prepare(workspace, "rents"))
    assert rows.loc[find_live(rows), "rent"].eq(400).all()


def test_a_token_is_dropped_from_pending_rows_and_all_of_them_may_go(workspace: Workspace) -> None:
    move_token(workspace, "drop")
    assert not find_live(read(workspace, prepare_with(workspace, "rents", add(workspace, make_live(50))))).any()


def test_labels_without_a_token_and_of_another_model_are_not_dropped(workspace: Workspace) -> None:
    move_token(workspace, "drop")
    files = CleanFiles(workspace, workspace.load_dataset("rents"))
    files.confirm_live(add(workspace, make_live(50, **{LABELLED_BY: None})))
    files.confirm_live(add(workspace, make_live(50, **{LIVE_ID: [f"other-{n}" for n in range(50)]}), "other"))
    assert count_live(workspace) == 100

"""A table that the project has never seen becomes a dataset."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ml_code.data import features, snapshots
from ml_code.data.clean_files import CleanFiles
from ml_code.data.snapshots import read_snapshot
from ml_code.dataset_schema import COMMENT
from ml_code.datasets import load_dataset
from ml_code.draft.adding import add_dataset
from ml_code.draft.drafting import Request, draft_dataset
from ml_code.errors import CatalogError, DataCheckError, SourceError, StorageError
from ml_code.workspace import Workspace, open_workspace
from mlops.app import app

HEADER = "ship_id,length_m,flag,crew,captain,fleet,kind,toll"
FLAGS = ("KR", "PA", "LR")


def write_ships(folder: Path, name: str = "ships.csv", rows: int = 120) -> Path:
    lines = [
        f"{number},{20 + number * 1.5},{FLAGS[number % 3]},{'' if number % 9 == 0 else number % 30},Kim {number},one,"
        f"{'tanker' if number % 2 else '화물선'},{number * 10.25}"
        for number in range(rows)
    ]
    file = folder / name
    file.write_text("\n".join([HEADER, *lines]) + "\n", encoding="utf-8")
    return file


def test_types_key_task_and_ranges_are_inferred(tmp_path: Path) -> None:
    draft = draft_dataset(write_ships(tmp_path), Request("kind"))
    dataset = draft.dataset
    assert (dataset.task, dataset.key) == ("classification", "ship_id")
    assert (dataset.numeric, dataset.categorical) == (["length_m", "crew", "toll"], ["flag"])
    assert draft.left_out == {"captain": "it is text with 120 values", "fleet": "it has one value"}
    assert dataset.checks.columns["kind"].allowed == ["tanker", "화물선"]
    crew = dataset.checks.columns["crew"]
    assert (crew.minimum, crew.maximum) == (0, 60)
    assert (dataset.gate.metric, dataset.gate.threshold) == ("accuracy", 0.5)


@pytest.mark.parametrize(("target", "task"), [("toll", "regression"), ("flag", "classification")])
def test_the_task_follows_the_values_of_the_target(tmp_path: Path, target: str, task: str) -> None:
    assert draft_dataset(write_ships(tmp_path), Request(target)).dataset.task == task


def test_whole_numbers_are_labels_that_are_numbers(tmp_path: Path) -> None:
    file = tmp_path / "grades.csv"
    file.write_text("hours,grade\n" + "".join(f"{n / 7},{n % 4}\n" for n in range(40)))
    dataset = draft_dataset(file, Request("grade")).dataset
    assert (dataset.task, dataset.checks.columns["grade"].allowed) == ("classification", [0, 1, 2, 3])
    assert draft_dataset(file, Request("grade", task="regression")).dataset.task == "regression"


def test_an_added_dataset_can_be_prepared_at_once(tmp_path: Path, workspace: Workspace) -> None:
    file, _ = add_dataset(workspace, write_ships(tmp_path), Request("kind"))
    assert file == tmp_path / "ships.toml"
    frame = read_snapshot(workspace, snapshots.prepare(workspace, "ships"))
    assert len(frame) == 120
    assert features.list_classes(load_dataset("ships", tmp_path), frame) == ["tanker", "화물선"]


def test_a_draft_in_the_shipped_catalog_names_the_schema_for_editors(
    tmp_path: Path, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ml_code.draft.adding.CATALOG", tmp_path)
    file, draft = add_dataset(workspace, write_ships(tmp_path), Request("kind"))
    assert file.read_text().startswith(f"{COMMENT}\n# Drafted from 120 rows")
    assert file.read_text() == draft.text
    assert load_dataset("ships", tmp_path) == draft.dataset


def test_a_draft_in_a_catalog_elsewhere_names_no_schema(tmp_path: Path, workspace: Workspace) -> None:
    file, _ = add_dataset(workspace, write_ships(tmp_path), Request("kind"))
    assert file.read_text().startswith("# Drafted from 120 rows")


def test_a_replica_with_a_user_of_its_own_may_read_the_new_file(tmp_path: Path, workspace: Workspace) -> None:
    before = os.umask(0o077)
    try:
        file, _ = add_dataset(workspace, write_ships(tmp_path), Request("kind"))
    finally:
        os.umask(before)
    assert file.stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize(
    "row",
    [
        "{n}, {word}",  # blanks behind the commas
        "{n},0{digit}",  # labels that are not numbers
        "126.978{n:04},{digit}",  # a narrow range far from zero
        "{n}e-9,{digit}",
        "{n}e34,{digit}",
    ],
)
def test_every_row_of_the_file_passes_the_checks_that_were_drafted_from_it(
    tmp_path: Path, workspace: Workspace, row: str
) -> None:
    file = tmp_path / "things.csv"
    rows = [row.format(n=number, digit=number % 2, word=("no", "yes")[number % 2]) for number in range(1, 121)]
    file.write_text("\n".join(["size,kind", *rows]))
    draft = draft_dataset(file, Request("kind"))
    assert CleanFiles(workspace, draft.dataset).accept(file.read_bytes(), "things.csv").bad_rows == 0


def test_numbers_that_no_model_can_compute_with_are_left_out(tmp_path: Path) -> None:
    file = tmp_path / "stars.csv"
    file.write_text("mass,size,kind\n" + "".join(f"{n}e300,{n},{n % 2}\n" for n in range(1, 99)))
    assert draft_dataset(file, Request("kind")).dataset.numeric == ["size"]


def test_a_name_that_is_taken_changes_nothing(tmp_path: Path, workspace: Workspace) -> None:
    (tmp_path / "ships.toml").write_text("mine")
    with pytest.raises(CatalogError, match=r"ships\.toml, expected a new name"):
        add_dataset(workspace, write_ships(tmp_path), Request("kind"))
    assert (tmp_path / "ships.toml").read_text() == "mine"


def test_a_catalog_that_cannot_be_written_leaves_no_rows_in_the_store(tmp_path: Path, workspace: Workspace) -> None:
    (tmp_path / "ships.toml.unfinished").mkdir()
    with pytest.raises(CatalogError, match=r"ships\.toml: found Is a directory, expected to write it"):
        add_dataset(workspace, write_ships(tmp_path), Request("kind"))
    assert list(Path(workspace.settings.datasets_uri).rglob("ships*")) == []


def test_a_store_that_refuses_the_rows_leaves_no_dataset(tmp_path: Path, workspace: Workspace) -> None:
    (tmp_path / "full").write_text("no folder")
    refused = workspace.settings.model_copy(update={"datasets_uri": str(tmp_path / "full")})
    with pytest.raises(StorageError):
        add_dataset(open_workspace(refused), write_ships(tmp_path), Request("kind"))
    assert list(tmp_path.glob("ships.toml*")) == []


@pytest.mark.parametrize(
    ("content", "target", "error", "message"),
    [
        ("length,kind\n1,a\n2,b\n", "price", DataCheckError, "--target: found 'price', expected one of length, kind"),
        ("name,kind\nx,a\nx,b\nx,a\nx,b\n", "kind", DataCheckError, "no column to learn from"),
        ("length,kind\n", "kind", SourceError, "a header and no rows"),
        ("", "kind", SourceError, "an empty file"),
    ],
)
def test_a_file_without_a_column_to_learn_from_is_refused(
    tmp_path: Path, content: str, target: str, error: type[Exception], message: str
) -> None:
    file = tmp_path / "ships.csv"
    file.write_text(content)
    with pytest.raises(error, match=message):
        draft_dataset(file, Request(target))


@pytest.mark.parametrize(("name", "task"), [("Ships!", None), ("../ships", None), ("s" * 300, None), ("ships", "no")])
def test_a_wrong_name_or_task_is_refused(tmp_path: Path, workspace: Workspace, name: str, task: str | None) -> None:
    with pytest.raises((CatalogError, DataCheckError), match=f"found {(task or name)[:90]!r}"[:-1]):
        add_dataset(workspace, write_ships(tmp_path), Request("kind", name=name, task=task))


def test_the_command_shows_the_written_file(
    tmp_path: Path, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mlops.commands.datasets.load_host_settings", lambda: workspace.settings)
    done = CliRunner().invoke(app, ["dataset", "add", str(write_ships(tmp_path)), "--target", "kind"])
    assert done.exit_code == 0, done.output
    assert 'target = "kind"' in done.output
    assert "mlops train --dataset ships" in done.output
    again = CliRunner().invoke(app, ["dataset", "add", str(tmp_path / "ships.csv"), "--target", "kind"])
    assert again.exit_code == 2
    assert "expected a new name" in again.output
    nothing = CliRunner().invoke(app, ["dataset", "add", str(tmp_path / "boats.csv"), "--target", "kind"])
    assert nothing.exit_code == 2
    assert "found no file, expected a table such as a CSV file" in nothing.output


def test_the_forest_of_a_large_table_is_bounded(tmp_path: Path) -> None:
    file = tmp_path / "large.csv"
    file.write_text("x,y\n" + "".join(f"{n * 7 % 1000},{n % 97}.5\n" for n in range(12_000)))
    draft = draft_dataset(file, Request("y"))
    assert draft.dataset.hyperparameters == {"random_forest": {"min_samples_leaf": 3}}
    assert draft_dataset(write_ships(tmp_path), Request("kind")).dataset.hyperparameters == {}

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from ml_code.data import intake
from ml_code.data.clean_files import CleanFiles
from ml_code.datasets import CATALOG, load_dataset
from ml_code.errors import CatalogError, DataCheckError, SourceError
from ml_code.places import Places
from ml_code.settings import REPOSITORY
from ml_code.storage import StoredObject
from ml_code.workspace import Workspace, open_workspace

SAMPLE = REPOSITORY / "ml_code" / "samples" / "iris_new_rows.csv"
HEADER = b"sepal_length,sepal_width,petal_length,petal_width,species\n"


@pytest.fixture
def root(tmp_path: Path, workspace: Workspace) -> Path:
    (tmp_path / "iris.toml").write_text((CATALOG / "iris.toml").read_text())
    return Path(workspace.settings.datasets_uri)


def drop(root: Path, key: str, content: bytes) -> str:
    file = root / key
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    return key


def take_in(workspace: Workspace, *keys: str) -> dict:
    [batch] = intake.plan_batches(keys)
    return intake.accept(workspace, batch)


def list_files(root: Path, folder: str) -> list[str]:
    return sorted(path.name for path in (root / folder).rglob("*") if path.is_file())


def list_clean(workspace: Workspace) -> list[str]:
    return CleanFiles(workspace, load_dataset("iris", workspace.settings.catalog_dir)).list_names()


def test_a_file_that_was_put_is_accepted_once_and_filed_away(root: Path, workspace: Workspace) -> None:
    uri = intake.put_file(workspace, "iris", SAMPLE)
    [key] = intake.list_waiting(workspace)
    assert uri == str(root / key)
    report = take_in(workspace, key)
    assert intake.describe(report) == "iris: 1 accepted (60 rows)"
    intake.file_away(workspace, report)
    assert intake.list_waiting(workspace) == []
    assert list_files(root, "processed") == [Path(key).name]
    assert len(list_clean(workspace)) == 1


def test_the_same_content_under_another_name_says_already_loaded(root: Path, workspace: Workspace) -> None:
    first = drop(root, "incoming/iris/a.csv", SAMPLE.read_bytes())
    second = drop(root, "incoming/iris/b.csv", SAMPLE.read_bytes())
    report = take_in(workspace, first, second)
    assert report["accepted"] == [first]
    assert intake.describe(report) == "iris: 1 accepted (60 rows), 1 already loaded"
    assert "already loaded: the same content came as" in report["files"][1]["says"]
    intake.file_away(workspace, report)
    assert list_files(root, "processed") == ["a.csv", "b.csv"]
    assert len(list_clean(workspace)) == 1


def test_a_step_that_is_interrupted_and_repeated_still_reports_accepted(root: Path, workspace: Workspace) -> None:
    key = drop(root, "incoming/iris/a.csv", SAMPLE.read_bytes())
    assert take_in(workspace, key) == take_in(workspace, key)
    assert take_in(workspace, key)["accepted"] == [key]


def test_two_runs_that_process_the_same_files_at_once_lose_nothing_and_keep_each_once(
    root: Path, workspace: Workspace
) -> None:
    lines = SAMPLE.read_bytes().splitlines()
    for number in range(6):
        drop(root, f"incoming/iris/{number}.csv", b"\n".join([*lines[: 20 + number], b""]))
    [batch] = intake.plan_batches(intake.list_waiting(workspace))
    with ThreadPoolExecutor(2) as pool:
        reports = list(pool.map(lambda _: intake.accept(workspace, batch), range(2)))
    for report in reports:
        intake.file_away(workspace, report)
    assert {file["outcome"] for report in reports for file in report["files"]} == {"accepted"}
    assert list_files(root, "processed") == [f"{number}.csv" for number in range(6)]
    assert len(list_clean(workspace)) == 6
    assert list(root.rglob("*.partial")) == []


def test_a_file_that_another_run_filed_away_is_gone_without_a_failure(workspace: Workspace, root: Path) -> None:
    report = take_in(workspace, "incoming/iris/a.csv")
    assert intake.describe(report) == "iris: 1 gone"
    intake.file_away(workspace, report)


def test_a_bad_file_is_rejected_beside_good_ones_and_is_kept(root: Path, workspace: Workspace) -> None:
    good = drop(root, "incoming/iris/good.csv", SAMPLE.read_bytes())
    bad = drop(root, "incoming/iris/bad.csv", HEADER + b"a,b,c,d,9\n" * 3)
    report = take_in(workspace, bad, good)
    assert report["accepted"] == [good]
    with pytest.raises(DataCheckError, match=r"1 of 2 files were rejected: .*rejected/iris/.*3 bad rows of 3"):
        intake.file_away(workspace, report)
    assert list_files(root, "rejected") == ["bad.csv"]
    assert list_files(root, "processed") == ["good.csv"]
    assert len(list_files(root, "quarantine")) == 1


def test_the_error_of_many_rejected_files_is_short(root: Path, workspace: Workspace) -> None:
    keys = [drop(root, f"incoming/iris/{number}.csv", b"x" * 100 + b"%d" % number) for number in range(30)]
    report = intake.accept(workspace, {"dataset": "iris", "keys": keys})
    with pytest.raises(DataCheckError, match=r"30 of 30 files were rejected: .*and 25 more, in the log") as raised:
        intake.file_away(workspace, report)
    assert len(str(raised.value)) < 5000
    assert len(list_files(root, "rejected")) == 30


def test_a_file_that_does_not_fit_the_memory_is_rejected_unread(
    root: Path, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intake, "LARGEST_CSV_MB", 0.001)
    monkeypatch.setattr(intake.Storage, "read_bytes", None)
    report = take_in(workspace, drop(root, "incoming/iris/a.csv", SAMPLE.read_bytes()))
    with pytest.raises(DataCheckError, match=r"rejected/iris/.*a\.csv: found more than 0\.001 MB"):
        intake.file_away(workspace, report)
    assert list_files(root, "rejected") == ["a.csv"]


def test_a_file_that_is_replaced_meanwhile_stays_for_its_own_event(root: Path, workspace: Workspace) -> None:
    key = drop(root, "incoming/iris/a.csv", SAMPLE.read_bytes())
    report = take_in(workspace, key)
    drop(root, key, HEADER + b"5.1,3.5,1.4,0.2,0\n")
    intake.file_away(workspace, report)
    assert intake.list_waiting(workspace) == [key]


def test_a_file_for_no_dataset_is_named_and_stays(root: Path, workspace: Workspace) -> None:
    key = drop(root, "incoming/irsi/a.csv", SAMPLE.read_bytes())
    with pytest.raises(CatalogError, match="found 'irsi', expected one of iris"):
        take_in(workspace, key)
    assert intake.list_waiting(workspace) == []
    assert (root / key).exists()


def test_a_young_file_is_left_to_its_event(root: Path, workspace: Workspace) -> None:
    young = drop(root, "incoming/iris/young.csv", b"")
    old = drop(root, "incoming/iris/old.csv", b"")
    os.utime(root / old, (0, 0))
    assert intake.list_waiting(workspace, 10) == [old]
    assert intake.list_waiting(workspace) == [old, young]


def test_many_files_are_taken_in_by_batches_of_their_dataset() -> None:
    keys = [f"incoming/{name}/{number}.csv" for name in ("iris", "housing") for number in range(150)]
    batches = intake.plan_batches(keys * 2)
    assert [(batch["dataset"], len(batch["keys"])) for batch in batches] == [
        ("iris", 100),
        ("iris", 50),
        ("housing", 100),
        ("housing", 50),
    ]


def make_workspace_of(names: Sequence[str]) -> Workspace:
    """A workspace whose store lists files in this order of their keys; each was written before the one left of it."""
    now = datetime.now(UTC)
    objects = [
        StoredObject(f"s3://datasets/incoming/{name}", "", now - timedelta(hours=1, seconds=place), 1)
        for place, name in enumerate(names)
    ]
    storage = SimpleNamespace(list_objects=lambda _: objects)
    catalog = SimpleNamespace(datasets={"iris": None})
    return cast(
        Workspace, SimpleNamespace(storage=storage, catalog=catalog, places=Places("s3://datasets", "s3://predictions"))
    )


def test_of_very_many_files_a_run_takes_the_oldest_and_the_next_run_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    names = [*(f"iris/{number:06d}.csv" for number in range(25_000)), *(f"irsi/{n}.csv" for n in range(21_000))]
    first = intake.list_waiting(make_workspace_of(names))
    assert first == [f"incoming/iris/{number:06d}.csv" for number in range(24_999, 4_999, -1)]
    batches = intake.plan_batches(first)
    assert (len(batches), max(len(batch["keys"]) for batch in batches)) == (200, 100)
    assert batches[0]["keys"][0] == "incoming/iris/024999.csv"
    rest = intake.list_waiting(make_workspace_of(names[:5_000]))
    assert len(rest) == 5_000
    assert not set(rest) & set(first)


@pytest.mark.parametrize(("keys", "chosen"), [(3, 3), (0, 7), (20_001, 7)])
def test_an_event_of_more_files_than_a_run_takes_leaves_the_choice_to_their_age(keys: int, chosen: int) -> None:
    workspace = make_workspace_of([f"iris/{number}.csv" for number in range(7)])
    assert len(intake.choose_files(workspace, [f"incoming/iris/{number}.csv" for number in range(keys)])) == chosen


def test_each_of_many_files_lists_no_folder(root: Path, workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    content = SAMPLE.read_bytes()
    keys = [drop(root, f"incoming/iris/{number}.csv", content + b"5,3,1,0.2,0\n" * number) for number in range(5)]
    listed: list[str] = []
    monkeypatch.setattr(workspace.storage, "list_objects", listed.append)
    assert intake.describe(take_in(workspace, *keys)).startswith("iris: 5 accepted")
    assert listed == []


def test_a_wrong_file_is_refused_before_it_is_uploaded(root: Path, workspace: Workspace, tmp_path: Path) -> None:
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    (tmp_path / "other.json").write_text("")
    with pytest.raises(DataCheckError, match="found no column sepal_length"):
        intake.put_file(workspace, "iris", tmp_path / "other.csv")
    with pytest.raises(SourceError, match=r"expected one; save it as CSV"):
        intake.put_file(workspace, "iris", tmp_path / "other.json")
    with pytest.raises(CatalogError, match="found 'tulips'"):
        intake.put_file(workspace, "tulips", SAMPLE)
    assert intake.list_waiting(workspace) == []


@pytest.mark.usefixtures("root")
def test_a_run_produces_one_file_that_passes_the_checks(workspace: Workspace) -> None:
    first = intake.produce_sample(workspace, "run")
    content = Path(first).read_bytes()
    assert intake.produce_sample(workspace, "run") == first
    assert Path(first).read_bytes() == content
    assert intake.produce_sample(workspace, "other run") != first
    report = take_in(workspace, *intake.list_waiting(workspace))
    assert report["rows"] == 2 * intake.PRODUCED_ROWS


@pytest.mark.parametrize(
    "content", [b"x" * 900_000, b",".join(b"c%d" % n for n in range(50_000)) + b"\n1", b'"' * 9999]
)
def test_the_report_on_a_file_with_a_large_header_is_short(root: Path, workspace: Workspace, content: bytes) -> None:
    report = take_in(workspace, drop(root, "incoming/iris/wide.csv", content))
    assert report["files"][0]["outcome"] == "rejected"
    assert len(report["files"][0]["says"]) < 4000


def test_the_report_on_a_file_with_large_cells_is_short(root: Path, workspace: Workspace) -> None:
    report = take_in(workspace, drop(root, "incoming/iris/wide.csv", HEADER + (b"x" * 900_000 + b",1,1,1,1\n") * 3))
    assert report["files"][0]["outcome"] == "rejected"
    assert len(report["files"][0]["says"]) < 4000


def test_bad_rows_are_good_under_the_checks_of_today_once_their_file_comes_again(
    root: Path, tmp_path: Path, workspace: Workspace
) -> None:
    content = SAMPLE.read_bytes() + b"29,3,1,1,0\n"
    catalog = tmp_path / "iris.toml"
    today = catalog.read_text()
    catalog.write_text(
        today.replace("sepal_length = { minimum = 0.1, maximum = 30 }", "sepal_length = { maximum = 20 }")
    )
    assert take_in(workspace, drop(root, "incoming/iris/a.csv", content))["rows"] == 60
    catalog.write_text(today)
    again = open_workspace(workspace.settings)
    report = take_in(again, drop(root, "incoming/iris/b.csv", content))
    assert intake.describe(report) == "iris: 1 accepted (61 rows)"

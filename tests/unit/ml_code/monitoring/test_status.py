from __future__ import annotations

import json
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ml_code.datasets import Catalog, Dataset
from ml_code.errors import CatalogError, StorageError
from ml_code.monitoring.quality.history import LiveMetric
from ml_code.monitoring.retraining.attempts import Attempt
from ml_code.monitoring.status import describe_labels, describe_quality, write_status
from tests.unit.ml_code.passengers import make_dataset

NOW = datetime(2026, 11, 22, tzinfo=UTC)
LAST = Attempt(
    retraining_id=1,
    model="passengers",
    owner="model_retraining/run/passengers",
    asked_at=NOW,
    cause="drift",
    reason="rows moved",
    since=NOW - timedelta(days=3),
    until=NOW - timedelta(days=1),
    labels=300,
    rows_file=None,
    outcome="promoted",
    version="4",
    verdict="0.95 against 0.8 of version 3 on 102 newest held-out rows; a changed world and wrong labels look alike",
    ended_at=NOW,
)


def make_day(number: int, *, version: str = "3", variant: str = "champion", labelled: int = 40) -> LiveMetric:
    start = NOW - timedelta(days=10 - number)
    score = (0.9, 0.8, 0.95) if labelled else (None, None, None)
    return LiveMetric(
        *("passengers", version, variant, start, start + timedelta(days=1), "", "accuracy", *score),
        *(100, labelled, labelled / 100, 0.95, 0.9, 0.97, 0.93, "digest"),
    )


def test_the_page_shows_the_newest_labelled_window_of_the_champion() -> None:
    rows = [make_day(1), make_day(2), make_day(3, labelled=0), make_day(4, version="2"), make_day(5, variant="shadow")]
    found = describe_quality(rows, "3")
    assert found is not None
    assert (found["end"], found["score"], found["holdout"], found["coverage"]) == (
        make_day(2).window_end.isoformat(), 0.9, 0.95, 0.4,
    )  # fmt: skip
    assert [day["score"] for day in found["history"]] == [0.9, 0.9, None]


def test_without_labels_the_newest_window_shows_its_estimate() -> None:
    found = describe_quality([make_day(1, labelled=0), make_day(2, labelled=0)], "3")
    assert found is not None
    assert (found["end"], found["score"], found["estimated_accuracy"]) == (
        make_day(2).window_end.isoformat(),
        None,
        0.93,
    )


def test_a_model_without_answers_or_without_a_champion_has_no_quality() -> None:
    assert describe_quality([], "3") is None
    assert describe_quality([make_day(1)], None) is None


def test_few_labels_in_one_of_the_last_three_windows_are_told() -> None:
    days = [make_day(number) for number in (5, 4, 3, 2)]
    late, early = replace(days[2], has_few_labels=True), replace(days[3], has_few_labels=True)
    assert (describe_quality([*days[:2], late, days[3]], "3") or {})["has_few_labels"] is True
    assert (describe_quality([*days[:3], early], "3") or {})["has_few_labels"] is False


@pytest.mark.parametrize(
    ("labelled", "last", "expected"),
    [
        (80, None, (80, 200, 120)),
        (500, None, (500, 200, 0)),
        (250, replace(LAST, outcome="rejected"), (250, 600, 350)),
        (250, LAST, (250, 200, 0)),
        (30, replace(LAST, outcome="rejected", labels=30), (30, 200, 170)),
    ],
)
def test_the_labels_that_are_missing_are_those_of_the_next_attempt(
    labelled: int, last: Attempt | None, expected: tuple[int, int, int]
) -> None:
    assert tuple(describe_labels(make_dataset(), labelled, last).values()) == expected


class Database:
    """A warehouse that has no table but `live_metric`, without rows."""

    statement = ""

    @contextmanager
    def transaction(self) -> Any:
        yield self

    @contextmanager
    def cursor(self) -> Any:
        yield self

    def execute(self, statement: str, values: tuple[Any, ...] = ()) -> None:
        self.statement = f"{statement} {values}"

    def fetchone(self) -> tuple[str | None]:
        return ("live_metric" if "live_metric" in self.statement else None,)

    def fetchall(self) -> list[tuple[int]]:
        return [(0,)] if "coalesce(sum" in self.statement else []


def make_workspace(folder: Path | None, dataset: Dataset | None = None) -> Any:
    def load(name: str) -> Dataset:
        if dataset is None:
            raise CatalogError("broken")
        return dataset

    return SimpleNamespace(
        settings=SimpleNamespace(loop_status_dir=folder),
        catalog=Catalog({"passengers": make_dataset()}, {}),
        load_dataset=load,
        tracker=SimpleNamespace(read_aliases=lambda _: {"champion": "3"}),
        warehouse=Database(),
    )


def test_the_file_tells_that_the_disk_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for share, told in ((0.5, None), (0.9, "disk: found 90% used")):
        monkeypatch.setattr("ml_code.monitoring.status.measure_disk", lambda folder, share=share: share)
        path = write_status(make_workspace(tmp_path, make_dataset()), NOW)
        assert path is not None
        found = json.loads(path.read_text())["disk"]
        assert found == told or found.startswith(told)


def test_the_file_names_each_model_of_the_catalog(tmp_path: Path) -> None:
    path = write_status(make_workspace(tmp_path, make_dataset()), NOW)
    assert path == tmp_path / "loop.json"
    found = json.loads(path.read_text())
    assert found["made_at"] == NOW.isoformat()
    assert found["models"] == [
        {
            "name": "passengers", "champion": "3", "quality": None, "decline": None, "drift": [],
            "labels": {"found": 0, "needed": 200, "missing": 200}, "retraining": None, "staleness": [],
        }
    ]  # fmt: skip
    assert path.stat().st_mode & 0o777 == 0o644
    assert [file.name for file in tmp_path.iterdir()] == ["loop.json"]


def test_a_model_that_cannot_be_read_is_shown_so(tmp_path: Path) -> None:
    path = write_status(make_workspace(tmp_path), NOW)
    assert path is not None
    (model,) = json.loads(path.read_text())["models"]
    assert set(model) == {"name", "problem"}


def test_without_a_folder_nothing_is_written_and_a_missing_one_is_told(tmp_path: Path) -> None:
    assert write_status(make_workspace(None, make_dataset()), NOW) is None
    with pytest.raises(StorageError, match="check the volume loop-status"):
        write_status(make_workspace(tmp_path / "gone", make_dataset()), NOW)

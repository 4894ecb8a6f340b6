from __future__ import annotations

from pathlib import Path

import pytest

from ml_code import ways
from ml_code.errors import TrainingError
from ml_code.families import find_family
from ml_code.ways import Size, check_way, choose_way, read_memory_limit

XGBOOST = find_family("xgboost", None, "classification")
FOREST = find_family("sklearn", "random_forest", "classification")
SMALL, LARGE = Size(1000, 10), Size(20_000_000, 20)
LIMIT = 3 << 30


def test_a_snapshot_that_fits_is_trained_on_in_memory_without_a_word() -> None:
    assert choose_way("auto", XGBOOST, SMALL, LIMIT, is_mixed=False) == ("memory", "")


def test_a_large_snapshot_is_read_from_the_disk_and_said() -> None:
    way, reason = choose_way("auto", XGBOOST, LARGE, LIMIT, is_mixed=False)
    assert way == "external"
    assert "GB of 1.6, so its rows are read from the disk" in reason


@pytest.mark.parametrize(("family", "is_mixed", "named"), [(FOREST, False, "random_forest"), (XGBOOST, True, "a mix")])
def test_what_needs_all_rows_stays_in_memory_and_says_so(family: ways.Family, is_mixed: bool, named: str) -> None:
    way, reason = choose_way("auto", family, LARGE, LIMIT, is_mixed=is_mixed)
    assert way == "memory"
    assert f"but {named}" in reason


def test_a_person_may_choose_any_way_for_any_size() -> None:
    assert choose_way("external", XGBOOST, SMALL, LIMIT, is_mixed=False) == ("external", "")
    assert choose_way("memory", XGBOOST, LARGE, LIMIT, is_mixed=False) == ("memory", "")
    with pytest.raises(TrainingError, match="external for a mix of old and new rows"):
        choose_way("external", XGBOOST, SMALL, LIMIT, is_mixed=True)


def test_a_family_that_needs_all_rows_and_an_unknown_way_are_refused() -> None:
    with pytest.raises(TrainingError, match="found external for random_forest, which needs all rows in memory"):
        check_way("external", FOREST)
    with pytest.raises(TrainingError, match="found 'disk', expected one of auto, memory, external"):
        check_way("disk", XGBOOST)
    assert check_way(None, FOREST) == "auto"


def test_the_limit_of_the_container_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limit = tmp_path / "memory.max"
    monkeypatch.setattr(ways, "CGROUPS", (limit,))
    machine = read_memory_limit()
    limit.write_text("max\n")
    assert read_memory_limit() == machine > 1 << 28
    limit.write_text("3221225472\n")
    assert read_memory_limit() == 3 << 30

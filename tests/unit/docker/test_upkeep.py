"""The program that deletes Airflow's old logs beside the scheduler, on folders."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType

import pytest

from tests.unit.docker.scripts import load_script

FILE = Path(__file__).parents[3] / "docker" / "airflow" / "upkeep.py"
NOW = datetime(2026, 11, 20, tzinfo=UTC)


@pytest.fixture(scope="module")
def upkeep() -> ModuleType:
    return load_script(FILE)


def put(path: Path, days_old: float, size: int = 100) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * size)
    moment = (NOW - timedelta(days=days_old)).timestamp()
    os.utime(path, (moment, moment))
    return path


def choose(upkeep: ModuleType, folder: Path, days: float = 30, most_bytes: float = 10_000) -> list[str]:
    files = upkeep.list_files(folder)
    chosen = upkeep.choose_files(files, NOW - timedelta(days=days), most_bytes, NOW - upkeep.YOUNG)
    upkeep.delete_files(folder, chosen)
    return [str(file.path.relative_to(folder)) for file in chosen]


def test_old_files_go_with_the_folders_that_are_empty_then(upkeep: ModuleType, tmp_path: Path) -> None:
    put(tmp_path / "dag_id=a/run_id=1/task_id=t/attempt=1.log", 31)
    young = put(tmp_path / "dag_id=a/run_id=2/task_id=t/attempt=1.log", 29)
    assert choose(upkeep, tmp_path) == ["dag_id=a/run_id=1/task_id=t/attempt=1.log"]
    assert [path.name for path in (tmp_path / "dag_id=a").iterdir()] == ["run_id=2"]
    assert young.is_file()


def test_the_oldest_files_go_until_the_rest_fits_and_those_of_today_stay(upkeep: ModuleType, tmp_path: Path) -> None:
    for days in (0.5, 2, 3, 4):
        put(tmp_path / f"{days}.log", days)
    assert choose(upkeep, tmp_path, most_bytes=250) == ["4.log", "3.log"]
    assert choose(upkeep, tmp_path, most_bytes=0) == ["2.log"]


def test_no_link_is_followed(upkeep: ModuleType, tmp_path: Path) -> None:
    outside = put(tmp_path / "elsewhere/precious.log", 500)
    logs = tmp_path / "logs"
    logs.mkdir()
    (logs / "folder").symlink_to(outside.parent)
    (logs / "file.log").symlink_to(outside)
    assert choose(upkeep, logs) == []
    assert outside.is_file()


def test_a_clock_that_jumps_ahead_goes_two_days_on(upkeep: ModuleType, tmp_path: Path) -> None:
    state = tmp_path / upkeep.STATE
    assert upkeep.step_clock(state, NOW) == (NOW, True)
    assert upkeep.step_clock(state, NOW + timedelta(days=1000)) == (NOW + timedelta(days=2), False)
    assert upkeep.step_clock(state, NOW - timedelta(hours=1)) == (NOW - timedelta(hours=1), False)
    state.write_text("torn")
    assert upkeep.step_clock(state, NOW) == (NOW, True)
    assert choose(upkeep, tmp_path, days=0) == []

from __future__ import annotations

from pathlib import Path

import pytest

from ml_code import disk


def test_a_disk_is_as_full_as_df_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = type("Usage", (), {"total": 120, "used": 80, "free": 20})
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda folder: usage)
    assert disk.measure_disk(tmp_path) == 0.8


def test_a_person_is_told_of_four_fifths_and_when_the_log_has_stopped() -> None:
    assert disk.describe_disk(0.79) is None
    told = disk.describe_disk(0.80)
    assert told is not None
    assert told.startswith("disk: found 80% used, expected less than 80%; free space")
    assert "the prediction log has stopped" in (disk.describe_disk(0.95) or "")

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from ml_code.settings import Settings
from ml_code.workspace import Workspace, open_workspace
from tests.offline_settings import make_offline_settings

OUR_LOGGERS = [logging.getLogger(name) for name in ("ml_code", "serving", "mlops")]


@pytest.fixture(autouse=True)
def loggers_stay_as_they_are() -> Iterator[None]:
    """A test that silences a logger of the process hides the warnings that later tests expect.

    Libraries that a test imports, such as Airflow, change the root's level: later tests would see lines of another one.
    """
    root, level = logging.getLogger(), logging.getLogger().level
    yield
    root.setLevel(level)
    changed = {one.name: one.level for one in OUR_LOGGERS if one.level or one.disabled or not one.propagate}
    for one in OUR_LOGGERS:
        one.setLevel(logging.NOTSET)
        one.disabled, one.propagate = False, True
    assert not changed, f"levels that a test left behind: {changed}"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Nothing listens where these point; rows and snapshots lie in a folder."""
    return make_offline_settings(tmp_path / "datasets", catalog_dir=tmp_path)


@pytest.fixture
def workspace(settings: Settings) -> Workspace:
    return open_workspace(settings)

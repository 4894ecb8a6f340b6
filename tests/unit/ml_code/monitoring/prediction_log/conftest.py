from __future__ import annotations

from pathlib import Path

import pytest

from ml_code.monitoring.prediction_log import collection
from ml_code.workspace import Workspace
from tests.log_rows import LogWarehouse, make_log_workspace


@pytest.fixture
def warehouse() -> LogWarehouse:
    return LogWarehouse()


@pytest.fixture
def workspace(tmp_path: Path, warehouse: LogWarehouse) -> Workspace:
    return make_log_workspace(tmp_path, warehouse)


@pytest.fixture
def volume(workspace: Workspace) -> collection.Volume:
    return collection.find_volume(workspace)

from __future__ import annotations

from pathlib import Path

import pytest

from ml_code.settings import Settings
from ml_code.workspace import Workspace, open_workspace
from tests.offline_settings import make_offline_settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Nothing listens where these point; rows and snapshots lie in a folder."""
    return make_offline_settings(tmp_path / "datasets", catalog_dir=tmp_path)


@pytest.fixture
def workspace(settings: Settings) -> Workspace:
    return open_workspace(settings)

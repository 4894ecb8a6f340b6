"""A registry with three versions of iris, for the commands about them."""

from __future__ import annotations

from pathlib import Path

import pytest

from ml_code.datasets import CATALOG
from ml_code.settings import Settings
from tests.unit.serving.rollout_fakes import Table, promote_in_turn


@pytest.fixture
def table(tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Table:
    """Iris with the versions 1 to 3, of which 3 serves."""
    (tmp_path / "iris.toml").write_text((CATALOG / "iris.toml").read_text())
    table = promote_in_turn("1", "2", "3")
    for module in ("mlops.commands.models", "mlops.commands.promotion"):
        monkeypatch.setattr(f"{module}.load_host_settings", lambda: settings)
        monkeypatch.setattr(f"{module}.open_control", lambda _: table.control("ada@lab"))
    return table

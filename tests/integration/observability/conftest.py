from __future__ import annotations

from pathlib import Path

import pytest

from tests.engine import skip_without_engine


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = [item for item in items if Path(__file__).parent in item.path.parents]
    skip_without_engine(here, "the tests of the alert rules")

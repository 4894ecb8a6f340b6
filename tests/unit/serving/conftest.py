from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.serving.follower_replica import FakeRegistry, Replica
from tests.unit.serving.onnx_files import make_classifier


@pytest.fixture
def registry() -> FakeRegistry:
    registry = FakeRegistry()
    registry.register("1", make_classifier(answer=0))
    registry.register("2", make_classifier(answer=1))
    registry.aliases["champion"] = "1"
    return registry


@pytest.fixture
def replica(tmp_path: Path, registry: FakeRegistry) -> Replica:
    return Replica(tmp_path, registry)

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from serving.answering.served import Version
from serving.following.follower import Follower
from serving.following.model_files import ModelFiles
from serving.registry.reader import MlflowRegistry
from tests.unit.serving.app_client import Ask, make_client
from tests.unit.serving.follower_replica import FakeRegistry, Replica
from tests.unit.serving.onnx_files import make_classifier, make_mixed_regressor
from tests.unit.serving.rollout_fakes import skip_validation


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


@pytest.fixture
def contents() -> dict[str, bytes]:
    """The model files on disk, by name; a test that describes another one has its own fixture of this name."""
    return {"iris": make_classifier(), "ships": make_mixed_regressor()}


@pytest.fixture
def follower(tmp_path: Path, contents: dict[str, bytes]) -> Iterator[Follower]:
    """A follower that has the files on disk and never reads its registry."""
    files = ModelFiles(tmp_path, "one")
    for name, content in contents.items():
        digest = hashlib.sha256(content).hexdigest()
        temporary = files.temporary_path()
        temporary.write_bytes(content)
        files.keep(temporary, digest)
        files.record(Version(name, "7", digest), "2026-11-20T00:00:00+00:00")
    registry = MlflowRegistry("http://127.0.0.1:1", "nobody", "nothing")
    allowed = {name: name for name in ("iris", "ships", "housing")}
    yield Follower(registry, files, pool="stable", read_allowed=lambda: allowed, limit_bytes=1_000_000)
    asyncio.run(registry.close())


@pytest.fixture
def metrics() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def ask(follower: Follower, metrics: CollectorRegistry) -> Ask:
    asyncio.run(follower.restore())
    return make_client(follower, metrics)


@pytest.fixture
def quick_validation(monkeypatch: pytest.MonkeyPatch) -> None:
    """The child process has tests of its own; here it would take a second each time."""
    skip_validation(monkeypatch)

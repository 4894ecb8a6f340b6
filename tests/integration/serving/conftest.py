from __future__ import annotations

import hashlib
from collections.abc import Iterator

import pytest

from serving.model_files import ModelFiles
from serving.served import Version
from tests.integration.serving.replica import Replica, run_replica
from tests.unit.serving.onnx_files import make_classifier, make_mixed_regressor


@pytest.fixture(scope="module")
def lone_replica(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replica]:
    """A replica that has no registry and serves what lies in its state directory."""
    folder = tmp_path_factory.mktemp("replica")
    files = ModelFiles(folder / "state", "other")
    catalog = folder / "catalog"
    catalog.mkdir()
    for name, content in (("iris", make_classifier()), ("ships", make_mixed_regressor())):
        (catalog / f"{name}.toml").touch()
        digest = hashlib.sha256(content).hexdigest()
        temporary = files.temporary_path()
        temporary.write_bytes(content)
        files.keep(temporary, digest)
        files.record(Version(name, "1", digest), "2026-11-20T00:00:00+00:00")
    with run_replica(folder, "http://127.0.0.1:1", "nothing", SERVING_CATALOG_DIR=str(catalog)) as replica:
        yield replica

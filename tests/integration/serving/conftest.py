from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.serving.replica import Replica, run_replica, store_models


@pytest.fixture(scope="module")
def lone_replica(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replica]:
    """A replica that has no registry and serves what lies in its state directory."""
    folder = tmp_path_factory.mktemp("replica")
    catalog = store_models(folder)
    more = {"SERVING_CATALOG_DIR": str(catalog), "SERVING_PREDICTION_LOG_DIR": str(folder / "prediction-log")}
    with run_replica(folder, "http://127.0.0.1:1", "nothing", **more) as replica:
        yield replica

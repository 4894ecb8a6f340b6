from __future__ import annotations

import pytest

from tests.integration.airflow_home import prepare_airflow
from tests.servers import ObjectStore, PostgresServer


@pytest.fixture(scope="session")
def airflow_environment(
    tmp_path_factory: pytest.TempPathFactory, postgres: PostgresServer, object_store: ObjectStore
) -> dict[str, str]:
    return prepare_airflow(tmp_path_factory.mktemp("airflow"), postgres, object_store, "plugins")

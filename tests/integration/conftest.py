from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from ml_code.settings import Settings
from ml_code.workspace import Workspace, open_workspace
from tests.integration.airflow_home import migrate_airflow, prepare_airflow
from tests.integration.serving.rollout_stack import RolloutStack, run_rollout_stack
from tests.servers import MlflowServer, ObjectStore, PostgresServer, run_mlflow, run_object_store, run_postgres

HERE = Path(__file__).parent


def pytest_configure(config: pytest.Config) -> None:
    """Without this, pytest-xdist starts with the files of the most tests."""
    if hasattr(config.option, "loadscopereorder"):
        config.option.loadscopereorder = False


def pytest_itemcollected(item: pytest.Item) -> None:
    item.add_marker(pytest.mark.servers)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begins with what takes longest."""
    items.sort(key=lambda item: item.path.parent != HERE / "local_stack")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> object:
    """Has `--dist loadfile` run the files of the one local stack in one process.

    Each process has servers of its own, because the tests of a file expect to find and leave no model. The mark
    `xdist_group` of pytest-xdist 3.8 has no effect with pytest 9.2.
    """
    if config.getvalue("dist") != "loadfile":
        return None
    from xdist.scheduler import LoadFileScheduling  # noqa: PLC0415  # xdist need not be installed

    class Scheduling(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0]
            return "local_stack" if "integration/local_stack/" in file else file

    return Scheduling(config, log)


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    with run_postgres() as server:
        yield server


@pytest.fixture(scope="session")
def object_store() -> Iterator[ObjectStore]:
    with run_object_store() as store:
        yield store


@pytest.fixture(scope="session")
def mlflow_server(postgres: PostgresServer, object_store: ObjectStore) -> Iterator[MlflowServer]:
    with run_mlflow(postgres, object_store) as server:
        yield server


@pytest.fixture(scope="session")
def airflow_template(tmp_path_factory: pytest.TempPathFactory, postgres: PostgresServer) -> str:
    """A database with Airflow's tables, to be copied."""
    return migrate_airflow(tmp_path_factory.mktemp("airflow"), postgres)


@pytest.fixture(scope="session")
def airflow_environment(
    tmp_path_factory: pytest.TempPathFactory, postgres: PostgresServer, object_store: ObjectStore, airflow_template: str
) -> dict[str, str]:
    """Airflow, the warehouse and the object store; nothing answers as MLflow."""
    postgres.create_database("airflow", template=airflow_template)
    return prepare_airflow(tmp_path_factory.mktemp("airflow"), postgres, object_store, "airflow")


@pytest.fixture(scope="session")
def stack_settings(postgres: PostgresServer, object_store: ObjectStore, mlflow_server: MlflowServer) -> Settings:
    return settings_for(postgres, object_store, mlflow_server)


@pytest.fixture
def workspace(stack_settings: Settings) -> Workspace:
    return open_workspace(stack_settings)


@pytest.fixture(scope="module")
def rollout_stack(
    tmp_path_factory: pytest.TempPathFactory,
    stack_settings: Settings,
    mlflow_server: MlflowServer,
    postgres: PostgresServer,
) -> Iterator[RolloutStack]:
    """A stable and a canary replica behind a gateway, and a registry without models before and after."""
    with pytest.MonkeyPatch.context() as patch:
        username, password = mlflow_server.auth("trainer")
        patch.setenv("MLFLOW_TRACKING_USERNAME", username)
        patch.setenv("MLFLOW_TRACKING_PASSWORD", password)
        mlflow_server.delete_models()
        folder = tmp_path_factory.mktemp("rollout")
        with run_rollout_stack(folder, stack_settings, mlflow_server, postgres) as stack:
            yield stack
    mlflow_server.delete_models()


def settings_for(postgres: PostgresServer, object_store: ObjectStore, mlflow_server: MlflowServer) -> Settings:
    return Settings(
        mlflow_url=mlflow_server.url,
        mlflow_username="trainer",
        mlflow_password=SecretStr(mlflow_server.passwords["trainer"]),
        gate_signing_key=SecretStr("key-of-the-tests"),
        s3_endpoint_url=object_store.url,
        s3_access_key=object_store.access_key,
        s3_secret_key=SecretStr(object_store.secret_key),
        warehouse_dsn=SecretStr(postgres.dsn()),
    )

"""Look-ups in a registry and a history that are longer than any page; the rows are copied within the database."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import closing

import psycopg2
import pytest
from mlflow import MlflowClient

from ml_code.settings import Settings
from ml_code.tracking import Tracker
from serving.registry.writer import MlflowRegistryWriter
from tests.servers import MlflowServer, PostgresServer

VERSIONS = 1_100
RUNS = 10_000
ALIKE = 2_500
"""Runs with the same tags: more than two pages."""

COPY_VERSIONS = """
    INSERT INTO model_versions SELECT (jsonb_populate_record(m, jsonb_build_object('version', n))).*
    FROM model_versions m, generate_series(2, %(count)s) n WHERE m.name = %(name)s AND m.version = 1;
    INSERT INTO model_version_tags SELECT (jsonb_populate_record(t, jsonb_build_object('version', n))).*
    FROM model_version_tags t, generate_series(2, %(count)s) n WHERE t.name = %(name)s AND t.version = 1
"""

COPY_RUNS = """
    INSERT INTO runs
    SELECT (jsonb_populate_record(r,
            jsonb_build_object('run_uuid', md5(n::text || %(run)s), 'start_time', r.start_time + n))).*
    FROM runs r, generate_series(2, %(count)s) n WHERE r.run_uuid = %(run)s;
    INSERT INTO tags
    SELECT (jsonb_populate_record(t, jsonb_build_object('run_uuid', md5(n::text || %(run)s),
            'value', CASE WHEN t.key = 'mlops.run_key' OR n > %(alike)s THEN n::text ELSE t.value END))).*
    FROM tags t, generate_series(2, %(count)s) n WHERE t.run_uuid = %(run)s
"""


def run_in_mlflows_database(postgres: PostgresServer, statements: str, values: dict[str, object], where: str) -> None:
    """Runs statements in the database that has a row."""
    with closing(psycopg2.connect(postgres.dsn())) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT datname FROM pg_database WHERE datname LIKE 'mlflow%'")
        names = [name for (name,) in cursor.fetchall()]
    for name in names:
        with closing(psycopg2.connect(postgres.dsn(name))) as connection, connection, connection.cursor() as cursor:
            cursor.execute(where, values)
            if cursor.fetchone():
                cursor.execute(statements, values)
                return
    raise AssertionError(f"no database of {names} has it")


@pytest.fixture(scope="module")
def client(mlflow_server: MlflowServer) -> Iterator[MlflowClient]:
    username, password = mlflow_server.auth("trainer")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_USERNAME", username)
        patch.setenv("MLFLOW_TRACKING_PASSWORD", password)
        yield MlflowClient(mlflow_server.url)


def test_every_version_is_listed_and_the_only_good_one_is_found_behind_thousands(
    client: MlflowClient, stack_settings: Settings, postgres: PostgresServer
) -> None:
    name = f"tulips{secrets.token_hex(4)}"
    client.create_registered_model(name)
    run = client.create_run(client.create_experiment(name))
    client.create_model_version(name, f"{run.info.artifact_uri}/model", run.info.run_id, tags={"gate": "passed"})
    values = {"name": name, "count": VERSIONS}
    run_in_mlflows_database(postgres, COPY_VERSIONS, values, "SELECT 1 FROM model_versions WHERE name = %(name)s")
    listed = Tracker(stack_settings).list_versions(name)
    assert [int(record.version) for record in listed] == list(range(VERSIONS, 0, -1))
    password = stack_settings.mlflow_password.get_secret_value()
    with closing(MlflowRegistryWriter(stack_settings.mlflow_url, "trainer", password)) as registry:
        assert registry.find_newest_passed(name, {str(number) for number in range(2, VERSIONS + 1)}) == "1"
    client.delete_registered_model(name)


def test_every_similar_run_counts_and_the_oldest_is_found_by_its_key(
    client: MlflowClient, stack_settings: Settings, postgres: PostgresServer
) -> None:
    name, tracker = f"runs{secrets.token_hex(4)}", Tracker(stack_settings)
    first = tracker.find_or_create_run(name, "first", "first", {"snapshot": "one"})
    values = {"run": first.run_id, "count": RUNS, "alike": ALIKE}
    run_in_mlflows_database(postgres, COPY_RUNS, values, "SELECT 1 FROM runs WHERE run_uuid = %(run)s")
    assert tracker.find_or_create_run(name, "first", "again", {"snapshot": "one"}) == first
    similar = tracker.list_similar_runs(first.run_id, {"snapshot": "one"})
    assert len({run.run_id for run in similar}) == len(similar) == ALIKE
    assert similar[-1].run_id == first.run_id

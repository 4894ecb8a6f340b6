"""Housekeeping with real MLflow, store and warehouse: versions, snapshots, two at once, and without the store."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from pydantic import SecretStr

from ml_code.data import snapshots
from ml_code.errors import StorageError
from ml_code.gate import judging
from ml_code.housekeeping import cleaning, finding, rules, runs
from ml_code.settings import Settings
from ml_code.training import run
from ml_code.warehouse import Warehouse, hold_deletions
from ml_code.workspace import Workspace
from tests.ports import free_port
from tests.servers import MlflowServer, PostgresServer

MODEL = "iris"
DYING = """
import os, signal, sys
from ml_code.housekeeping import cleaning
from ml_code.storage import Storage
from ml_code.workspace import open_workspace

delete = Storage.delete

def delete_and_die(self, uri):
    delete(self, uri)
    os.kill(os.getpid(), signal.SIGKILL)

Storage.delete = delete_and_die
cleaning.delete(open_workspace(), sys.argv[1], "quarantine")
"""
"""A run that is killed after its first deletion."""

LATER = timedelta(days=60)
"""The objects of a real store are young: the runs reckon with a time after them."""


@pytest.fixture(scope="module")
def warehouse(postgres: PostgresServer) -> Warehouse:
    warehouse = Warehouse(postgres.create_database("housekeeping"))
    warehouse.migrate()
    return warehouse


@pytest.fixture(scope="module")
def trained(
    stack_settings: Settings, warehouse: Warehouse, mlflow_server: MlflowServer
) -> Iterator[tuple[Workspace, list[str]]]:
    """Iris with four versions, of which the first is the champion and the second was the one before it."""
    mlflow_server.delete_models()
    own = {"datasets_uri": "s3://datasets/housekeeping", "predictions_uri": "s3://predictions/housekeeping"}
    settings = stack_settings.model_copy(update={**own, "versions_kept": 1})
    workspace = Workspace(settings, connect_warehouse=lambda _: warehouse)
    uri = snapshots.prepare(workspace, MODEL)
    versions = []
    for trees in (3, 4, 5, 6):
        run_id = run.train(workspace, MODEL, uri, "sklearn", "random_forest", hyperparameters={"n_estimators": trees})
        judging.evaluate(workspace, run_id)
        judging.decide(workspace, run_id, force=True)
        versions.append(judging.register(workspace, run_id))
    mlflow_server.move_alias(MODEL, versions[0])
    with warehouse.transaction() as connection, connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO warehouse.promotion_log (model, action, from_version, to_version, who, why) "
            "VALUES (%s, 'rollback', %s, %s, 'a test', 'a test')",
            (MODEL, versions[1], versions[0]),
        )
    yield workspace, versions
    mlflow_server.delete_models()


@pytest.fixture
def later(warehouse: Warehouse) -> Iterator[str]:
    """A run that is not the first, with a time at which all of this is old."""
    now = datetime.now(UTC)
    with warehouse.transaction() as connection, connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO warehouse.housekeeping (owner, clock, is_dry) "
            "VALUES ('first', %s, TRUE), ('later', %s, FALSE)",
            (now, now + LATER),
        )
    yield "later"
    with warehouse.transaction() as connection, connection.cursor() as cursor:
        cursor.execute("DELETE FROM warehouse.housekeeping")


def test_the_time_of_a_run_follows_both_clocks_and_the_run_before(
    trained: tuple[Workspace, list[str]], warehouse: Warehouse
) -> None:
    workspace, _ = trained
    now = datetime.now(UTC)
    first = runs.begin(workspace, "one", now - timedelta(days=30), is_dry=False)
    assert (first.is_dry, first.clock) == (True, now - timedelta(days=30))
    ahead = runs.begin(workspace, "two", now + timedelta(days=900), is_dry=False)
    assert (ahead.is_dry, ahead.clock) == (False, now - timedelta(days=28))
    assert runs.begin(workspace, "two", now, is_dry=True) == ahead
    with warehouse.transaction() as connection, connection.cursor() as cursor:
        cursor.execute("DELETE FROM warehouse.housekeeping")
    behind = runs.begin(workspace, "three", now + timedelta(days=900), is_dry=True)
    assert now <= behind.clock < now + timedelta(days=1)
    with warehouse.transaction() as connection, connection.cursor() as cursor:
        cursor.execute("DELETE FROM warehouse.housekeeping")


def test_a_version_that_nothing_needs_goes_with_its_snapshot_and_the_champion_stays(
    trained: tuple[Workspace, list[str]], later: str
) -> None:
    workspace, versions = trained
    storage, places = workspace.storage, workspace.places
    snapshot = f"{places.locate_snapshots(MODEL)}/0123456789abcdef.parquet"
    batch = places.locate_batch(MODEL, "scheduled__1")
    for uri in (snapshot, f"{batch}/plan.json", f"{batch}/part-0.csv", f"{places.locate_batches(MODEL)}files/0.onnx"):
        storage.write_bytes(uri, b"x")
    of_champion = snapshots.prepare(workspace, MODEL)
    small = Workspace(
        workspace.settings.model_copy(update={"batch_days": 30}), connect_warehouse=workspace.connect_warehouse
    )
    done = {rule: cleaning.delete(small, later, rule) for rule in finding.FINDERS}
    counts = {rule: deleted.entries for rule, deleted in done.items() if deleted and deleted.entries}
    assert counts == {rules.VERSIONS: 1, rules.SNAPSHOTS: 1, rules.BATCHES: 2}
    left = [version.version for version in workspace.tracker.list_versions(MODEL)]
    assert left == [versions[3], versions[1], versions[0]]
    assert workspace.tracker.read_model_file(MODEL, versions[0])
    assert storage.find(of_champion) is not None
    assert [entry.uri for entry in storage.list_objects(f"{batch}/")] == []


def test_collections_go_with_their_batches_except_the_newest(
    trained: tuple[Workspace, list[str]], later: str, warehouse: Warehouse
) -> None:
    workspace, _ = trained
    with warehouse.transaction() as connection, connection.cursor() as cursor:
        for name, days in (("old", 100), ("newest", 90)):
            cursor.execute(
                "INSERT INTO warehouse.prediction_collection (collection, began_at, segments, rows, dropped, torn, "
                "unreadable) VALUES (%s, now() - make_interval(days => %s), 1, 1, 0, 0, 0)",
                (name, days),
            )
            cursor.execute(
                "INSERT INTO warehouse.prediction_batch (collection, model, schema, rows, refused, first_time, "
                "last_time, bytes) VALUES (%s, 'iris', 'a', 1, 0, now(), now(), 1)",
                (name,),
            )
    done = cleaning.delete(workspace, later, rules.COLLECTIONS)
    assert done is not None
    assert done.entries == 1
    with warehouse.transaction() as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT collection FROM warehouse.prediction_collection JOIN warehouse.prediction_batch USING (collection)"
        )
        assert cursor.fetchall() == [("newest",)]


def test_two_at_once_delete_once_and_a_backup_keeps_both_away(trained: tuple[Workspace, list[str]], later: str) -> None:
    workspace, _ = trained
    report = workspace.places.locate_quarantine(MODEL, "0" * 64)
    workspace.storage.write_bytes(report, b"x")
    short = Workspace(
        workspace.settings.model_copy(update={"quarantine_days": 30}), connect_warehouse=workspace.connect_warehouse
    )
    with hold_deletions(workspace.warehouse) as prove:
        assert prove is not None
        prove()
        assert cleaning.delete(short, later, rules.QUARANTINE) is None
        assert workspace.storage.find(report) is not None
    done = cleaning.delete(short, later, rules.QUARANTINE)
    assert done is not None
    assert (done.entries, workspace.storage.find(report)) == (1, None)


def test_a_run_that_is_killed_leaves_no_lock_and_the_next_one_deletes_the_rest(
    trained: tuple[Workspace, list[str]], later: str, postgres: PostgresServer
) -> None:
    workspace, _ = trained
    reports = [workspace.places.locate_quarantine(MODEL, f"{number}" * 64) for number in range(3)]
    for report in reports:
        workspace.storage.write_bytes(report, b"x")
    changes = {"quarantine_days": 30, "warehouse_dsn": SecretStr(postgres.dsn("housekeeping"))}
    short = workspace.settings.model_copy(update=changes)
    dying = subprocess.run([sys.executable, "-c", DYING, later], env=os.environ | list_variables(short), check=False)
    assert dying.returncode == -signal.SIGKILL
    done = cleaning.delete(Workspace(short), later, rules.QUARANTINE)
    assert done is not None
    assert done.entries == 2
    assert [report for report in reports if workspace.storage.find(report)] == []


def list_variables(settings: Settings) -> dict[str, str]:
    """The settings as a process finds them in its environment."""
    values = {name: value for name, value in settings if value is not None}
    return {
        f"MLOPS_{name.upper()}": value.get_secret_value() if isinstance(value, SecretStr) else str(value)
        for name, value in values.items()
    }


def test_without_the_store_a_run_fails_and_deletes_no_version(trained: tuple[Workspace, list[str]], later: str) -> None:
    workspace, _ = trained
    before = workspace.tracker.list_versions(MODEL)
    away = workspace.settings.model_copy(update={"s3_endpoint_url": f"http://127.0.0.1:{free_port()}"})
    with pytest.raises(StorageError):
        cleaning.plan(Workspace(away, connect_warehouse=workspace.connect_warehouse), later, datetime.now(UTC))
    assert workspace.tracker.list_versions(MODEL) == before

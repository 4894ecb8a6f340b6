"""Sets of real databases and a real store: made, read, restored into empty servers, interrupted at each step."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ml_code.errors import WarehouseError
from ml_code.warehouse import DELETION_LOCK, Warehouse
from mlops.backup import restoring, sets, verifying
from mlops.backup.databases import Postgres
from mlops.backup.making import hold_deletions, make_backup
from mlops.backup.site import Site, make_site
from mlops.errors import BackupError
from mlops.host import BackupTarget
from mlops.local.services import find_postgres_programs
from mlops.upgrade.before import read_schemas
from tests.integration.backup_servers import MODEL, PASSWORD, ROLES, Servers
from tests.servers import run_object_store, run_postgres


@pytest.fixture(scope="module")
def servers() -> Iterator[Servers]:
    with run_postgres() as postgres, run_object_store(("airflow-logs", "datasets", "mlflow", "predictions")) as store:
        yield Servers(postgres, store)


@pytest.fixture
def site(servers: Servers, tmp_path: Path) -> Site:
    servers.fill()
    checkout = tmp_path / "checkout"
    (checkout / "ml_code/catalog").mkdir(parents=True)
    (checkout / "ml_code/catalog/mine.toml").write_text('name = "mine"\n')
    store = servers.store
    values = {
        "POSTGRES_PORT": servers.postgres.port,
        "MINIO_PORT": store.url.rpartition(":")[2],
        **{f"{name}_DB_PASSWORD": PASSWORD for name in ROLES},
        **{f"{name}_USER": store.access_key for name in ("MINIO_ROOT", "S3_BACKUP", "S3_TASKS")},
        **{f"{name}_PASSWORD": store.secret_key for name in ("MINIO_ROOT", "S3_BACKUP", "S3_TASKS")},
        "MLFLOW_TRAINER_PASSWORD": PASSWORD,
        "AIRFLOW_FERNET_KEY": "of-this-installation",
    }
    env_file = checkout / ".env"
    env_file.write_text("".join(f"{name}={value}\n" for name, value in values.items()))
    environment = {"PGHOST": servers.postgres.host, "PGPORT": str(servers.postgres.port)}
    environment["PGPASSWORD"] = servers.postgres.password
    postgres = Postgres((), environment, programs=f"{find_postgres_programs()}/")
    return make_site(env_file, checkout, postgres, servers)


@pytest.fixture
def target(tmp_path: Path) -> BackupTarget:
    return BackupTarget(tmp_path / "backups", 14, "a passphrase")


def ignore(_: str) -> None:
    pass


def test_a_set_brings_back_rows_rights_objects_and_settings(servers: Servers, site: Site, target: BackupTarget) -> None:
    before, folder = servers.read_state(), make_backup(site, target, ignore)
    assert verifying.verify(folder, site.postgres, ignore).objects == 2
    servers.empty()
    settings = site.env_file.read_bytes()
    shutil.rmtree(site.checkout)
    site.checkout.mkdir()
    restoring.put_settings_back(folder, site.env_file, site.checkout, target.passphrase)
    assert site.env_file.read_bytes() == settings
    assert site.env_file.stat().st_mode & 0o077 == 0
    (site.checkout / "ml_code/catalog").mkdir(parents=True)
    restoring.restore(folder, site, ignore)
    assert servers.read_state() == before
    assert servers.told == ["open stores", "prepare databases", "start"]
    assert (site.checkout / "ml_code/catalog/mine.toml").is_file()
    assert not site.marker.exists()
    assert Warehouse(servers.dsn("warehouse_owner")).migrate() == []


def test_a_restore_that_is_killed_at_each_step_goes_on(servers: Servers, site: Site, target: BackupTarget) -> None:
    before, folder = servers.read_state(), make_backup(site, target, ignore)
    servers.empty()
    for step in ("servers", "database warehouse", "database airflow", "database mlflow", "2 objects", "start"):

        def kill(name: str, step: str = step) -> None:
            if name == step:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            restoring.restore(folder, site, kill)
    assert site.marker.exists()
    restoring.restore(folder, site, ignore)
    assert servers.read_state() == before
    assert not site.marker.exists()


def test_data_is_replaced_only_when_it_is_asked_for(servers: Servers, site: Site, target: BackupTarget) -> None:
    before, folder = servers.read_state(), make_backup(site, target, ignore)
    servers.told.clear()
    with pytest.raises(
        BackupError, match=r"1 entries in mlflow, 1 entries in warehouse, 2 entries in the object store"
    ):
        restoring.restore(folder, site, ignore)
    assert servers.told == []
    servers.store.connect().put_object(Bucket="datasets", Key="incoming/iris/later.csv", Body=b"1")
    servers.ask("mlflow", "DELETE FROM registered_model_aliases")
    restoring.restore(folder, site, ignore, is_over_existing=True)
    assert servers.read_state() == before


def test_another_set_does_not_go_on_where_one_was_interrupted(
    servers: Servers, site: Site, target: BackupTarget
) -> None:
    folder = make_backup(site, target, ignore)
    site.marker.write_text("another\n")
    with pytest.raises(BackupError, match="that of another set not ended"):
        restoring.restore(folder, site, ignore)


def test_another_installation_and_a_newer_version_are_refused(
    servers: Servers, site: Site, target: BackupTarget
) -> None:
    folder = make_backup(site, target, ignore)
    servers.told.clear()
    manifest = verifying.verify_files(folder, ignore)
    with pytest.raises(BackupError, match=r"the migration 9999_later\.sql, airflow 99\.0 instead of"):
        restoring.refuse_newer(
            folder,
            replace(manifest, migrations=["0001_search_path.sql", "9999_later.sql"], versions={"airflow": "99.0"}),
        )
    with pytest.raises(BackupError, match="expected dumps of Postgres 16"):
        restoring.refuse_newer_server(folder, manifest, "16")
    site.env_file.write_text(site.env_file.read_text().replace("of-this-installation", "of-another"))
    with pytest.raises(BackupError, match="another AIRFLOW_FERNET_KEY"):
        restoring.restore(folder, site, ignore, is_over_existing=True)
    assert servers.told == []


def test_what_a_dump_names_and_the_set_lacks_is_told(servers: Servers, site: Site, target: BackupTarget) -> None:
    servers.store.connect().delete_object(Bucket="mlflow", Key=MODEL)
    servers.ask("mlflow", "INSERT INTO registered_model_aliases VALUES ('titanic', 'champion', 7)")
    folder = make_backup(site, target, ignore)
    with pytest.raises(
        BackupError, match=r"version 1 of iris: no file below .*version 7 of titanic: an alias names it"
    ):
        verifying.verify(folder, site.postgres, ignore)
    left = [name for (name,) in servers.ask("postgres", "SELECT datname FROM pg_database")]
    assert [name for name in left if name.startswith("verify_")] == []


def test_a_truncated_dump_is_no_dump(servers: Servers, site: Site, tmp_path: Path) -> None:
    file = tmp_path / "warehouse.dump"
    site.postgres.dump("warehouse", file)
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(BackupError, match="pg_restore"):
        site.postgres.read_through(file)
    with pytest.raises(BackupError, match="pg_restore"):
        site.postgres.replace("warehouse", file)
    assert servers.read_state()["moves"] == [("iris", "1")]


def test_a_backup_that_fails_leaves_the_older_sets(servers: Servers, site: Site, target: BackupTarget) -> None:
    folder = make_backup(site, target, ignore)
    servers.ask("postgres", "DROP DATABASE airflow WITH (FORCE)")
    with pytest.raises(BackupError, match='database "airflow" does not exist'):
        make_backup(site, target, ignore)
    assert [found.folder for found in sets.list_sets(target.folder)] == [folder]
    assert sorted(path.name for path in target.folder.iterdir()) == [folder.name, "lock"]


def test_a_full_disk_and_a_folder_that_vanishes_are_told(servers: Servers, site: Site, target: BackupTarget) -> None:
    with pytest.raises(BackupError, match=r"No space left on device.*does the disk have room"):
        site.postgres.dump("warehouse", Path("/dev/full"))

    def vanish(step: str) -> None:
        if step == "objects":
            shutil.rmtree(target.folder)

    with pytest.raises(BackupError, match="expected a folder with room"):
        make_backup(site, target, vanish)
    assert make_backup(site, target, ignore).is_dir()


def test_an_old_set_goes_after_the_next_one(servers: Servers, site: Site, target: BackupTarget) -> None:
    moments = iter([datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=days) for days in (0, 0, 0, 20, 20, 20)])
    first = make_backup(site, target, ignore, lambda: next(moments))
    second = make_backup(site, target, ignore, lambda: next(moments))
    assert [found.folder for found in sets.list_sets(target.folder)] == [second]
    assert not first.exists()
    assert verifying.verify_files(second, ignore).objects == 2
    found = site.postgres.ask("warehouse", "SELECT name, bytes > 0 FROM warehouse.backup ORDER BY began_at LIMIT 2")
    assert found == [[first.name, "t"], [second.name, "t"]]


def test_nothing_is_deleted_while_a_backup_runs(servers: Servers, site: Site) -> None:
    """A deletion takes the lock that a backup shares, in the database of what it deletes."""
    take = f"SELECT pg_try_advisory_lock({DELETION_LOCK})"
    with hold_deletions(site.locks) as prove, hold_deletions(site.locks):
        assert [servers.ask(name, take) for name in ("warehouse", "mlflow")] == [[(False,)], [(False,)]]
        prove()
    assert [servers.ask(name, take) for name in ("warehouse", "mlflow")] == [[(True,)], [(True,)]]


def test_a_backup_waits_for_a_deletion_and_gives_up_after_a_time(servers: Servers, site: Site) -> None:
    with site.locks[1].transaction() as connection, connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", (DELETION_LOCK,))
        with pytest.raises(BackupError, match="found it still there"), hold_deletions(site.locks, wait_seconds=0):
            pass


def test_a_lost_lock_ends_the_backup(servers: Servers, site: Site, target: BackupTarget) -> None:
    def cut(step: str) -> None:
        if step == "objects":
            servers.ask(
                "postgres",
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'mlops-loop'",
            )

    with pytest.raises(WarehouseError, match="expected the connection to hold"):
        make_backup(site, target, cut)
    assert sets.list_sets(target.folder) == []


def test_the_superuser_reads_no_view_and_runs_no_function_of_a_role(site: Site, servers: Servers) -> None:
    body = "BEGIN RAISE 'run as %', current_user; END"
    for schema, argument in (("postgres", "name"), ("optuna", "text")):
        servers.ask(
            "warehouse",
            f"""CREATE SCHEMA IF NOT EXISTS {schema};
            CREATE FUNCTION {schema}.quote_ident({argument}) RETURNS text LANGUAGE plpgsql AS $$ {body} $$;
            GRANT USAGE ON SCHEMA {schema} TO PUBLIC""",
            "warehouse",
        )
    servers.ask(
        "warehouse", "CREATE VIEW optuna.alembic_version AS SELECT optuna.quote_ident('') AS version_num", "warehouse"
    )
    try:
        assert read_schemas(site.postgres)["warehouse"][0] == "warehouse.schema_version: 0001_search_path.sql"
        with pytest.raises(BackupError, match="access to non-system view"):
            site.postgres.ask("warehouse", "SELECT * FROM optuna.alembic_version")
    finally:
        servers.ask("warehouse", "DROP SCHEMA postgres CASCADE; DROP FUNCTION optuna.quote_ident CASCADE", "warehouse")


def test_a_restore_runs_no_function_of_a_role_as_the_superuser(site: Site, servers: Servers, tmp_path: Path) -> None:
    body = "BEGIN IF (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) THEN RAISE 'the superuser'; END IF;"
    servers.ask(
        "warehouse",
        f"""CREATE SCHEMA mine;
        CREATE FUNCTION mine.is_good(x int) RETURNS bool LANGUAGE plpgsql AS $$ {body} RETURN true; END $$;
        CREATE TABLE mine.numbers (x int CHECK (mine.is_good(x)));
        INSERT INTO mine.numbers VALUES (1)""",
        "warehouse",
    )
    try:
        site.postgres.dump("warehouse", tmp_path / "warehouse.dump")
        with site.postgres.scratch("warehouse", tmp_path / "warehouse.dump") as name:
            assert site.postgres.ask(name, "SELECT x FROM mine.numbers") == [["1"]]
        site.postgres.replace("warehouse", tmp_path / "warehouse.dump")
        assert servers.ask("warehouse", "SELECT x FROM mine.numbers", "warehouse") == [(1,)]
        left = "SELECT rolname FROM pg_roles WHERE rolname LIKE 'verify%' OR rolname LIKE '%restored'"
        assert servers.ask("postgres", left) == []
    finally:
        servers.ask("warehouse", "DROP SCHEMA mine CASCADE", "warehouse")

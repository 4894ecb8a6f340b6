"""Makes a set while the stack runs: databases first, then the objects that they name, then the manifest."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as find_installed
from pathlib import Path

from ml_code.warehouse import DELETION_LOCK, Cursor, Warehouse
from mlops.backup import buckets, sealing, sets
from mlops.backup.databases import DATABASES
from mlops.backup.manifest import CONTENT, FORMAT, CopiedObject, Manifest, describe_file, write_manifest, write_objects
from mlops.backup.site import CATALOG, Site, describe_identity
from mlops.errors import BackupError
from mlops.host import BackupTarget, read_env_file

LIBRARIES = {"release": "mlops-loop", "airflow": "apache-airflow", "mlflow": "mlflow"}

LEFT_OUT = (
    "the volume prediction-log: answers that no collection has moved to the store yet",
    "the volumes serving-state and loop-status, which the stack fills again",
    "the volume airflow-logs: logs of tasks",
    "the database celery: how tasks of a worker ended",
    "DAGs and code, which are in git",
)

DELETION_WAIT_SECONDS = 1_800
PAUSE_SECONDS = 2.0

type Report = Callable[[str], None]


def make_backup(
    site: Site,
    target: BackupTarget,
    report: Report,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
    versions: Mapping[str, str] | None = None,
) -> Path:
    """Makes a set, deletes those that are too old, and returns the new one.

    Args:
        site: the stack.
        target: where sets go.
        report: is told each step.
        now: the clock.
        versions: those that the stack runs, where it is not that of this code.

    Raises:
        BackupError: the folder, a server or a program refuses; the older sets stay.
        StorageError: the store refuses; the same.
        WarehouseError: the database cannot be reached; the same.
    """
    with sets.locked(target.folder), sets.begun(target.folder) as folder:
        began_at, earlier = now(), sets.find_newest(target.folder)
        objects = _copy_data(site, folder, buckets.open_earlier(earlier.folder if earlier else None), report)
        write_objects(folder, objects)
        _copy_catalog(site, folder)
        if target.passphrase:
            _write_private(folder / sealing.SEALED, sealing.seal(site.list_secret_files(), target.passphrase))
        manifest = Manifest(
            format=FORMAT,
            began_at=began_at.isoformat(),
            ended_at=now().isoformat(),
            versions={**find_versions(), **(versions or {}), "postgres": site.postgres.read_version()},
            migrations=_list_migrations(site),
            installation=describe_identity(read_env_file(site.env_file, interpolate=True)),
            files=[describe_file(folder, name) for name in list_files(folder)],
            objects=len(objects),
            object_bytes=sum(entry.size_bytes for entry in objects),
            left_out=LEFT_OUT if target.passphrase else ("the settings and secrets of .env", *LEFT_OUT),
        )
        write_manifest(folder, manifest)
        made = sets.finish(folder, began_at)
        _note(site, made.name, manifest)
        for name in sets.prune(target.folder, target.days, now()):
            report(f"set {name} deleted, older than {target.days:g} days")
        return made


@contextmanager
def hold_deletions(
    locks: Sequence[Warehouse], wait_seconds: float = DELETION_WAIT_SECONDS
) -> Iterator[Callable[[], None]]:
    """Keeps every deletion of objects away, in each of some databases; yields the proof that it still does.

    Raises:
        BackupError: a deletion does not end in time.
        WarehouseError: a database cannot be reached, or a connection broke.
    """
    with ExitStack() as stack:
        cursors = []
        for warehouse in locks:
            connection = stack.enter_context(warehouse.transaction())
            cursor = stack.enter_context(connection.cursor())
            deadline = time.monotonic() + wait_seconds
            while not _share(cursor):
                if time.monotonic() > deadline:
                    raise BackupError(
                        f"deletions: expected the one that is under way to end within {wait_seconds:.0f} s, found it "
                        "still there; look at the DAG `housekeeping`, then repeat the backup"
                    )
                time.sleep(PAUSE_SECONDS)
            cursors.append(cursor)

        def prove() -> None:
            for cursor in cursors:
                cursor.execute("SELECT 1")

        yield prove


def locate_dump(database: str) -> str:
    """The name of a database's dump in a set."""
    return f"databases/{database}.dump"


def list_files(folder: Path) -> list[str]:
    """The names of the files of a set, without the content of objects."""
    names = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return sorted(str(name) for name in names if name.parts[0] != CONTENT)


def find_versions() -> dict[str, str]:
    """The versions of this code and of the libraries that migrate the databases."""
    found = {}
    for name, package in LIBRARIES.items():
        with suppress(PackageNotFoundError):
            found[name] = find_installed(package)
    return found


def _copy_data(site: Site, folder: Path, earlier: buckets.Earlier | None, report: Report) -> list[CopiedObject]:
    """Dumps the databases, then copies the objects, while nothing deletes any."""
    with hold_deletions(site.locks) as prove:
        for database in DATABASES:
            report(f"database {database}")
            file = folder / locate_dump(database)
            file.parent.mkdir(exist_ok=True)
            site.postgres.dump(database, file)
        report("objects")
        objects = buckets.Copying(site.reader, folder, earlier).copy(prove)
        prove()
    return objects


def _list_migrations(site: Site) -> list[str]:
    """The migrations that the warehouse has had."""
    return [name for (name,) in site.postgres.ask("warehouse", "SELECT name FROM warehouse.schema_version ORDER BY 1")]


def _note(site: Site, name: str, manifest: Manifest) -> None:
    """Adds the set to the warehouse, for the monitoring; one that has had no migration for that yet takes none."""
    if site.postgres.ask("warehouse", "SELECT to_regclass('warehouse.backup') IS NOT NULL") == [["t"]]:
        values = f"'{name}', '{manifest.began_at}', '{manifest.ended_at}', {manifest.size_bytes}"
        site.postgres.ask("warehouse", f"INSERT INTO warehouse.backup VALUES ({values}) ON CONFLICT DO NOTHING")  # noqa: S608  our own values


def _copy_catalog(site: Site, folder: Path) -> None:
    """Copies the descriptions of the datasets: people add some that are not in git."""
    (folder / "catalog").mkdir()
    for file in sorted((site.checkout / CATALOG).glob("*.toml")):
        (folder / "catalog" / file.name).write_bytes(file.read_bytes())


def _write_private(path: Path, content: bytes) -> None:
    path.touch(mode=0o600)
    path.write_bytes(content)


def _share(cursor: Cursor) -> bool:
    cursor.execute("SELECT pg_try_advisory_xact_lock_shared(%s)", (DELETION_LOCK,))
    row = cursor.fetchone()
    return bool(row and row[0])

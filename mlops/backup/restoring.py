"""Puts a set back into a stack. Each step may be repeated: a restore that was killed goes on with the same command."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from ml_code.errors import StorageError
from ml_code.warehouse import MIGRATIONS
from mlops.backup import buckets, sealing
from mlops.backup.databases import DATABASES
from mlops.backup.making import find_versions, locate_dump
from mlops.backup.manifest import DIGEST, Manifest, read_objects
from mlops.backup.site import CATALOG, Site, describe_identity
from mlops.backup.verifying import verify_files
from mlops.errors import BackupError
from mlops.host import read_env_file

TRACES: Mapping[str, str] = {
    "mlflow": "SELECT count(*) FROM public.runs",
    "warehouse": "SELECT (SELECT count(*) FROM warehouse.promotion_log) + (SELECT count(*) FROM warehouse.loaded_file)",
}
"""Rows that a stack has as soon as it has been used, by database."""

type Report = Callable[[str], None]


def restore(folder: Path, site: Site, report: Report, *, is_over_existing: bool = False) -> Manifest:
    """Puts a set back into a stack, and starts it.

    Args:
        folder: the set.
        site: the stack; everything but its servers is stopped.
        report: is told each step.
        is_over_existing: replaces the data of the stack, which is lost.

    Raises:
        BackupError: the set is altered, of a newer version or of another installation; then nothing was changed.
        BackupError: the stack has data, and `is_over_existing` is not set; the same.
        BackupError: a step failed; repeating the command goes on.
        StorageError: the store refuses; the same.
    """
    manifest = verify_files(folder, report)
    refuse_newer(folder, manifest)
    _refuse_other_installation(folder, manifest, site)
    key = (folder / DIGEST).read_text().strip()
    may_replace = is_over_existing or _is_interrupted(site.marker, key)
    if not may_replace:
        # Before anything is stopped, where the stack runs.
        with suppress(_NoServerError):
            _refuse_data(site)
    report("servers")
    site.operator.open_stores()
    refuse_newer_server(folder, manifest, site.postgres.read_version())
    if not may_replace:
        _refuse_data(site)
    site.marker.write_text(f"{key}\n")
    for database in DATABASES:
        report(f"database {database}")
        site.postgres.replace(database, folder / locate_dump(database))
    site.operator.prepare_databases()
    report(f"{manifest.objects} objects")
    buckets.put_back(site.writer, folder, read_objects(folder))
    for name in put_catalog_back(folder, site.checkout):
        report(f"dataset {name}: found another description here, which stays; the set has its own in catalog/")
    report("start")
    site.operator.start()
    site.marker.unlink(missing_ok=True)
    return manifest


def put_settings_back(folder: Path, env_file: Path, checkout: Path, passphrase: str | None) -> None:
    """Writes the settings of a set, and its files with secrets, where there are none yet.

    Raises:
        BackupError: there is no passphrase, it is another one, or the set has no settings.
    """
    if not passphrase:
        raise BackupError(
            f"settings: found no {env_file}, expected it, or the passphrase of the set in the variable "
            "BACKUP_PASSPHRASE: the set has its settings encrypted"
        )
    files = sealing.unseal(folder, passphrase)
    for name, content in files.items():
        path = env_file if name == "env" else checkout / name
        if ".." in Path(name).parts or Path(name).is_absolute() or path.exists():
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
        path.write_bytes(content)


def put_catalog_back(folder: Path, checkout: Path) -> list[str]:
    """Adds the datasets that the checkout lacks, and returns the names of those that it describes otherwise."""
    differing = []
    for file in sorted((folder / "catalog").glob("*.toml")):
        target = checkout / CATALOG / file.name
        if not target.exists():
            target.write_bytes(file.read_bytes())
        elif target.read_bytes() != file.read_bytes():
            differing.append(file.stem)
    return differing


def refuse_newer(folder: Path, manifest: Manifest) -> None:
    """Refuses a set of a newer version, whose databases this one would not understand.

    Raises:
        BackupError: a migration or a library is newer.
    """
    known = {file.name for file in MIGRATIONS.glob("[0-9]*.sql")}
    newer = [f"the migration {name}" for name in manifest.migrations if name not in known]
    for name, here in find_versions().items():
        found = manifest.versions.get(name, here)
        if _order(found) > _order(here):
            newer.append(f"{name} {found} instead of {here}")
    if newer:
        raise BackupError(
            f"set {folder}: expected one of this version or an older one, found {', '.join(newer)}; "
            f"restore it with the release {manifest.versions.get('release', 'that made it')}"
        )


def refuse_newer_server(folder: Path, manifest: Manifest, version: str) -> None:
    """Refuses the dumps of a newer Postgres.

    Raises:
        BackupError: the server here is older.
    """
    found = manifest.versions.get("postgres", version)
    if int(found) > int(version):
        raise BackupError(
            f"set {folder}: expected dumps of Postgres {version} or older, found those of {found}; set POSTGRES_IMAGE"
        )


def _refuse_other_installation(folder: Path, manifest: Manifest, site: Site) -> None:
    here = describe_identity(read_env_file(site.env_file, interpolate=True))
    differing = [name for name, found in manifest.installation.items() if here.get(name) != found]
    if differing:
        raise BackupError(
            f"set {folder}: expected a set of this installation, found one with another {', '.join(differing)}: "
            f"{site.env_file} is not the one of that stack. To restore it here, end this stack, move that file away "
            "and set BACKUP_PASSPHRASE: the settings come from the set then"
        )


class _NoServerError(BackupError):
    """A server of the stack does not run."""


def _refuse_data(site: Site) -> None:
    try:
        counts = {database: _count(site, database, question) for database, question in TRACES.items()}
        counts["the object store"] = len(buckets.find_objects(site.writer))
    except (BackupError, StorageError) as error:
        raise _NoServerError(str(error)) from error
    if found := [f"{count} entries in {name}" for name, count in counts.items() if count]:
        raise BackupError(
            f"stack of {site.env_file}: expected it without data, found {', '.join(found)}; no data was changed. "
            "`--over-existing` replaces all of it by the set"
        )


def _count(site: Site, database: str, question: str) -> int:
    """Rows of a database; none where its tables are not made yet."""
    tables = (
        "SELECT count(*) FROM information_schema.tables WHERE table_schema NOT IN ('pg_catalog', 'information_schema')"
    )
    if not site.postgres.has_database(database) or site.postgres.ask(database, tables) == [["0"]]:
        return 0
    return int(site.postgres.ask(database, question)[0][0])


def _is_interrupted(marker: Path, key: str) -> bool:
    """Whether this restore was begun before and did not end.

    Raises:
        BackupError: the restore of another set did not end.
    """
    if not marker.is_file():
        return False
    if (found := marker.read_text().strip()) != key:
        raise BackupError(
            f"restore: found that of another set not ended ({found[:12]}), expected none; repeat that one, or delete "
            f"{marker} and use `--over-existing`"
        )
    return True


def _order(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdigit())

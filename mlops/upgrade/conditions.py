"""What keeps a stack from being upgraded now."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from ml_code.storage import SCHEME
from ml_code.warehouse import MIGRATIONS
from mlops.airflow_api import IN_MOTION, AirflowApi
from mlops.backup import sets
from mlops.backup.buckets import BUCKETS, open_earlier, split
from mlops.backup.databases import DATABASES, Postgres
from mlops.backup.site import Site
from mlops.checks.findings import MIN_FREE_DISK_GB
from mlops.compose import Container
from mlops.errors import UpgradeError
from mlops.host import BackupTarget
from mlops.loop import TRAIN
from mlops.upgrade.checkout import Checkout

LONG_RUNS = frozenset(
    {TRAIN, "batch_inference", "model_retraining", "model_selection", "model_training_selection", "simple_train",
     "train_with_mlflow", "tune_model"}
)  # fmt: skip
"""DAGs whose tasks take long, and would begin again."""

LONGEST_RUN = timedelta(days=2)

ROLLOUTS = """
    SELECT model, kind, state FROM warehouse.rollout
    WHERE ended_at IS NULL AND kind IN ('rollout', 'rollback') AND state <> 'awaiting approval' AND lease_until > now()
"""
"""Rollouts that a task drives now. Tests of two versions and waits for a person last for days, and go on afterwards."""

GB = 1e9


def check_containers(containers: Sequence[Container], folder: Path) -> None:
    """Refuses a stack that does not run whole, or that another checkout runs.

    Raises:
        UpgradeError: it is so.
    """
    elsewhere = {str(found.folder) for found in containers if found.folder.resolve() != folder.resolve()}
    if elsewhere:
        raise UpgradeError(
            f"stack: expected that {folder} runs it, found that {', '.join(sorted(elsewhere))} does; run the upgrade "
            "there"
        )
    running = [found for found in containers if found.is_running]
    ill = sorted({found.service for found in running if not found.is_healthy})
    missing = sorted({"airflow-scheduler", "mlflow", "nginx", "postgres", "serving"} - {one.service for one in running})
    if ill or missing:
        raise UpgradeError(
            f"stack: expected that it runs and is healthy, found {', '.join(ill + missing)} otherwise; `make up` "
            "starts it, and `mlops doctor` says what is wrong"
        )


def check_checkout(checkout: Checkout, old: str) -> None:
    """Refuses a checkout from which there is no way back.

    Raises:
        UpgradeError: files of git are changed, or the clone lacks the commit that runs.
    """
    if changes := checkout.list_changes():
        more = f" and {len(changes) - 3} more" if len(changes) > 3 else ""
        raise UpgradeError(
            f"checkout: expected the files of its commit, found changes in {', '.join(changes[:3])}{more}; commit "
            "them, because the way back checks out another commit"
        )
    if not old:
        raise UpgradeError(
            "stack: expected that it tells its commit, found none, because it was not started by make; name the commit "
            "that runs, as in `mlops upgrade --from v0.1.0`"
        )
    if not checkout.has(old):
        raise UpgradeError(
            f"checkout: expected the commit {old}, which runs, found none here; run `git fetch --unshallow`, or name "
            "another one by --from"
        )


def check_migrations(postgres: Postgres) -> None:
    """Refuses the warehouse of a newer version.

    Raises:
        UpgradeError: it has had a migration that this checkout lacks.
    """
    known = {file.name for file in MIGRATIONS.glob("[0-9]*.sql")}
    done = [name for (name,) in postgres.ask("warehouse", "SELECT name FROM warehouse.schema_version ORDER BY 1")]
    if newer := [name for name in done if name not in known]:
        raise UpgradeError(
            f"warehouse: expected an older one, found the migration {', '.join(newer)}, which this checkout lacks; "
            "check out a newer version, or restore a backup of this one"
        )


def find_work(api: AirflowApi, postgres: Postgres) -> list[str]:
    """The trainings and rollouts that are under way."""
    rows = postgres.ask("warehouse", ROLLOUTS)
    rollouts = [f"the {kind} of {model} ({state})" for model, kind, state in rows]
    runs = api.list_notable_runs(datetime.now(UTC) - LONGEST_RUN)
    return rollouts + [
        f"{run.dag_id} {run.run_id}" for run in runs if run.state in IN_MOTION and run.dag_id in LONG_RUNS
    ]


def check_space(site: Site, target: BackupTarget) -> None:
    """Refuses a disk without room for the backup.

    Raises:
        UpgradeError: there is too little.
    """
    place = next(folder for folder in (target.folder, *target.folder.parents) if folder.is_dir())
    needed_gb = measure_backup(site, target) / GB + MIN_FREE_DISK_GB
    free_gb = shutil.disk_usage(place).free / GB
    if free_gb < needed_gb:
        raise UpgradeError(
            f"backups in {target.folder}: expected {needed_gb:.1f} GB free for the set before the upgrade, found "
            f"{free_gb:.1f} GB; free some, or name another disk by --target"
        )


def measure_backup(site: Site, target: BackupTarget) -> int:
    """The most bytes that a new set takes: the databases, and the objects that the newest set does not have."""
    names = ", ".join(f"'{name}'" for name in DATABASES)
    question = f"SELECT sum(pg_database_size(datname))::bigint FROM pg_database WHERE datname IN ({names})"  # noqa: S608  ours
    databases = int(site.postgres.ask("postgres", question)[0][0])
    newest = sets.find_newest(target.folder)
    earlier = open_earlier(newest.folder if newest else None)
    known = {place: entry.tag for place, entry in earlier.objects.items()} if earlier else {}
    objects = (entry for bucket in BUCKETS for entry in site.reader.list_objects(f"{SCHEME}{bucket}/"))
    return databases + sum(entry.size_bytes for entry in objects if known.get(split(entry.uri)) != entry.tag)

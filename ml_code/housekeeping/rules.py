"""The table of what is deleted: where, when, by whom, and what protects it. Everything else stays."""

from __future__ import annotations

from dataclasses import dataclass

BATCHES = "batches"
SNAPSHOTS = "snapshots"
VERSIONS = "versions"
QUARANTINE = "quarantine"
LOOP_FILES = "loop files"
LOGS = "task logs in the store"
COLLECTIONS = "collections"


@dataclass(frozen=True, slots=True)
class Rule:
    """One row: variables of `.env` with the days, the gigabytes or the number that stay, and who deletes the rest."""

    name: str
    what: str
    limits: tuple[str, ...]
    protects: str
    cleaner: str = "the DAG `housekeeping`"


RULES = (
    Rule(
        BATCHES,
        "`predictions/<model>/<batch>/`, and model files copied for batches",
        ("BATCH_DAYS", "BATCH_GB"),
        "files of versions that exist",
    ),
    Rule(
        SNAPSHOTS,
        "`datasets/snapshots/<dataset>/`",
        ("SNAPSHOT_DAYS",),
        "each that a run or a version names, and the newest of a dataset",
    ),
    Rule(
        VERSIONS,
        "versions of the catalog's models in MLflow",
        ("VERSIONS_KEPT",),
        "those with an alias, in a rollout or awaiting a decision, in the last 20 moves, and the best on a holdout",
    ),
    Rule(QUARANTINE, "`datasets/quarantine/`: reports of invalid rows", ("QUARANTINE_DAYS", "QUARANTINE_GB"), "-"),
    Rule(
        LOOP_FILES,
        "`predictions/drift/` and `predictions/staleness/`, labels without use, and label files after their intake",
        ("PREDICTION_LOG_DAYS",),
        "files that await their intake",
    ),
    Rule(LOGS, "`airflow-logs/tasks/`", ("TASK_LOG_DAYS", "TASK_LOG_GB"), "-"),
    Rule(
        COLLECTIONS,
        "rows of `warehouse.prediction_collection` and `warehouse.prediction_batch`",
        ("PREDICTION_LOG_DAYS",),
        "the newest collection, up to which the log is complete",
    ),
    Rule(
        "prediction log",
        "`predictions/log/` and `predictions/labels/`",
        ("PREDICTION_LOG_DAYS", "PREDICTION_LOG_GB"),
        "-",
        "the DAG `collect_predictions`",
    ),
    Rule(
        "runs",
        "runs in MLflow that no version comes from, with their files",
        ("RUN_DAYS", "BACKUP_DAYS"),
        "runs that a version comes from, and people's own until they delete them",
        "`garbage.py` beside MLflow",
    ),
    Rule(
        "Airflow",
        "its history, and log files of the volume `airflow-logs`",
        ("TASK_LOG_DAYS", "TASK_LOG_GB"),
        "runs that have not ended, and the last one of each DAG",
        "`upkeep.py` beside the scheduler",
    ),
    Rule("model files", "the volume `serving-state`", (), "what a replica serves, and the file before it", "a replica"),
    Rule("staging tables", "temporary tables of the warehouse", (), "-", "Postgres, at the end of a connection"),
)

OURS = tuple(rule for rule in RULES if rule.cleaner == Rule.__dataclass_fields__["cleaner"].default)
"""The rules that the DAG carries out."""


def find_rule(name: str) -> Rule:
    """The rule of a name."""
    return next(rule for rule in RULES if rule.name == name)


def render_table() -> str:
    """The table as the documentation shows it."""
    rows = [
        f"| {rule.name} | {rule.what} | {', '.join(f'`{name}`' for name in rule.limits) or '-'} | {rule.protects} "
        f"| {rule.cleaner} |"
        for rule in RULES
    ]
    head = ["| rule | what | kept by | never deleted | deleted by |", "|---|---|---|---|---|"]
    return "\n".join([*head, *rows]) + "\n"

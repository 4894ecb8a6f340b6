"""The state of the loop for the start page: one small file, which the gateway serves as `/status/loop`.

It holds figures and names of versions, and nothing of any row.
"""

from __future__ import annotations

import json
import logging
import uuid
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from ml_code.datasets import Dataset
from ml_code.disk import describe_disk, measure_disk
from ml_code.errors import MlopsError, StorageError
from ml_code.monitoring.quality.decline import judge_decline
from ml_code.monitoring.quality.history import LiveMetric, read_history
from ml_code.monitoring.retraining.attempts import Attempt, list_last
from ml_code.monitoring.retraining.conditions import count_needed
from ml_code.verdicts import read_verdicts
from ml_code.workspace import Workspace

FILE = "loop.json"

SHOWN_WINDOWS = 20
"""Newest windows of drift on the page."""

log = logging.getLogger(__name__)


def write_status(workspace: Workspace, now: datetime) -> Path | None:
    """Writes the file; None if the settings name no folder for it.

    Raises:
        StorageError: the folder cannot be written.
        WarehouseError: the warehouse cannot be reached.
    """
    folder = workspace.settings.loop_status_dir
    if folder is None:
        return None
    last = {attempt.model: attempt for attempt in list_last(workspace.warehouse)}
    catalog = workspace.catalog.list_models()
    models = [_describe_safely(workspace, model, dataset, last.get(model)) for model, dataset in catalog.items()]
    disk = describe_disk(measure_disk(folder)) if folder.is_dir() else None
    state = {"made_at": now.isoformat(), "disk": disk, "models": models}
    text = json.dumps(state, ensure_ascii=False, allow_nan=False)
    partial = folder / f".{FILE}.{uuid.uuid4().hex}"
    try:
        partial.write_text(text, encoding="utf-8")
        partial.chmod(0o644)  # the gateway may run as another user than the tasks
        partial.replace(folder / FILE)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise StorageError(
            f"folder {folder}: found {error.strerror or error}, expected one that tasks can write; "
            "check the volume loop-status"
        ) from error
    return folder / FILE


def describe_quality(rows: Sequence[LiveMetric], champion: str | None) -> dict[str, Any] | None:
    """The newest labelled window of the champion, or without a label its newest window; None without answers."""
    own = [row for row in rows if row.version == champion and row.variant == "champion" and not row.slice]
    if not own:
        return None
    newest = max(own, key=lambda row: (row.labelled > 0, row.window_end))
    return {
        "version": newest.version,
        "metric": newest.metric,
        "start": newest.window_start.isoformat(),
        "end": newest.window_end.isoformat(),
        "rows": newest.rows,
        "labelled": newest.labelled,
        "coverage": newest.coverage,
        "has_few_labels": any(row.has_few_labels for row in own[:3]),
        "score": newest.score,
        "low": newest.low,
        "high": newest.high,
        "holdout": newest.holdout,
        "estimated_accuracy": newest.estimated_accuracy,
        "history": [
            {"end": row.window_end.isoformat(), "score": row.score, "coverage": row.coverage}
            for row in sorted(own, key=lambda row: row.window_end)[-SHOWN_WINDOWS:]
        ],
    }


def describe_labels(dataset: Dataset, labelled: int, last: Attempt | None) -> dict[str, int]:
    """Labels since the last attempt to train again, and how many the next one needs.

    Args:
        dataset: dataset of the model.
        labelled: labelled answers of windows that ended after that attempt was called for.
        last: that attempt; None if there was none.
    """
    needed = count_needed(dataset.drift, last)
    return {"found": labelled, "needed": needed, "missing": max(0, needed - labelled)}


def _describe_safely(workspace: Workspace, model: str, dataset: str, last: Attempt | None) -> dict[str, Any]:
    """One model that cannot be read is shown so, and hides no other one."""
    try:
        return _describe(workspace, model, workspace.load_dataset(dataset), last)
    except MlopsError:
        log.exception("%s: its state is not shown", model)
        return {"name": model, "problem": "its state cannot be read; see the task watch_drift of monitor_model"}


def _describe(workspace: Workspace, model: str, dataset: Dataset, last: Attempt | None) -> dict[str, Any]:
    champion = workspace.tracker.read_aliases(model).get("champion")
    rows = read_history(workspace, model, windows=100)
    own = [row for row in rows if row.version == champion and row.variant == "champion"]
    decline = judge_decline(dataset.gate, own)
    return {
        "name": model,
        "champion": champion,
        "quality": describe_quality(rows, champion),
        "decline": decline.describe() if decline else None,
        "drift": _read_drift(workspace, model),
        "labels": _read_labels(workspace, model, dataset, last),
        "retraining": _describe_retraining(workspace, last),
        "staleness": _read_staleness(workspace, model),
    }


def _read_drift(workspace: Workspace, model: str) -> list[dict[str, Any]]:
    """The newest windows, the oldest first."""
    found = _query(
        workspace,
        "warehouse.drift_window",
        "SELECT window_end, verdict, version, rows FROM warehouse.drift_window WHERE model = %s "
        "ORDER BY window_end DESC, computed_at DESC LIMIT %s",
        model,
        SHOWN_WINDOWS,
    )
    return [
        {"end": end.isoformat(), "verdict": verdict, "version": version, "rows": rows}
        for end, verdict, version, rows in reversed(found)
    ]


def _read_labels(workspace: Workspace, model: str, dataset: Dataset, last: Attempt | None) -> dict[str, int]:
    counted = _query(
        workspace,
        "warehouse.live_metric",
        "SELECT coalesce(sum(labelled), 0) FROM warehouse.live_metric "
        "WHERE model = %s AND slice = '' AND variant <> 'shadow' "
        "AND window_end > coalesce(%s, '-infinity'::timestamptz)",
        model,
        last.until if last else None,
    )
    return describe_labels(dataset, int(counted[0][0]), last)


def _describe_retraining(workspace: Workspace, last: Attempt | None) -> dict[str, Any] | None:
    """What the last attempt to train again did and why; None if there was none."""
    if last is None:
        return None
    rollout = read_verdicts(workspace.warehouse, last.model).get(last.version) if last.version else None
    return {"outcome": last.outcome, "version": last.version, "says": last.describe(rollout, is_public=True)}


def _read_staleness(workspace: Workspace, model: str) -> list[dict[str, Any]]:
    """The versions of the newest measurement, the champion first."""
    columns = "version", "age_days", "metric", "score", "low", "high", "rows"
    found = _query(
        workspace,
        "warehouse.staleness",
        "SELECT version, age_days, metric, score, low, high, rows FROM warehouse.staleness WHERE model = %s AND "
        "window_end = (SELECT max(window_end) FROM warehouse.staleness WHERE model = %s) "
        "ORDER BY is_champion DESC, age_days NULLS LAST, version",
        model,
        model,
    )
    return [dict(zip(columns, row, strict=True)) for row in found]


def _query(workspace: Workspace, table: str, statement: str, *values: object) -> list[tuple[Any, ...]]:
    """The rows of a statement; none before the migration that makes its table."""
    with workspace.warehouse.transaction() as connection, connection.cursor() as cursor:
        cursor.execute("SELECT to_regclass(%s)", (table,))
        if (cursor.fetchone() or (None,))[0] is None:
            return []
        cursor.execute(statement, values)
        return list(cursor.fetchall())

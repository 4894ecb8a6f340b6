"""The judged windows in the warehouse: one row each, never changed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ml_code.monitoring.drift.judging import Judgement, Verdict
from ml_code.monitoring.drift.windows import Window
from ml_code.workspace import Workspace

INSERT = """
    INSERT INTO warehouse.drift_window
      (model, version, window_start, window_end, verdict, rows, units, figures, page_uri)
    VALUES (%s, %s, %s, %s, %s, %s, %s, %s::jsonb, %s) ON CONFLICT DO NOTHING"""
SELECT = """
    SELECT window_start, window_end, verdict, rows, units, figures, page_uri FROM warehouse.drift_window
    WHERE model = %s AND version = %s ORDER BY window_start DESC LIMIT %s"""
BETWEEN = """
    SELECT DISTINCT window_start, window_end FROM warehouse.drift_window
    WHERE model = %s AND verdict = %s AND window_end > %s AND window_start < %s ORDER BY window_start"""


@dataclass(frozen=True, slots=True)
class JudgedWindow:
    """One row; `figures` are those of `Judgement.describe`."""

    window: Window
    verdict: Verdict
    rows: int
    units: int | None
    figures: Mapping[str, Any]
    page_uri: str | None


def record_window(
    workspace: Workspace, model: str, version: str, window: Window, judgement: Judgement, *, page_uri: str | None = None
) -> None:
    """Adds a window; one that was judged before stays as it is.

    Raises:
        WarehouseError: the warehouse cannot be reached.
    """
    figures = json.dumps(judgement.describe(), allow_nan=False)
    counts = judgement.verdict, judgement.rows, judgement.units
    with workspace.warehouse.transaction() as connection, connection.cursor() as cursor:
        cursor.execute(INSERT, (model, version, window.start, window.end, *counts, figures, page_uri))


def read_windows(workspace: Workspace, model: str, version: str, limit: int = 5) -> list[JudgedWindow]:
    """The last windows of a version, the newest first.

    Raises:
        WarehouseError: the warehouse cannot be reached.
    """
    with workspace.warehouse.transaction() as connection, connection.cursor() as cursor:
        cursor.execute(SELECT, (model, version, limit))
        return [JudgedWindow(Window(start, end), *rest) for start, end, *rest in cursor.fetchall()]


def list_between(workspace: Workspace, model: str, verdict: Verdict, start: datetime, end: datetime) -> list[Window]:
    """The windows of a verdict, by any version, that overlap a time; the oldest first.

    Raises:
        WarehouseError: the warehouse cannot be reached.
    """
    with workspace.warehouse.transaction() as connection, connection.cursor() as cursor:
        cursor.execute(BETWEEN, (model, verdict, start, end))
        return [Window(*times) for times in cursor.fetchall()]


def find_last_end(workspace: Workspace, model: str, version: str) -> datetime | None:
    """The end of the last judged window; None if there is none."""
    return next((found.window.end for found in read_windows(workspace, model, version, limit=1)), None)

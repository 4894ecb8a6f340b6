"""Where live quality gets its rows: the prediction log, joined with the labels of feedback."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

import pyarrow as pa

from ml_code.monitoring.feedback.labels import join_labels, read_labels
from ml_code.monitoring.prediction_log.reading import list_models, read_log, read_watermark
from ml_code.monitoring.quality.answered import COLUMNS
from ml_code.monitoring.quality.windows import Window
from ml_code.workspace import Workspace

VARIANTS = ("champion", "challenger", "shadow")
"""Answers that are measured; a replay and a request that chose its pool are not live traffic."""

LOGGED = ("request_id", "row", *(name for name in COLUMNS if name != "label"))


class Source(Protocol):
    """The log and the labels, as a measurement needs them."""

    def list_models(self) -> list[str]:
        """The models that have answered."""

    def find_watermark(self) -> datetime | None:
        """The moment up to which the log is complete; None before the first collection."""

    def list_spans(self, model: str, earliest: datetime) -> list[tuple[datetime, datetime]]:
        """Times of the first and the last row of each part of the log that reaches beyond a moment."""

    def read_labels(self, model: str, start: datetime, end: datetime) -> pa.Table:
        """The newest label of each row that was predicted in this time."""

    def read_joined(self, model: str, window: Window, labels: pa.Table) -> list[pa.Table]:
        """The answered rows of a window with their labels, one table for each schema."""


class JoinedLog:
    """The log of the store, and the labels beside it."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace

    def list_models(self) -> list[str]:
        """The models that have answered."""
        return list_models(self._workspace)

    def find_watermark(self) -> datetime | None:
        """The moment up to which the log is complete; None before the first collection."""
        return read_watermark(self._workspace)

    def list_spans(self, model: str, earliest: datetime) -> list[tuple[datetime, datetime]]:
        """Times of the first and the last row of each batch that reaches beyond a moment."""
        with self._workspace.warehouse.transaction() as connection, connection.cursor() as cursor:
            cursor.execute(
                "SELECT first_time, last_time FROM warehouse.prediction_batch "
                "WHERE model = %s AND last_time >= %s AND rows > 0",
                (model, earliest),
            )
            return [(first, last) for first, last in cursor.fetchall()]

    def read_labels(self, model: str, start: datetime, end: datetime) -> pa.Table:
        """The newest label of each row that was predicted in this time."""
        return read_labels(self._workspace, model, start, end)

    def read_joined(self, model: str, window: Window, labels: pa.Table) -> list[pa.Table]:
        """The answered rows of a window with their labels, one table for each schema."""
        tables = read_log(
            self._workspace, model, window.start, window.end, columns=LOGGED, variants=VARIANTS, traffic=("live",)
        )
        return [join_labels(table, labels) for table in tables.values()]

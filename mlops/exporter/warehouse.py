"""The loop's figures from the warehouse: champions, live quality, drift, the prediction log, backups."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from ml_code.warehouse import Cursor, Warehouse

VERDICTS = ("clean", "drift", "quality", "no verdict")

CHAMPIONS = """
SELECT DISTINCT ON (model) model, to_version, moved_at FROM warehouse.promotion_log
WHERE action IN ('promote', 'rollback') ORDER BY model, move_id DESC
"""

LIVE = """
SELECT DISTINCT ON (model) model, version, metric, score, low, high, holdout, coverage, rows, window_end, has_few_labels
FROM warehouse.live_metric WHERE slice = '' AND variant = 'champion' AND rows > 0 ORDER BY model, window_end DESC
"""

LABELLED = """
SELECT DISTINCT ON (model) model, version, metric, score, low, high, holdout
FROM warehouse.live_metric WHERE slice = '' AND variant = 'champion' AND score IS NOT NULL
ORDER BY model, window_end DESC
"""

DRIFT = """
SELECT DISTINCT ON (model) model, verdict, window_end FROM warehouse.drift_window ORDER BY model, window_end DESC
"""

COLLECTIONS = """
SELECT max(began_at), count(*), coalesce(sum(torn), 0), coalesce(sum(unreadable), 0)
FROM warehouse.prediction_collection
"""

BACKUPS = "SELECT max(ended_at) FROM warehouse.backup"

CONNECTIONS = """
SELECT datname, numbackends, current_setting('max_connections')::int FROM pg_stat_database
WHERE datname IN ('airflow', 'mlflow', 'warehouse', 'celery')
"""


class WarehouseSource:
    """Reads the newest rows of the tables that tell how each model does."""

    def __init__(self, warehouse: Warehouse) -> None:
        self._warehouse = warehouse

    def read(self) -> Sequence[Metric]:
        """All figures, as of one moment.

        Raises:
            WarehouseError: the database cannot be reached.
        """
        with self._warehouse.transaction() as connection, connection.cursor() as cursor:
            return [
                *_read_champions(cursor),
                *_read_quality(cursor),
                *_read_drift(cursor),
                *_read_log(cursor),
                *_read_backups(cursor),
                *_read_connections(cursor),
            ]


def _query(cursor: Cursor, statement: str) -> list[tuple[object, ...]]:
    cursor.execute(statement)
    return list(cursor.fetchall())


def _gauge(name: str, text: str, labels: Sequence[str], rows: Iterable[tuple[object, ...]]) -> Metric:
    """A gauge of rows with one column for each label and the value behind them; without a value there is no sample."""
    gauge = GaugeMetricFamily(name, text, labels=labels)
    for row in rows:
        *names, value = row
        if value is not None:
            gauge.add_metric([str(name) for name in names], _to_number(value))
    return gauge


def _to_number(value: object) -> float:
    return value.timestamp() if isinstance(value, datetime) else float(value)  # type: ignore[arg-type]


def _read_champions(cursor: Cursor) -> Iterable[Metric]:
    yield _gauge(
        "mlops_champion_moved_timestamp_seconds",
        "When a model's champion was last promoted or rolled back to",
        ("model", "version"),
        _query(cursor, CHAMPIONS),
    )


def _read_quality(cursor: Cursor) -> Iterable[Metric]:
    newest = _query(cursor, LIVE)
    for place, name, text in (
        (7, "mlops_label_coverage_ratio", "Share of the newest window's answers whose label is known"),
        (8, "mlops_live_window_rows", "Answers in the newest window"),
        (9, "mlops_live_window_end_timestamp_seconds", "End of the newest window of answers"),
        (10, "mlops_live_has_few_labels", "Whether the newest window has less than half of the usual coverage"),
    ):
        yield _gauge(name, text, ("model",), [(row[0], row[place]) for row in newest])
    labelled = _query(cursor, LABELLED)
    for place, name, text in (
        (3, "mlops_live_score", "The metric of the newest labelled window"),
        (4, "mlops_live_score_low", "Lower end of its interval"),
        (5, "mlops_live_score_high", "Upper end of its interval"),
        (6, "mlops_holdout_score", "The same metric of the same version on its holdout"),
    ):
        yield _gauge(name, text, ("model", "version", "metric"), [(*row[:3], row[place]) for row in labelled])


def _read_drift(cursor: Cursor) -> Iterable[Metric]:
    newest = _query(cursor, DRIFT)
    yield _gauge(
        "mlops_drift_verdict",
        "1 for the verdict on the newest judged window, 0 for the others",
        ("model", "verdict"),
        [(model, word, float(word == verdict)) for model, verdict, _ in newest for word in VERDICTS],
    )
    yield _gauge(
        "mlops_drift_window_end_timestamp_seconds",
        "End of the newest judged window",
        ("model",),
        [(model, end) for model, _, end in newest],
    )


def _read_log(cursor: Cursor) -> Iterable[Metric]:
    [(complete_until, _, torn, unreadable)] = _query(cursor, COLLECTIONS)
    yield _gauge(
        "mlops_prediction_log_collected_timestamp_seconds",
        "Until when the prediction log lies in the store",
        (),
        [(complete_until,)],
    )
    damaged = CounterMetricFamily(
        "mlops_prediction_log_damaged", "Segments that end in a line, and lines of no known form", labels=["kind"]
    )
    damaged.add_metric(["torn"], _to_number(torn))
    damaged.add_metric(["unreadable"], _to_number(unreadable))
    yield damaged


def _read_backups(cursor: Cursor) -> Iterable[Metric]:
    yield _gauge(
        "mlops_backup_end_timestamp_seconds", "When the newest whole backup ended", (), _query(cursor, BACKUPS)
    )


def _read_connections(cursor: Cursor) -> Iterable[Metric]:
    rows = _query(cursor, CONNECTIONS)
    yield _gauge(
        "mlops_postgres_connections", "Open connections", ("database",), [(name, count) for name, count, _ in rows]
    )
    yield _gauge("mlops_postgres_connections_limit", "Connections that Postgres takes", (), [(rows[0][2],)])

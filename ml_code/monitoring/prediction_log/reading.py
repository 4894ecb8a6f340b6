"""Reads logged predictions of a model and a time back from the store."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ml_code.workspace import Workspace

MARGIN = timedelta(seconds=90)
"""A segment is collected at the latest so long after its first row: it is closed after a minute."""

OBJECT = re.compile(r"/schema=([0-9a-f]{8})/date=(\d{4}-\d\d-\d\d)/hour=(\d\d)/[^/]+\.parquet$")

FILTERS = ("time", "variant", "traffic")

ANSWERED = ("champion", "challenger")
LIVE = ("live",)


def read_log(
    workspace: Workspace,
    model: str,
    start: datetime,
    end: datetime,
    *,
    columns: Sequence[str] | None = None,
    variants: Sequence[str] = ANSWERED,
    traffic: Sequence[str] = LIVE,
) -> dict[str, pa.Table]:
    """Reads the rows that were answered from `start` on and before `end`, by the schema of their features.

    Args:
        workspace: whose store.
        model: registered model.
        start: first moment.
        end: first moment after.
        columns: those that are wanted; None for all. `features` is a struct of the logged features.
        variants: champion, challenger, shadow or refused.
        traffic: live, asked or replay.

    Returns:
        Tables with a row for each answered row, in the order of their objects. A model that never changed its features
        has one.

    Raises:
        StorageError: the store refuses.
    """
    wanted = None if columns is None else list(dict.fromkeys([*columns, *FILTERS]))
    tables: dict[str, list[pa.Table]] = defaultdict(list)
    for uri, schema in _find_objects(workspace, model, start, end):
        content = pa.BufferReader(workspace.storage.read_bytes(uri))
        table = _show_no_features(pq.read_table(content, columns=wanted))
        kept = table.filter(_select(table, start, end, variants, traffic))
        if kept.num_rows:
            tables[schema].append(kept if columns is None else kept.select(list(columns)))
    return {schema: pa.concat_tables(parts, promote_options="default") for schema, parts in tables.items()}


def _show_no_features(table: pa.Table) -> pa.Table:
    """A struct without members where no feature is logged, for which Parquet has no type."""
    if "features" not in table.column_names or not pa.types.is_null(table["features"].type):
        return table
    empty = pa.array([{}] * table.num_rows, pa.struct([]))
    return table.set_column(table.column_names.index("features"), "features", empty)


def read_watermark(workspace: Workspace) -> datetime | None:
    """The moment until which the log is complete; None before the first collection.

    Raises:
        WarehouseError: the database cannot be reached.
    """
    with workspace.warehouse.transaction() as connection, connection.cursor() as cursor:
        cursor.execute("SELECT max(began_at) FROM warehouse.prediction_collection WHERE began_at <= clock_timestamp()")
        [newest] = cursor.fetchone() or (None,)
    return None if newest is None else newest - MARGIN


def list_models(workspace: Workspace) -> list[str]:
    """The models that have answered, sorted.

    Raises:
        WarehouseError: the database cannot be reached.
    """
    with workspace.warehouse.transaction() as connection, connection.cursor() as cursor:
        cursor.execute("SELECT DISTINCT model FROM warehouse.prediction_batch ORDER BY model")
        return [model for (model,) in cursor.fetchall()]


def _find_objects(workspace: Workspace, model: str, start: datetime, end: datetime) -> list[tuple[str, str]]:
    """The objects whose hour overlaps the time, with their schemas."""
    found = []
    for entry in workspace.storage.list_objects(f"{workspace.places.locate_log(model)}/"):
        if match := OBJECT.search(entry.uri):
            schema, date, hour = match.groups()
            begin = datetime.fromisoformat(f"{date}T{hour}:00:00").replace(tzinfo=UTC)
            if begin < end and begin + timedelta(hours=1) > start:
                found.append((entry.uri, schema))
    return found


def _select(
    table: pa.Table, start: datetime, end: datetime, variants: Sequence[str], traffic: Sequence[str]
) -> pa.ChunkedArray:
    kind = table["time"].type
    within = pc.and_(
        pc.greater_equal(table["time"], pa.scalar(start, kind)), pc.less(table["time"], pa.scalar(end, kind))
    )
    asked = pc.and_(
        pc.is_in(table["variant"], value_set=pa.array(variants, pa.string())),
        pc.is_in(table["traffic"], value_set=pa.array(traffic, pa.string())),
    )
    return pc.and_(within, asked)

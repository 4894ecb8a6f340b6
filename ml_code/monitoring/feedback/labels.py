"""Labels in the store, and their rows of the prediction log."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ml_code.data.dropped import read_dropped
from ml_code.workspace import Workspace

MOMENT = pa.timestamp("ms", tz="UTC")

STORED = pa.schema([
    ("request_id", pa.binary(16)),
    ("row", pa.int32()),
    ("time", MOMENT),
    ("label", pa.string()),
    ("observed_at", MOMENT),
    ("received_at", MOMENT),
    ("token", pa.string()),
    ("source", pa.string()),
    ("event", pa.binary(16)),
])  # fmt: skip
"""Columns of an object of labels; `time` is that of the prediction, `label` the canonical text."""

SHOWN = ("request_id", "row", "label", "observed_at", "received_at", "token")

ROW = ("request_id", "row")

OBJECT = re.compile(r"/date=(\d{4}-\d\d-\d\d)/hour=(\d\d)/([^/]+)\.parquet$")


def read_labels(workspace: Workspace, model: str, start: datetime, end: datetime) -> pa.Table:
    """The labels of predictions from `start` on and before `end`: the newest one of each row.

    Labels of a token that was dropped do not count, so the newest one of the others does.

    Raises:
        StorageError: the store refuses.
        WarehouseError: the database cannot be reached.
    """
    events = read_events(workspace, model, lambda hour: start - timedelta(hours=1) < hour < end)
    within = pc.and_(
        pc.greater_equal(events["time"], pa.scalar(start, MOMENT)), pc.less(events["time"], pa.scalar(end, MOMENT))
    )
    valid = drop_tokens(events.filter(within), read_dropped(workspace, model))
    return choose_newest(valid).select(SHOWN)


def join_labels(log: pa.Table, labels: pa.Table) -> pa.Table:
    """Adds the column `label` to rows of the prediction log; null where a row has no label."""
    numbered = log.select(ROW).append_column("place", pa.array(range(log.num_rows), pa.int64()))
    joined = numbered.join(labels.select([*ROW, "label"]), list(ROW), join_type="left outer").sort_by("place")
    return log.append_column("label", joined["label"])


def read_events(
    workspace: Workspace, model: str, is_wanted: Callable[[datetime], bool], without: str | None = None
) -> pa.Table:
    """All events of the wanted hours of prediction time, those of the batch `without` left out.

    Raises:
        StorageError: the store refuses.
    """
    tables = [STORED.empty_table()]
    for entry in workspace.storage.list_objects(f"{workspace.places.locate_labels(model)}/"):
        if match := OBJECT.search(entry.uri):
            date, hour, name = match.groups()
            if name != without and is_wanted(datetime.fromisoformat(f"{date}T{hour}:00:00").replace(tzinfo=UTC)):
                tables.append(pq.read_table(pa.BufferReader(workspace.storage.read_bytes(entry.uri)), schema=STORED))
    return pa.concat_tables(tables)


def write_events(workspace: Workspace, model: str, hour: datetime, name: str, events: pa.Table) -> None:
    """Stores the events of one hour; the same name replaces what it wrote before.

    Raises:
        StorageError: the store refuses.
    """
    content = io.BytesIO()
    pq.write_table(events, content, compression="zstd")
    workspace.storage.write_bytes(workspace.places.locate_label_hour(model, hour, name), content.getvalue())


def drop_tokens(events: pa.Table, dropped: Mapping[str, datetime]) -> pa.Table:
    """The events without those that a dropped token brought up to the moment of its drop."""
    for token, until in dropped.items():
        is_its = pc.and_(
            pc.equal(events["token"], token), pc.less_equal(events["received_at"], pa.scalar(until, MOMENT))
        )
        events = events.filter(pc.invert(pc.fill_null(is_its, False)))
    return events


def choose_newest(events: pa.Table) -> pa.Table:
    """The event of each row that was received last."""
    ordered = events.sort_by([("received_at", "ascending"), ("event", "ascending")])
    rest = [name for name in ordered.column_names if name not in ROW]
    as_it_is = pc.ScalarAggregateOptions(skip_nulls=False, min_count=0)
    newest = ordered.group_by(list(ROW), use_threads=False).aggregate([(name, "last", as_it_is) for name in rest])
    return newest.rename_columns([name.removesuffix("_last") for name in newest.column_names])

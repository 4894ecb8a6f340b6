"""Windows of time, and the rows of the prediction log in them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ml_code.monitoring.prediction_log.blocks import REFUSED
from ml_code.monitoring.prediction_log.reading import read_log
from ml_code.workspace import Workspace

MOST_ROWS = 1_000_000
"""Rows of a window that are held; of more, whole requests are drawn by their ids."""

MOST_WINDOWS = 30
"""Windows that one run judges; of a longer absence only the newest."""

STEP = timedelta(hours=1)
"""The log is read by its hours, so that a busy day does not have to fit into memory."""

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
ANSWERED = ("champion", "challenger")
COLUMNS = ("request_id", "unit", "version", "variant", "features", "prediction", "score")


@dataclass(frozen=True, slots=True, order=True)
class Window:
    """The time from its start (inclusive) to its end (exclusive), in UTC."""

    start: datetime
    end: datetime

    def __str__(self) -> str:
        form = "%Y-%m-%d %H:%M"
        return f"{self.start.astimezone(UTC):{form}} to {self.end.astimezone(UTC):{form}} UTC"


@dataclass(frozen=True, slots=True, eq=False)
class LoggedRows:
    """Rows of a version in a window; `refused` of the `requests` have no answer."""

    rows: pa.Table
    refused: int
    requests: int


def list_closed(hours: float, after: datetime | None, complete_until: datetime) -> list[Window]:
    """The windows behind a time that the log holds completely, the oldest first; at most `MOST_WINDOWS`.

    Windows begin at multiples of their length since 1970 in UTC, whatever the zone of the stack.
    """
    length = timedelta(hours=hours)
    last = (complete_until - EPOCH) // length
    first = last - MOST_WINDOWS
    if after is not None:
        first = max(first, -((EPOCH - after) // length))
    return [Window(EPOCH + number * length, EPOCH + (number + 1) * length) for number in range(first, last)]


def read_window(workspace: Workspace, model: str, version: str, window: Window) -> LoggedRows:
    """Reads what a version answered and refused in a window, without replays and shadows."""
    held: list[pa.Table] = []
    refused = requests = 0
    share = 1.0
    for start, end in _list_hours(window):
        of_hour = list(_read_hour(workspace, model, version, start, end))
        for table in of_hour:
            is_refused = pc.equal(table.column("variant"), REFUSED)
            refused += int(pc.sum(is_refused).as_py() or 0)
            requests += int(pc.count_distinct(table.column("request_id")).as_py())
            held.append(_draw(table.filter(pc.invert(is_refused)), share))
        while sum(table.num_rows for table in held) > MOST_ROWS:
            share /= 2
            held = [_draw(table, share) for table in held]
    return LoggedRows(_join([table for table in held if table.num_rows]), refused, requests)


def _list_hours(window: Window) -> Iterator[tuple[datetime, datetime]]:
    start = window.start
    while start < window.end:
        hour = start + STEP - (start - EPOCH) % STEP
        yield start, min(hour, window.end)
        start = hour


def _read_hour(workspace: Workspace, model: str, version: str, start: datetime, end: datetime) -> Iterator[pa.Table]:
    variants = (*ANSWERED, REFUSED)
    for table in read_log(workspace, model, start, end, columns=COLUMNS, variants=variants).values():
        yield table.filter(pc.equal(table.column("version"), version))


def _draw(table: pa.Table, share: float) -> pa.Table:
    """A share of the requests with all their rows, by the random bits at the end of their ids."""
    if share >= 1 or not table.num_rows:
        return table
    ids = table.column("request_id").cast(pa.binary()).to_numpy(zero_copy_only=False)
    bits = np.frombuffer(b"".join(ids), dtype=">u8").reshape(-1, 2)[:, 1] % (1 << 60)
    return table.filter(pa.array(bits < share * (1 << 60)))


def _join(tables: Sequence[pa.Table]) -> pa.Table:
    """One table of the features that all tables have: a column may have been taken out of the log meanwhile."""
    if not tables:
        empty = {"unit": pa.string(), "prediction": pa.string(), "score": pa.float64()}
        return pa.table({name: pa.array([], kind) for name, kind in empty.items()})
    answers = [table.select(["unit", "prediction", "score"]) for table in tables]
    shared = _list_shared(tables)
    if not shared:
        return pa.concat_tables(answers)
    features = [_select_features(table, shared) for table in tables]
    return pa.concat_tables(answers).append_column("features", pa.chunked_array(features))


def _list_shared(tables: Sequence[pa.Table]) -> list[str]:
    kinds = [
        {(field.name, str(field.type)) for field in table.schema.field("features").type}
        if "features" in table.column_names
        else set()
        for table in tables
    ]
    first = tables[0].schema.field("features").type if kinds[0] else []
    return [field.name for field in first if all((field.name, str(field.type)) in kind for kind in kinds)]


def _select_features(table: pa.Table, names: Sequence[str]) -> pa.Array:
    struct = table.column("features").combine_chunks()
    struct = pa.concat_arrays(struct.chunks) if isinstance(struct, pa.ChunkedArray) else struct
    if [field.name for field in struct.type] == list(names):
        return struct
    members = [pc.struct_field(struct, [struct.type.get_field_index(name)]) for name in names]
    return pa.StructArray.from_arrays(members, names=list(names))

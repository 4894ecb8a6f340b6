"""Blocks of the prediction log as Arrow tables: one for each model, schema and hour."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from ml_code.monitoring.prediction_log.blocks import Block, Head, Row, read_block

HOUR_MS = 3_600_000

KINDS: Mapping[str, pa.DataType] = {"numeric": pa.float64(), "categorical": pa.string()}
PREDICTIONS: Mapping[str, pa.DataType] = {"classification": pa.string(), "regression": pa.float64()}

CELLS: Mapping[str, pa.DataType] = {
    "request_id": pa.binary(16),
    "row": pa.int32(),
    "time": pa.timestamp("ms", tz="UTC"),
    "client_request_id": pa.string(),
    "unit": pa.string(),
    "milliseconds": pa.float32(),
}
"""The columns of every row that its request decides."""


@dataclass(frozen=True, slots=True, order=True)
class Part:
    """What one object of the log holds."""

    model: str
    schema: str
    hour: datetime


@dataclass(slots=True)
class Parts:
    """The tables of some segments, and what was found in these besides."""

    batches: dict[Part, list[pa.RecordBatch]] = field(default_factory=lambda: defaultdict(list))
    unreadable: list[bytes] = field(default_factory=list)
    dropped: int = 0

    def add_lines(self, lines: Iterable[bytes]) -> None:
        """Adds the blocks of a segment; any other line is kept as it is."""
        for line in lines:
            try:
                block = read_block(line)
                batches = list(_split(block))
            except (ValueError, TypeError, AttributeError, LookupError, OverflowError, pa.ArrowException):
                self.unreadable.append(line)
                continue
            self.dropped += block.dropped
            for part, batch in batches:
                self.batches[part].append(batch)

    def list_tables(self) -> Iterator[tuple[Part, pa.Table]]:
        """The tables in the order of their parts; each leaves the memory as the next one comes."""
        for part in sorted(self.batches):
            yield part, pa.Table.from_batches(self.batches.pop(part))


def make_table(head: Head, rows: Sequence[Row]) -> pa.Table:
    """The table of some rows, whatever their hours.

    Raises:
        pa.ArrowInvalid: a cell does not fit its column.
    """
    return pa.Table.from_batches([_make_batch(head, rows)])


def _split(block: Block) -> Iterator[tuple[Part, pa.RecordBatch]]:
    """The rows of a block by their hours: most blocks lie in one."""
    by_hour: dict[int, list[Row]] = defaultdict(list)
    for row in block.rows:
        by_hour[row.time_ms // HOUR_MS].append(row)
    for number, rows in by_hour.items():
        hour = datetime.fromtimestamp(number * HOUR_MS / 1000, UTC)
        yield Part(block.head.model, block.head.schema, hour), _make_batch(block.head, rows)


def _make_batch(head: Head, rows: Sequence[Row]) -> pa.RecordBatch:
    ids, numbers, times, clients, units, milliseconds, features, predictions, scores = zip(*rows, strict=True)
    cells = ([bytes.fromhex(text) for text in ids], numbers, times, clients, units, milliseconds)
    columns: dict[str, pa.Array] = {
        name: pa.array(values, kind) for (name, kind), values in zip(CELLS.items(), cells, strict=True)
    }
    for name in ("version", "variant", "traffic"):
        columns[name] = _repeat(getattr(head, name), len(rows))
    columns["features"] = _make_features(head, features)
    kind = PREDICTIONS[head.task]
    shown = [value if value is None or head.task == "regression" else str(value) for value in predictions]
    columns["prediction"] = pa.array(shown, kind)
    columns["score"] = pa.array(scores, pa.float64())
    columns["sampling"] = pa.array([head.sampling] * len(rows), pa.float64())
    return pa.RecordBatch.from_pydict(columns)


def _make_features(head: Head, rows: Sequence[Sequence[Any] | None]) -> pa.Array:
    """One struct per row, null for a refused request; a feature may so have the name of any column."""
    if not head.features:  # Parquet has no struct without a field
        return pa.nulls(len(rows))
    empty = [None] * len(head.features)
    cells = zip(*(empty if row is None else row for row in rows), strict=True)
    fields = [pa.field(name, KINDS[kind]) for name, kind in zip(head.features, head.kinds, strict=True)]
    arrays = [_make_array(values, column.type) for values, column in zip(cells, fields, strict=True)]
    return pa.StructArray.from_arrays(arrays, fields=fields, mask=pa.array([row is None for row in rows]))


def _make_array(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    # Arrow refuses a whole number that float64 does not hold, and with it all rows of the block.
    exact = [float(value) if type(value) is int else value for value in values] if kind == pa.float64() else values
    return pa.array(exact, kind)


def _repeat(text: str, count: int) -> pa.Array:
    return pa.array([text] * count, pa.string())

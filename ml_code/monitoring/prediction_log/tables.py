"""Blocks of the prediction log as Arrow tables: one for each model, schema and hour."""

from __future__ import annotations

import gc
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa

from ml_code.monitoring.prediction_log.blocks import Head, load_block

HOUR_MS = 3_600_000

KINDS: Mapping[str, pa.DataType] = {"numeric": pa.float64(), "categorical": pa.string()}
PREDICTIONS: Mapping[str, pa.DataType] = {"classification": pa.string(), "regression": pa.float64()}

CELLS: Mapping[str, pa.DataType] = {
    "row": pa.int32(),
    "time": pa.timestamp("ms", tz="UTC"),
    "client_request_id": pa.string(),
    "unit": pa.string(),
    "milliseconds": pa.float32(),
}
"""The columns of every row that its request decides, behind `request_id`."""

UNIQUE = frozenset({"request_id", "time", "milliseconds", "score", "trace_id"})
"""Columns whose values hardly repeat."""

ID_BYTES = 16


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
        with _pause_search_for_cycles():
            self._add_lines(lines)

    def _add_lines(self, lines: Iterable[bytes]) -> None:
        for line in lines:
            try:
                head, dropped, rows = load_block(line)
                batches = list(_split(head, rows))
            except (ValueError, TypeError, AttributeError, LookupError, OverflowError, pa.ArrowException):
                self.unreadable.append(line)
                continue
            self.dropped += dropped
            for part, batch in batches:
                self.batches[part].append(batch)

    def list_tables(self) -> Iterator[tuple[Part, pa.Table]]:
        """The tables in the order of their parts; each leaves the memory as the next one comes."""
        for part in sorted(self.batches):
            yield part, pa.Table.from_batches(self.batches.pop(part))


def list_repeating(table: pa.Table) -> list[str]:
    """The columns whose values repeat, by their places in a file; a dictionary of the others is work for nothing."""
    features = table.schema.field("features").type
    members = [f"features.{features.field(place).name}" for place in range(features.num_fields)]
    return [name for name in table.column_names if name not in UNIQUE] + members


@contextmanager
def _pause_search_for_cycles() -> Iterator[None]:
    """Millions of lists without a cycle come and go: to search them for cycles takes a sixth of the time."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _split(head: Head, rows: Sequence[Sequence[Any]]) -> Iterator[tuple[Part, pa.RecordBatch]]:
    """The rows of a block by their hours: most blocks lie in one."""
    if not rows:
        return
    _, _, times, *_ = zip(*rows, strict=True)
    hours = {time_ms // HOUR_MS for time_ms in (min(times), max(times))}
    if len(hours) == 1:
        yield _make_part(head, hours.pop()), _make_batch(head, rows)
        return
    by_hour: dict[int, list[Sequence[Any]]] = defaultdict(list)
    for row, time_ms in zip(rows, times, strict=True):
        by_hour[time_ms // HOUR_MS].append(row)
    for number, of_hour in by_hour.items():
        yield _make_part(head, number), _make_batch(head, of_hour)


def _make_part(head: Head, hour: int) -> Part:
    return Part(head.model, head.schema, datetime.fromtimestamp(hour * HOUR_MS / 1000, UTC))


def _make_batch(head: Head, rows: Sequence[Sequence[Any]]) -> pa.RecordBatch:
    ids, numbers, times, clients, units, milliseconds, features, predictions, scores, *traces = zip(*rows, strict=True)
    cells = (numbers, times, clients, units, milliseconds)
    columns = {"request_id": _make_ids(ids)} | {
        name: pa.array(values, kind) for (name, kind), values in zip(CELLS.items(), cells, strict=True)
    }
    for name in ("version", "variant", "traffic"):
        columns[name] = pa.repeat(pa.scalar(getattr(head, name), pa.string()), len(rows))
    columns["features"] = _make_features(head, features)
    kind = PREDICTIONS[head.task]
    shown = [value if value is None or head.task == "regression" else str(value) for value in predictions]
    columns["prediction"] = pa.array(shown, kind)
    columns["score"] = pa.array(scores, pa.float64())
    columns["sampling"] = pa.repeat(pa.scalar(head.sampling, pa.float64()), len(rows))
    columns["trace_id"] = _make_traces(traces[0] if traces else [None] * len(rows))
    return pa.RecordBatch.from_pydict(columns)


def _make_ids(texts: Sequence[str]) -> pa.Array:
    """All ids at once: one by one they would cost a sixth of a collection."""
    content = bytes.fromhex("".join(texts))
    # `fromhex` leaves spaces out, so the digits alone are not enough.
    if set(map(len, texts)) != {2 * ID_BYTES} or len(content) != len(texts) * ID_BYTES:
        raise ValueError(f"expected request ids of {2 * ID_BYTES} digits")
    return pa.Array.from_buffers(pa.binary(ID_BYTES), len(texts), [None, pa.py_buffer(content)])


def _make_traces(texts: Sequence[str | None]) -> pa.Array:
    if None not in texts:
        return _make_ids([text for text in texts if text])
    found = [None if text is None else _make_ids([text])[0].as_py() for text in texts]
    return pa.array(found, pa.binary(ID_BYTES))


def _make_features(head: Head, rows: Sequence[Sequence[Any] | None]) -> pa.Array:
    """One struct per row, null for a refused request; a feature may so have the name of any column."""
    if not head.features:  # Parquet has no struct without a field
        return pa.nulls(len(rows))
    fields = [pa.field(name, KINDS[kind]) for name, kind in zip(head.features, head.kinds, strict=True)]
    arrays = _make_numbers(rows, len(fields)) if set(head.kinds) == {"numeric"} else None
    if arrays is not None:
        return pa.StructArray.from_arrays(arrays, fields=fields)
    empty = [None] * len(fields)
    cells = zip(*(empty if row is None else row for row in rows), strict=True)
    arrays = [_make_array(values, column.type) for values, column in zip(cells, fields, strict=True)]
    return pa.StructArray.from_arrays(arrays, fields=fields, mask=pa.array([row is None for row in rows]))


def _make_numbers(rows: Sequence[Any], width: int) -> list[pa.Array] | None:
    """The columns of rows in which each cell is a number, which most are; None for others.

    NumPy reads all cells in half of the time that Arrow takes for them one column after the other.
    """
    try:
        found = np.array(rows)
    except ValueError:  # rows of several lengths, or some are null
        return None
    if found.dtype.kind not in "fiu" or found.shape != (len(rows), width):
        return None
    return [pa.array(column) for column in np.ascontiguousarray(found.T, np.float64)]


def _make_array(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    # Arrow refuses a whole number that float64 does not hold, and with it all rows of the block.
    exact = [float(value) if type(value) is int else value for value in values] if kind == pa.float64() else values
    return pa.array(exact, kind)

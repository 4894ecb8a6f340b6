"""A block of the prediction log: one line of JSON with up to 500 rows of one version, and the ids of requests.

One request whose rows are copied as they came has one block, however many they are.

A block names its model, version, features and sampling once, so it can be read without anything else. Its rows are
lists in the order of `Row`. Requests with several rows are written as `RequestRows`, which name once what their rows
have in common. A refused request is one row of the variant `refused` without features and prediction.
"""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields
from itertools import repeat
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import orjson

FORMAT = 2
REQUESTS_FORMAT = 3
FORMATS = (1, FORMAT)
"""Those with rows that are read: in the first one, rows end before the trace id."""

MAX_ROWS = 500
"""Rows of a block; more would delay requests by more than a third of a millisecond."""

REFUSED = "refused"
"""Variant of a request that a version refused: it has no answer."""

SHADOW = "shadow"
"""Variant of a prediction that nobody got: the champion has answered the same request."""

MOST_DROPPED = 10**12
"""More rows than any replica answers; the database counts the sum of many blocks."""

MODEL = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,199}")
"""The names that models may have; others would be paths in the store."""

type Task = Literal["classification", "regression"]


class Row(NamedTuple):
    """One row of a block; `time_ms` is UTC, and equals the time in the request's id.

    `trace_id` is None where the request came without a trace, such as past the gateway.
    """

    request_id: str
    row: int
    time_ms: int
    client_request_id: str | None
    unit: str | None
    milliseconds: float
    features: Sequence[float | str | None] | None
    prediction: float | int | str | None
    score: float | None
    trace_id: str | None = None


class RequestRows(NamedTuple):
    """Some rows of one request, from `start` on; `scores` is None where the model has none."""

    request_id: str
    start: int
    time_ms: int
    client_request_id: str | None
    unit: str | None
    milliseconds: float
    trace_id: str | None
    features: Sequence[Sequence[Any]] | npt.NDArray[np.generic] | orjson.Fragment
    predictions: Sequence[Any]
    scores: Sequence[Any] | npt.NDArray[np.generic] | None

    def list_rows(self) -> Iterator[tuple[Any, ...]]:
        """The rows, in the order of `Row`.

        Raises:
            ValueError: there are not as many predictions or scores as rows.
        """
        count = len(self.features)
        known = (self.time_ms, self.client_request_id, self.unit, self.milliseconds)
        return zip(
            repeat(self.request_id, count),
            range(self.start, self.start + count),
            *(repeat(one, count) for one in known),
            self.features,
            self.predictions,
            repeat(None, count) if self.scores is None else self.scores,
            repeat(self.trace_id, count),
            strict=True,
        )


@dataclass(frozen=True, slots=True)
class Head:
    """What all rows of a block have in common; `features` and `kinds` are those of the logged columns.

    >>> Head("iris", "3", "champion", "live", "classification", ["sepal_length"], ["numeric"]).schema
    '14f875ec'
    """

    model: str
    version: str
    variant: str
    traffic: str
    task: Task
    features: list[str]
    kinds: list[str]
    sampling: float = 1.0
    schema: str = field(init=False)

    def __post_init__(self) -> None:
        columns = list(zip(self.features, self.kinds, strict=True))
        object.__setattr__(self, "schema", make_schema(self.task, columns))


HEAD = tuple(one.name for one in fields(Head))
"""The members of a block that are the head's."""


class Block(NamedTuple):
    """A block as it was read; `dropped` are answered rows that the replica lost since its last block."""

    head: Head
    dropped: int
    rows: list[Row]


def render_block(head: Head, rows: Sequence[Sequence[Any]], dropped: int = 0) -> bytes:
    """The line of a block, with its newline; a row has the members of `Row`, or all are `RequestRows`.

    Raises:
        orjson.JSONEncodeError: a cell is no value of JSON.
    """
    known = {name: getattr(head, name) for name in HEAD}  # `asdict` would copy the lists
    of_requests = bool(rows) and isinstance(rows[0], RequestRows)
    kind, name = (REQUESTS_FORMAT, "requests") if of_requests else (FORMAT, "rows")
    block = {"format": kind, **known, "dropped": dropped, name: rows}
    # orjson writes tuples, and calls `default` for a Row.
    return orjson.dumps(block, default=tuple, option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_APPEND_NEWLINE)


def read_block(line: bytes) -> Block:
    """Reads a line.

    Raises:
        ValueError: it is no block of this format.
    """
    head, dropped, rows = load_block(line)
    try:
        return Block(head, dropped, [Row(*row) for row in rows])
    except TypeError as error:
        raise _explain(line, error) from error


def load_block(line: bytes) -> tuple[Head, int, Sequence[Sequence[Any]]]:
    """The head of a line, its dropped rows, and its rows as they are: a collection makes columns of these.

    Raises:
        ValueError: it is no block of this format.
    """
    try:
        found = orjson.loads(line)
        kind = found.pop("format")
        if kind == REQUESTS_FORMAT:
            rows = [row for one in found.pop("requests") for row in RequestRows(*one).list_rows()]
        elif kind in FORMATS:
            rows = found.pop("rows")
        else:
            raise ValueError("its format is another one")
        dropped, schema = found.pop("dropped"), found.pop("schema")
        head = Head(**found)
        _check_head(head, schema)
        if type(dropped) is not int or not 0 <= dropped <= MOST_DROPPED:
            raise ValueError(f"its dropped rows are {dropped!r}")
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise _explain(line, error) from error
    return head, dropped, rows


def _check_head(head: Head, schema: str) -> None:
    """Refuses a head that would have its rows stored elsewhere, or that no table fits."""
    if not isinstance(head.model, str) or not MODEL.fullmatch(head.model):
        raise ValueError(f"its model is {head.model!r}")
    if head.schema != schema:
        raise ValueError(f"its schema is {schema}, and that of its features {head.schema}")
    if len(set(head.features)) < len(head.features):
        raise ValueError("two features have one name")


def _explain(line: bytes, error: Exception) -> ValueError:
    return ValueError(
        f"block of the prediction log: found {line[:80]!r} ({error}), expected a line of format {FORMAT} or "
        f"{REQUESTS_FORMAT}; collect it with the version that wrote it"
    )


def make_schema(task: str, columns: Sequence[tuple[str, str]]) -> str:
    """The digest of a task and of the names and kinds of its columns; rows with the same one fit into one table."""
    canonical = orjson.dumps([task, [list(column) for column in columns]])
    return hashlib.sha256(canonical).hexdigest()[:8]


def make_request_id() -> str:
    """A new UUIDv7 as 32 hex digits: it holds its time, so its hour is known without a search."""
    free = os.urandom(9).hex()
    # 7 is the version. The variant's digit may be 8, 9, a or b; the other 72 bits are enough for no id to come twice.
    return f"{time.time_ns() // 1_000_000:012x}7{free[:3]}8{free[3:]}"


def read_time(request_id: str) -> int:
    """The time of a request in milliseconds since 1970, by its id.

    Raises:
        ValueError: it is no id of `make_request_id`.
    """
    digits = request_id.lower()
    if len(digits) != 32 or not set(digits) <= set("0123456789abcdef") or digits[12] != "7" or digits[16] not in "89ab":
        raise ValueError(
            f"request id: found {request_id[:64]!r}, expected 32 hex digits as in the header X-Request-Id of an answer"
        )
    return int(digits[:12], 16)

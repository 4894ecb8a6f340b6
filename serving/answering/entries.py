"""Answered requests on their way to the prediction log, and the parts of them that become blocks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

from ml_code.model_file.feed import Rows
from ml_code.model_file.onnx_model import Prediction
from ml_code.monitoring.prediction_log.blocks import MAX_ROWS
from serving.answering.served import ServedModel
from serving.registry.names import SHADOW

BLOCK_BYTES = 2_000_000
"""Bytes of objects in one block: five hundred wide rows would delay other requests by tens of milliseconds."""

GROUPED_ROWS = 100
"""Requests of more rows have blocks of their own."""


class Logged(NamedTuple):
    """One request that a version answered, or refused (`prediction` is None), with what the log keeps of it.

    `text` is the JSON of rows that are an array, if they came as an array of arrays on one line.
    """

    served: ServedModel
    traffic: str
    request_id: str
    client_id: bytes | None
    user: bytes | None
    seconds: float
    size_bytes: int
    rows: Rows = ()
    prediction: Prediction | None = None
    traceparent: bytes | None = None
    text: bytes | None = None


type Entry = tuple[
    *tuple[ServedModel, str, str, bytes | None, bytes | None],
    *tuple[float, int, Rows, Prediction | None, bytes | None, bytes | None],
]
"""A `Logged` or its plain members: Python makes a plain tuple in a sixth of the time."""


SIZE_BYTES: Final = 6
ROWS: Final = 7
PREDICTION: Final = 8
TRACEPARENT: Final = 9
TEXT: Final = 10
"""Places of an entry's members."""


class Part(NamedTuple):
    """Rows for one block: all of some requests with `stop` rows each, or the rows `start` to `stop` of one request."""

    requests: Sequence[Entry]
    start: int = 0
    stop: int = 1

    @property
    def rows(self) -> int:
        """How many rows the block will have."""
        return len(self.requests) * (self.stop - self.start)

    @property
    def is_refused(self) -> bool:
        """Whether a version refused these requests."""
        return self.requests[0][PREDICTION] is None

    @property
    def is_shadow(self) -> bool:
        """Whether nobody got these predictions."""
        return self.requests[0][0].variant == SHADOW

    @property
    def done_bytes(self) -> int:
        """Bytes of the requests that have no row behind this part."""
        return sum_bytes(self.requests) if self.stop == count_rows(self.requests[0]) else 0


def count_rows(entry: Entry) -> int:
    """Rows that the log has of a request: a refused one has one."""
    return len(entry[ROWS]) or 1


def sum_bytes(requests: Sequence[Entry]) -> int:
    """Bytes of some requests in memory."""
    return sum([entry[SIZE_BYTES] for entry in requests])


def cut_blocks(requests: Sequence[Entry]) -> Iterator[Part]:
    """Groups requests by what a block has in common, and cuts the groups into blocks."""
    for rows_each, group in _group(requests):
        if rows_each > GROUPED_ROWS:
            for entry in group:
                yield from _cut_rows(entry)
        else:
            step = MAX_ROWS // max(rows_each, 1)
            for start in range(0, len(group), step):
                yield from _cut_requests(group[start : start + step])


def _group(requests: Sequence[Entry]) -> Iterator[tuple[int, list[Entry]]]:
    """Groups of one version, traffic, outcome and number of rows each, with that number."""
    groups: dict[tuple[int, str, bool, int], list[Entry]] = {}
    last: tuple[Any, ...] = (None, None, None, None)
    group: list[Entry] = []
    for entry in requests:
        served, traffic, _, _, _, _, _, rows, prediction, *_ = entry
        # Most requests belong to the group of the one before, which a comparison finds faster than a look-up.
        found = (served, traffic, prediction is None, len(rows))
        if found != last:
            last = found
            group = groups.setdefault((id(served), *found[1:]), [])
        group.append(entry)
    for (*_, rows_each), group in groups.items():
        yield rows_each, group


def _cut_requests(requests: Sequence[Entry]) -> Iterator[Part]:
    """Requests of the same number of rows, in halves as long as they are too large together."""
    half = len(requests) // 2
    if half and sum_bytes(requests) > BLOCK_BYTES:
        yield from _cut_requests(requests[:half])
        yield from _cut_requests(requests[half:])
    else:
        yield Part(requests, 0, count_rows(requests[0]))


def _cut_rows(entry: Entry) -> Iterator[Part]:
    count = count_rows(entry)
    if entry[TEXT] is not None:  # it is copied as it is, which takes no time for each row
        yield Part([entry], 0, count)
        return
    step = max(1, min(MAX_ROWS, BLOCK_BYTES * count // max(entry[SIZE_BYTES], 1)))
    for start in range(0, count, step):
        yield Part([entry], start, min(start + step, count))

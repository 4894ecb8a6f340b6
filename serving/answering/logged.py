"""Answered requests as rows of the prediction log; all of it runs in the thread that writes the log."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from ml_code.cells import name_category
from ml_code.model_file.onnx_model import Prediction
from ml_code.model_file.spec import Feature, Value
from ml_code.monitoring.prediction_log.blocks import MAX_ROWS, REFUSED, Head
from serving.answering.served import ServedModel

LONGEST_ID = 128
"""Bytes of a client's own id; a longer one is not stored, since half an id finds nothing."""

BLOCK_BYTES = 2_000_000
"""Bytes of objects in one block: five hundred wide rows would delay other requests by tens of milliseconds."""

GROUPED_ROWS = 100
"""Requests of more rows have blocks of their own."""

UNIT_BYTES = 16
KNOWN_UNITS = 4096

type Hidden = Callable[[str], frozenset[str] | None]
"""The columns of a dataset that the catalog keeps out of the log; None where it cannot be read: all of them."""


class Logged(NamedTuple):
    """One request that a version answered, or refused (`prediction` is None), with what the log keeps of it."""

    served: ServedModel
    traffic: str
    request_id: str
    client_id: bytes | None
    user: bytes | None
    seconds: float
    size_bytes: int
    rows: Sequence[Sequence[Value]] = ()
    prediction: Prediction | None = None


class Part(NamedTuple):
    """Rows for one block: all of some requests with `stop` rows each, or the rows `start` to `stop` of one request."""

    requests: Sequence[Logged]
    start: int = 0
    stop: int = 1

    @property
    def rows(self) -> int:
        """How many rows the block will have."""
        return len(self.requests) * (self.stop - self.start)

    @property
    def done_bytes(self) -> int:
        """Bytes of the requests that have no row behind this part."""
        ended = [logged.size_bytes for logged in self.requests] if self._is_last else []
        return sum(ended)

    @property
    def _is_last(self) -> bool:
        return self.stop == count_rows(self.requests[0])


def count_rows(logged: Logged) -> int:
    """Rows that the log has of a request: a refused one has one."""
    return len(logged.rows) or 1


def cut_blocks(requests: Sequence[Logged]) -> Iterator[Part]:
    """Groups requests by what a block has in common, and cuts the groups into blocks."""
    groups: dict[tuple[int, str, bool, int], list[Logged]] = {}
    for logged in requests:
        served, traffic, _, _, _, _, _, rows, prediction = logged
        key = (id(served), traffic, prediction is None, len(rows))
        if key in groups:
            groups[key].append(logged)
        else:
            groups[key] = [logged]
    for (*_, rows_each), group in groups.items():
        if rows_each > GROUPED_ROWS:
            for logged in group:
                yield from _cut_rows(logged)
        else:
            step = MAX_ROWS // max(rows_each, 1)
            for start in range(0, len(group), step):
                yield from _cut_requests(group[start : start + step])


class RowMaker:
    """Makes the heads and rows of blocks, without the columns that must not be logged.

    >>> head, rows = RowMaker(sampling=1.0, unit_key=None, read_hidden=columns.find).make(part)
    """

    def __init__(self, *, sampling: float, unit_key: bytes | None, read_hidden: Hidden) -> None:
        self._sampling = sampling
        self._read_hidden = read_hidden
        self._hash_unit = lru_cache(KNOWN_UNITS)(_make_hash(unit_key)) if unit_key else lambda _: None

    def make(self, part: Part) -> tuple[Head, list[tuple[Any, ...]]]:
        """The head of a block, and its rows in the order of `Row`."""
        logged = part.requests[0]
        served, spec = logged.served, logged.served.model.spec
        hidden = self._read_hidden(spec.dataset)
        kept = [
            (number, feature)
            for number, feature in enumerate(spec.features)
            if hidden is not None and feature.log and feature.name not in hidden
        ]
        head = Head(
            model=served.identity.name,
            version=served.identity.version,
            variant=REFUSED if logged.prediction is None else served.variant,
            traffic=logged.traffic,
            task=spec.task,
            features=[feature.name for _, feature in kept],
            kinds=[feature.kind for _, feature in kept],
            sampling=self._sampling,
        )
        is_whole = len(kept) == len(spec.features) and all(feature.kind == "numeric" for _, feature in kept)
        places = {label: place for place, label in enumerate(spec.classes or ())}
        return head, self._list_rows(part, None if is_whole else kept, places)

    def _list_rows(
        self, part: Part, kept: list[tuple[int, Feature]] | None, places: Mapping[Any, int]
    ) -> list[tuple[Any, ...]]:
        first = part.requests[0]
        if first.prediction is None:
            return [(*self._describe(logged), None, None, None) for logged in part.requests]
        if len(first.rows) == 1:
            return self._list_requests(part.requests, kept, places)
        return [row for logged in part.requests for row in self._list_part(logged, part, kept, places)]

    def _list_part(
        self, logged: Logged, part: Part, kept: list[tuple[int, Feature]] | None, places: Mapping[Any, int]
    ) -> list[tuple[Any, ...]]:
        request_id, _, *rest = self._describe(logged)
        prediction, rows = logged.prediction, logged.rows[part.start : part.stop]
        assert prediction is not None  # noqa: S101  a part holds either answers or refusals
        return [
            (request_id, number, *rest, cells, prediction.values[number], _read_score(prediction, places, number))
            for number, cells in enumerate(_select(rows, kept), part.start)
        ]

    def _list_requests(
        self, requests: Sequence[Logged], kept: list[tuple[int, Feature]] | None, places: Mapping[Any, int]
    ) -> list[tuple[Any, ...]]:
        """The rows of requests with one row each: most are, so this loop calls nothing that it need not."""
        cells = _select([logged.rows[0] for logged in requests], kept)
        return [
            (
                request_id,
                0,
                int(request_id[:12], 16),
                _read_client_id(client_id) if client_id else None,
                self._hash_unit(user) if user else None,
                int(seconds * 1_000_000) / 1000,
                features,
                prediction.values[0],
                None if prediction.probabilities is None else _read_score(prediction, places, 0),
            )
            for (_, _, request_id, client_id, user, seconds, _, _, prediction), features in zip(
                requests, cells, strict=True
            )
            if prediction is not None
        ]

    def _describe(self, logged: Logged) -> tuple[str, int, int, str | None, str | None, float]:
        """What a row holds before its features."""
        _, _, request_id, client_id, user, seconds, _, _, _ = logged
        return (
            request_id,
            0,
            int(request_id[:12], 16),
            _read_client_id(client_id) if client_id else None,
            self._hash_unit(user) if user else None,
            int(seconds * 1_000_000) / 1000,
        )


def _cut_requests(requests: Sequence[Logged]) -> Iterator[Part]:
    """Requests of one row each, in halves as long as they are too large together."""
    half = len(requests) // 2
    if half and sum(logged.size_bytes for logged in requests) > BLOCK_BYTES:
        yield from _cut_requests(requests[:half])
        yield from _cut_requests(requests[half:])
    else:
        yield Part(requests, 0, count_rows(requests[0]))


def _cut_rows(logged: Logged) -> Iterator[Part]:
    count = len(logged.rows)
    step = max(1, min(MAX_ROWS, BLOCK_BYTES * count // max(logged.size_bytes, 1)))
    for start in range(0, count, step):
        yield Part([logged], start, min(start + step, count))


def _select(rows: Sequence[Sequence[Value]], kept: Sequence[tuple[int, Feature]] | None) -> Sequence[Sequence[Value]]:
    """The cells of the logged columns (None: all); categories as the model read them, so that one has one spelling."""
    if kept is None:
        return rows
    columns = [
        [row[number] for row in rows]
        if feature.kind == "numeric"
        else [_name(feature.truths, row[number]) for row in rows]
        for number, feature in kept
    ]
    return [list(cells) for cells in zip(*columns, strict=True)] if columns else [[] for _ in rows]


def _name(truths: Mapping[str, str], cell: Value) -> str | None:
    name = name_category(cell)
    return truths.get(name, name) or None


def _read_score(prediction: Prediction, places: Mapping[Any, int], number: int) -> np.float32 | None:
    """The probability of the answered class of a row, if the model has probabilities."""
    shares = prediction.probabilities
    if shares is None:
        return None
    score: np.float32 = shares[number, places[prediction.values[number]]] if places else shares[number].max()
    return score


def _read_client_id(client_id: bytes) -> str | None:
    try:
        text = client_id.decode()
    except UnicodeDecodeError:
        text = client_id.decode("latin-1")
    return text if len(text) <= LONGEST_ID else None


def _make_hash(key: bytes) -> Callable[[bytes], str | None]:
    """A hash that only the holder of the key can repeat: from the log alone nobody finds out who asked."""
    return lambda user: hmac.digest(key, user, "sha256")[:UNIT_BYTES].hex()

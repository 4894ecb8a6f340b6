"""Answered requests as rows of the prediction log; all of it runs in the thread that writes the log."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import repeat, starmap
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from orjson import Fragment

from ml_code.model_file.feed import Rows, name_column
from ml_code.model_file.onnx_model import Prediction
from ml_code.model_file.spec import Feature, ModelSpec
from ml_code.monitoring.prediction_log.blocks import REFUSED, Head, RequestRows
from ml_code.traces import list_trace_ids
from serving.answering.entries import PREDICTION, ROWS, TEXT, TRACEPARENT, Entry, Part, count_rows
from serving.answering.served import ServedModel

LONGEST_ID = 128
"""Bytes of a client's own id; a longer one is not stored, since half an id finds nothing."""

UNIT_BYTES = 16
KNOWN_UNITS = 4096
KNOWN_HEADS = 32

type Hidden = Callable[[str], frozenset[str] | None]
"""The columns of a dataset that the catalog keeps out of the log; None where it cannot be read: all of them."""


class Plan(NamedTuple):
    """What the blocks of one version, variant and traffic have in common; `kept` is None where all columns are."""

    spec: ModelSpec
    head: Head
    kept: Sequence[tuple[int, Feature]] | None
    places: Mapping[Any, int]


class RowMaker:
    """Makes the heads and rows of blocks, without the columns that must not be logged.

    >>> head, rows = RowMaker(sampling=1.0, unit_key=None, read_hidden=columns.find).make(part)
    """

    def __init__(self, *, sampling: float, unit_key: bytes | None, read_hidden: Hidden) -> None:
        self._sampling = sampling
        self._read_hidden = read_hidden
        self._hash_unit = lru_cache(KNOWN_UNITS)(_make_hash(unit_key)) if unit_key else lambda _: None
        self._plans: dict[tuple[Any, ...], Plan] = {}

    def make(self, part: Part) -> tuple[Head, list[Any]]:
        """The head of a block and its rows, in the order of `Row` or as `RequestRows` of requests with several."""
        served, traffic, *_ = part.requests[0]
        plan = self._find_plan(served, traffic, is_refused=part.is_refused)
        if part.is_refused:
            columns = list(zip(*part.requests, strict=True))
            traces = list_trace_ids(columns[TRACEPARENT])
            return plan.head, list(zip(*self._describe(*columns), *[repeat(None)] * 3, traces, strict=False))
        if count_rows(part.requests[0]) == 1:
            return plan.head, self._list_requests(part.requests, plan)
        return plan.head, self._collect_rows(part, plan)

    def _find_plan(self, served: ServedModel, traffic: str, *, is_refused: bool) -> Plan:
        spec = served.model.spec
        hidden = self._read_hidden(spec.dataset)
        key = (id(spec), served.identity, served.variant, traffic, is_refused, hidden)
        if key not in self._plans:
            if len(self._plans) == KNOWN_HEADS:  # of versions of long ago
                self._plans.clear()
            variant = REFUSED if is_refused else served.variant
            self._plans[key] = self._make_plan(served, variant, traffic, hidden)
        return self._plans[key]

    def _make_plan(self, served: ServedModel, variant: str, traffic: str, hidden: frozenset[str] | None) -> Plan:
        spec = served.model.spec
        kept = [
            (number, feature)
            for number, feature in enumerate(spec.features)
            if hidden is not None and feature.log and feature.name not in hidden
        ]
        head = Head(
            model=served.identity.name,
            version=served.identity.version,
            variant=variant,
            traffic=traffic,
            task=spec.task,
            features=[feature.name for _, feature in kept],
            kinds=[feature.kind for _, feature in kept],
            sampling=self._sampling,
        )
        is_whole = len(kept) == len(spec.features) and all(feature.kind == "numeric" for _, feature in kept)
        places = {label: place for place, label in enumerate(spec.classes or ())}
        return Plan(spec, head, None if is_whole else kept, places)

    def _list_requests(self, requests: Sequence[Entry], plan: Plan) -> list[tuple[Any, ...]]:
        """The rows of requests with one row each: column by column, which costs half of the way row by row."""
        columns = list(zip(*requests, strict=True))
        rows, predictions = columns[ROWS], columns[PREDICTION]
        values = [prediction.values[0] for prediction in predictions]
        if predictions[0].probabilities is None:
            scores: Iterable[Any] = repeat(None)
        elif places := plan.places:
            found = zip(predictions, values, strict=True)
            scores = [prediction.probabilities[0, places[value]] for prediction, value in found]
        else:
            scores = [prediction.probabilities[0].max() for prediction in predictions]
        cells = _select([first for (first,) in rows], plan.kept)
        traces = list_trace_ids(columns[TRACEPARENT])
        return list(zip(*self._describe(*columns), cells, values, scores, traces, strict=False))

    def _collect_rows(self, part: Part, plan: Plan) -> list[RequestRows]:
        """The same rows of some requests; nothing is made of each row."""
        columns, (start, stop) = list(zip(*part.requests, strict=True)), part[1:]
        predictions, traces = columns[PREDICTION], list_trace_ids(columns[TRACEPARENT])
        # A request with its text is never cut.
        cells = [
            _select(rows[start:stop], plan.kept) if text is None or plan.kept is not None else Fragment(text)
            for rows, text in zip(columns[ROWS], columns[TEXT], strict=True)
        ]
        values = [prediction.values[start:stop] for prediction in predictions]
        scores = [_read_scores(prediction, plan.places, start, stop) for prediction in predictions]
        found = zip(*self._describe(*columns, start=start), traces, cells, values, scores, strict=False)
        return list(starmap(RequestRows, found))

    def _describe(self, *columns: Sequence[Any], start: int = 0) -> list[Iterable[Any]]:
        """What rows hold before their features, as columns with one cell of each request; constant ones never end."""
        _, _, ids, clients, users, seconds, *_ = columns
        return [
            ids,
            repeat(start),
            _read_times(ids),
            [_read_client_id(client) if client else None for client in clients] if any(clients) else repeat(None),
            [self._hash_unit(user) if user else None for user in users] if any(users) else repeat(None),
            ((np.array(seconds) * 1_000_000).astype(np.int64) / 1000).tolist(),
        ]


def _read_times(ids: Sequence[str]) -> list[int]:
    """The milliseconds that the first twelve digits of request ids are, of all ids at once."""
    halves = np.frombuffer(bytes.fromhex("".join(ids)), ">u8")
    times: list[int] = (halves[::2] >> 16).tolist()
    return times


def _select(rows: Rows, kept: Sequence[tuple[int, Feature]] | None) -> Rows:
    """The cells of the logged columns (None: all); categories as the model read them, so that one has one spelling."""
    if kept is None:
        return rows
    if isinstance(rows, np.ndarray):
        return rows[:, [number for number, _ in kept]]
    columns = [
        [row[number] for row in rows]
        if feature.kind == "numeric"
        else [name or None for name in name_column(feature, [row[number] for row in rows])]
        for number, feature in kept
    ]
    return list(map(list, zip(*columns, strict=True))) if columns else [[] for _ in rows]


def _read_scores(
    prediction: Prediction, places: Mapping[Any, int], start: int, stop: int
) -> npt.NDArray[np.float32] | None:
    """The probabilities of the answered classes of some rows, shape (stop - start); None if the model has none."""
    shares = prediction.probabilities
    if shares is None:
        return None
    if not places:
        return np.asarray(shares[start:stop].max(axis=1))
    if prediction.places is not None:
        return np.asarray(shares[np.arange(start, stop), prediction.places[start:stop]])
    answered = list(map(places.__getitem__, prediction.values[start:stop]))
    return np.asarray(shares[np.arange(start, stop), answered])


def _read_client_id(client_id: bytes) -> str | None:
    try:
        text = client_id.decode()
    except UnicodeDecodeError:
        text = client_id.decode("latin-1")
    return text if len(text) <= LONGEST_ID else None


def _make_hash(key: bytes) -> Callable[[bytes], str | None]:
    """A hash that only the holder of the key can repeat: from the log alone nobody finds out who asked."""
    return lambda user: hmac.digest(key, user, "sha256")[:UNIT_BYTES].hex()

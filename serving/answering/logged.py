"""Answered requests as rows of the prediction log; all of it runs in the thread that writes the log."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import repeat
from typing import Any, Final, NamedTuple

import numpy as np

from ml_code.cells import name_category
from ml_code.model_file.onnx_model import Prediction
from ml_code.model_file.spec import Feature, ModelSpec, Value
from ml_code.monitoring.prediction_log.blocks import MAX_ROWS, REFUSED, Head
from serving.answering.served import ServedModel
from serving.registry.names import SHADOW

LONGEST_ID = 128
"""Bytes of a client's own id; a longer one is not stored, since half an id finds nothing."""

BLOCK_BYTES = 2_000_000
"""Bytes of objects in one block: five hundred wide rows would delay other requests by tens of milliseconds."""

GROUPED_ROWS = 100
"""Requests of more rows have blocks of their own."""

UNIT_BYTES = 16
KNOWN_UNITS = 4096
KNOWN_HEADS = 32

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


type Entry = tuple[
    ServedModel, str, str, bytes | None, bytes | None, float, int, Sequence[Sequence[Value]], Prediction | None
]
"""A `Logged` or its plain members: Python makes a plain tuple in a sixth of the time."""


SIZE_BYTES: Final = 6
ROWS: Final = 7
PREDICTION: Final = 8
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
        served, traffic, _, _, _, _, _, rows, prediction = entry
        # Most requests belong to the group of the one before, which a comparison finds faster than a look-up.
        found = (served, traffic, prediction is None, len(rows))
        if found != last:
            last = found
            group = groups.setdefault((id(served), *found[1:]), [])
        group.append(entry)
    for (*_, rows_each), group in groups.items():
        yield rows_each, group


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

    def make(self, part: Part) -> tuple[Head, list[tuple[Any, ...]]]:
        """The head of a block, and its rows in the order of `Row`."""
        served, traffic, *_ = part.requests[0]
        plan = self._find_plan(served, traffic, is_refused=part.is_refused)
        if part.is_refused:
            columns = self._describe(*zip(*part.requests, strict=True))
            return plan.head, list(zip(*columns, *[repeat(None)] * 3, strict=False))
        if count_rows(part.requests[0]) == 1:
            return plan.head, self._list_requests(part.requests, plan)
        return plan.head, [
            row for entry in part.requests for row in self._list_rows(entry, part.start, part.stop, plan)
        ]

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
        return list(zip(*self._describe(*columns), cells, values, scores, strict=False))

    def _list_rows(self, entry: Entry, start: int, stop: int, plan: Plan) -> Iterator[tuple[Any, ...]]:
        """Some rows of one request."""
        *_, rows, prediction = entry
        assert prediction is not None  # noqa: S101  a part holds either answers or refusals
        [(request_id, _, *rest)] = zip(*self._describe(*zip(entry, strict=True)), strict=False)
        return zip(
            repeat(request_id),
            range(start, stop),
            *map(repeat, rest),
            _select(rows[start:stop], plan.kept),
            prediction.values[start:stop],
            _read_scores(prediction, plan.places, start, stop),
            strict=False,
        )

    def _describe(self, *columns: Sequence[Any]) -> list[Iterable[Any]]:
        """What rows hold before their features, as columns with one cell of each request; constant ones never end."""
        _, _, ids, clients, users, seconds, *_ = columns
        return [
            ids,
            repeat(0),
            _read_times(ids),
            [_read_client_id(client) if client else None for client in clients] if any(clients) else repeat(None),
            [self._hash_unit(user) if user else None for user in users] if any(users) else repeat(None),
            ((np.array(seconds) * 1_000_000).astype(np.int64) / 1000).tolist(),
        ]


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
    step = max(1, min(MAX_ROWS, BLOCK_BYTES * count // max(entry[SIZE_BYTES], 1)))
    for start in range(0, count, step):
        yield Part([entry], start, min(start + step, count))


def _read_times(ids: Sequence[str]) -> list[int]:
    """The milliseconds that the first twelve digits of request ids are, of all ids at once."""
    halves = np.frombuffer(bytes.fromhex("".join(ids)), ">u8")
    times: list[int] = (halves[::2] >> 16).tolist()
    return times


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


def _read_scores(prediction: Prediction, places: Mapping[Any, int], start: int, stop: int) -> Iterable[Any]:
    """The probabilities of the answered classes of some rows, if the model has probabilities."""
    shares = prediction.probabilities
    if shares is None:
        return repeat(None)
    if not places:
        return list(shares[start:stop].max(axis=1))
    answered = [places[value] for value in prediction.values[start:stop]]
    return list(shares[np.arange(start, stop), answered])


def _read_client_id(client_id: bytes) -> str | None:
    try:
        text = client_id.decode()
    except UnicodeDecodeError:
        text = client_id.decode("latin-1")
    return text if len(text) <= LONGEST_ID else None


def _make_hash(key: bytes) -> Callable[[bytes], str | None]:
    """A hash that only the holder of the key can repeat: from the log alone nobody finds out who asked."""
    return lambda user: hmac.digest(key, user, "sha256")[:UNIT_BYTES].hex()

"""Finds the logged rows that labels are for, by the hours of their requests' ids or by the clients' own ids."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ml_code.monitoring.prediction_log.blocks import REFUSED, read_time
from ml_code.monitoring.prediction_log.reading import OBJECT, list_models
from ml_code.monitoring.prediction_log.tables import HOUR_MS
from ml_code.workspace import Workspace

CLIENT_DAYS = 30
"""A client's own id does not tell its hour, so the log is searched for it from the newest hour back so far."""

CLIENT_BYTES = 1_000_000_000
CLIENT_OBJECTS = 5_000
"""Objects that are searched for clients' own ids at most: one that is nowhere would have the whole log read."""

REQUEST_BYTES = 4_000_000_000
"""Objects that are read for the hours of requests at most; labels of further hours wait for the next collection."""

log = logging.getLogger(__name__)


type ClientId = tuple[str | None, str]
"""A client's own id of a request, with the model that the sender of a label named, if any."""


class LoggedRequest(NamedTuple):
    """What labels must know of a logged request: its model and task, and the rows that were answered."""

    model: str
    is_classification: bool
    rows: frozenset[int]


class LoggedObject(NamedTuple):
    """One object of the log."""

    model: str
    hour: datetime
    uri: str
    size_bytes: int


@dataclass(slots=True)
class LoggedRows:
    """The requests of the log that some labels name, and the hours that were not read for them."""

    requests: Mapping[str, LoggedRequest] = field(default_factory=dict)
    client_ids: Mapping[ClientId, str] = field(default_factory=dict)
    unread: Collection[datetime] = ()


def find_rows(
    workspace: Workspace, request_ids: Collection[str], client_ids: Collection[ClientId], newest: datetime
) -> LoggedRows:
    """Finds the requests of ids, and of clients' ids, each with the model that its sender named, if any.

    A client that sent one id twice means its last request. What is read has a bound, since whoever sends labels makes
    up ids at will. The hours of requests are read in the order of `request_ids`, so that the first labels are the first
    to be judged.

    Raises:
        StorageError: the store refuses.
        WarehouseError: the database cannot be reached.
    """
    if not request_ids and not client_ids:
        return LoggedRows()
    objects = list(_list_objects(workspace))
    found = _resolve_clients(workspace, objects, client_ids, newest)
    ids = dict.fromkeys([*request_ids, *found.values()])
    wanted = dict.fromkeys(map(find_hour, ids))
    chosen, unread = _choose_hours(objects, wanted)
    return LoggedRows(_read_requests(workspace, chosen, ids), found, unread)


def find_hour(request_id: str) -> datetime:
    """The hour of a request, by its id."""
    return datetime.fromtimestamp(read_time(request_id) // HOUR_MS * HOUR_MS / 1000, UTC)


def _list_objects(workspace: Workspace) -> Iterator[LoggedObject]:
    for model in list_models(workspace):
        for entry in workspace.storage.list_objects(f"{workspace.places.locate_log(model)}/"):
            if match := OBJECT.search(entry.uri):
                _, date, hour = match.groups()
                begin = datetime.fromisoformat(f"{date}T{hour}:00:00").replace(tzinfo=UTC)
                yield LoggedObject(model, begin, entry.uri, entry.size_bytes)


def _choose_hours(
    objects: Collection[LoggedObject], wanted: Collection[datetime]
) -> tuple[list[LoggedObject], set[datetime]]:
    """The objects of the first hours, at least of one, and the hours for which there is no room."""
    by_hour = defaultdict(list)
    for one in objects:
        by_hour[one.hour].append(one)
    chosen: list[LoggedObject] = []
    unread: set[datetime] = set()
    size_bytes = 0
    for hour in wanted:
        of_hour = sum(one.size_bytes for one in by_hour[hour])
        if unread or (chosen and size_bytes + of_hour > REQUEST_BYTES):
            unread.add(hour)
            continue
        size_bytes += of_hour
        chosen += by_hour[hour]
    return chosen, unread


def _resolve_clients(
    workspace: Workspace,
    objects: Collection[LoggedObject],
    client_ids: Collection[ClientId],
    newest: datetime,
) -> dict[ClientId, str]:
    missing, found = set(client_ids), dict[ClientId, str]()
    by_hour = defaultdict(list)
    for one in objects:
        if newest - timedelta(days=CLIENT_DAYS) <= one.hour <= newest:
            by_hour[one.hour].append(one)
    count = size_bytes = 0
    for hour in sorted(by_hour, reverse=True):
        if not missing:
            break
        count, size_bytes = count + len(by_hour[hour]), size_bytes + sum(one.size_bytes for one in by_hour[hour])
        if count > CLIENT_OBJECTS or size_bytes > CLIENT_BYTES:
            log.warning(
                "labels: %d ids of clients were not found from %s on, and no earlier hour is searched: expected at "
                "most %d objects and %d bytes; send request_id, which tells its hour",
                *(len(missing), f"{hour + timedelta(hours=1):%Y-%m-%dT%H:%MZ}", CLIENT_OBJECTS, CLIENT_BYTES),
            )
            break
        requests = sorted(_read_clients(workspace, by_hour[hour], {text for _, text in missing}))
        for request_id, model, client_id in requests:  # a later request replaces an earlier one
            for key in ((None, client_id), (model, client_id)):
                if key in missing:
                    found[key] = request_id
        missing -= found.keys()
    return found


def _read_clients(
    workspace: Workspace, objects: Collection[LoggedObject], texts: Collection[str]
) -> Iterator[tuple[str, str, str]]:
    wanted = pa.array(sorted(texts), pa.string())
    for one in objects:
        table = _read_columns(workspace, one, ["request_id", "client_request_id"])
        table = table.filter(pc.is_in(table["client_request_id"], value_set=wanted))
        for request_id, client_id in zip(*(table[name].to_pylist() for name in table.column_names), strict=True):
            yield request_id.hex(), one.model, client_id


def _read_requests(
    workspace: Workspace, objects: Collection[LoggedObject], request_ids: Collection[str]
) -> dict[str, LoggedRequest]:
    by_hour = defaultdict(list)
    for request_id in request_ids:
        by_hour[find_hour(request_id)].append(bytes.fromhex(request_id))
    wanted = {hour: pa.array(ids, pa.binary(16)) for hour, ids in by_hour.items()}
    tasks: dict[str, tuple[str, bool]] = {}
    rows: dict[str, set[int]] = defaultdict(set)
    for one in objects:
        if one.hour not in wanted:
            continue
        table = _read_columns(workspace, one, ["request_id", "row", "variant", "prediction"])
        table = table.filter(pc.is_in(table["request_id"], value_set=wanted[one.hour]))
        task = one.model, pa.types.is_string(table["prediction"].type)
        columns = (table[name].to_pylist() for name in ("request_id", "row", "variant"))
        for request_id, row, variant in zip(*columns, strict=True):
            text = request_id.hex()
            tasks[text] = task
            if variant != REFUSED:
                rows[text].add(row)
    return {text: LoggedRequest(*task, frozenset(rows[text])) for text, task in tasks.items()}


def _read_columns(workspace: Workspace, one: LoggedObject, columns: list[str]) -> pa.Table:
    with workspace.storage.open_parts(one.uri) as file:
        return pq.read_table(file, columns=columns)

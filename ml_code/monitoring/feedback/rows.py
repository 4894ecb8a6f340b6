"""Finds the logged rows that labels are for, by the hours of their requests' ids or by the clients' own ids."""

from __future__ import annotations

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


@dataclass(slots=True)
class LoggedRows:
    """The requests of the log that some labels name."""

    requests: Mapping[str, LoggedRequest] = field(default_factory=dict)
    client_ids: Mapping[ClientId, str] = field(default_factory=dict)


def find_rows(
    workspace: Workspace, request_ids: Collection[str], client_ids: Collection[ClientId], newest: datetime
) -> LoggedRows:
    """Finds the requests of ids, and of clients' ids, each with the model that its sender named, if any.

    A client that sent one id twice means its last request.

    Raises:
        StorageError: the store refuses.
        WarehouseError: the database cannot be reached.
    """
    if not request_ids and not client_ids:
        return LoggedRows()
    objects = list(_list_objects(workspace))
    found = _resolve_clients(workspace, objects, client_ids, newest)
    return LoggedRows(_read_requests(workspace, objects, {*request_ids, *found.values()}), found)


def find_hour(request_id: str) -> datetime:
    """The hour of a request, by its id."""
    return datetime.fromtimestamp(read_time(request_id) // HOUR_MS * HOUR_MS / 1000, UTC)


def _list_objects(workspace: Workspace) -> Iterator[LoggedObject]:
    for model in list_models(workspace):
        for entry in workspace.storage.list_objects(f"{workspace.places.locate_log(model)}/"):
            if match := OBJECT.search(entry.uri):
                _, date, hour = match.groups()
                yield LoggedObject(model, datetime.fromisoformat(f"{date}T{hour}:00:00").replace(tzinfo=UTC), entry.uri)


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
    for hour in sorted(by_hour, reverse=True):
        if not missing:
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
    return pq.read_table(pa.BufferReader(workspace.storage.read_bytes(one.uri)), columns=columns)

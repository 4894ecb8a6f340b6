"""The rows that labels are for: whoever sends labels makes up ids at will, and must not have the whole log read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from ml_code.monitoring.feedback import rows as rows_module
from ml_code.monitoring.feedback.events import Event
from ml_code.monitoring.feedback.judging import Judge
from ml_code.monitoring.feedback.rows import find_hour, find_rows
from ml_code.storage import Storage
from ml_code.workspace import Workspace
from tests.log_rows import IRIS, NOON, LogWarehouse, make_id, make_log_workspace, make_rows, write_log

HOURS = 6
NEWEST = NOON + timedelta(hours=HOURS)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """One request in each of six hours; each hour is one object."""
    warehouse = LogWarehouse()
    warehouse.batches["one", "iris", "a"] = ()
    workspace = make_log_workspace(tmp_path, warehouse)
    write_log(workspace, IRIS, make_rows([[5.1, 3.5, 1.4, 0.2]] * HOURS, [1] * HOURS, pause=timedelta(hours=1)))
    return workspace


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The objects that are read, by their hours."""
    found: list[str] = []
    real = Storage.open_parts

    @contextmanager
    def open_parts(storage: Storage, uri: str) -> Iterator[Any]:
        found.append(uri.split("/")[-2])
        with real(storage, uri) as file:
            yield file

    monkeypatch.setattr(Storage, "open_parts", open_parts)
    return found


def name_request(hour: int) -> str:
    return make_id(NOON + timedelta(hours=hour), hour)


def test_a_request_that_a_shadow_predicted_too_has_each_row_once(workspace: Workspace) -> None:
    rows = make_rows([[5.1, 3.5, 1.4, 0.2]], [2])
    write_log(workspace, replace(IRIS, version="4", variant="shadow"), rows, name="20261121T000001.000000Z-0")
    found = find_rows(workspace, [], [(None, "order-0")], NEWEST)
    assert found.client_ids == {(None, "order-0"): name_request(0)}
    assert found.requests[name_request(0)].rows == {0}


@pytest.mark.parametrize("bound", ["CLIENT_OBJECTS", "CLIENT_BYTES"])
def test_an_unknown_id_of_a_client_has_a_bounded_part_of_the_log_read(
    workspace: Workspace,
    opened: list[str],
    monkeypatch: pytest.MonkeyPatch,
    bound: str,
) -> None:
    size_bytes = workspace.storage.list_objects(workspace.places.locate_log("iris"))[0].size_bytes
    monkeypatch.setattr(rows_module, bound, 2 if bound == "CLIENT_OBJECTS" else round(2.5 * size_bytes))
    wanted = [(None, "order-5"), (None, "nobody's"), (None, "order-0")]
    said: list[str] = []
    # Not by caplog: what other tests do to the root logger must not count.
    monkeypatch.setattr(rows_module.log, "warning", lambda text, *values: said.append(text % values))
    found = find_rows(workspace, [], wanted, NEWEST)
    assert found.client_ids == {(None, "order-5"): name_request(5)}
    assert opened[:2] == ["hour=17", "hour=16"]
    assert set(opened) == {"hour=17", "hour=16"}
    assert any("labels: 2 ids of clients were not found from 2026-11-20T16:00Z on" in text for text in said)


def test_made_up_ids_of_many_hours_have_a_bounded_part_read_and_the_other_labels_wait(
    workspace: Workspace, opened: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows_module, "REQUEST_BYTES", 0)
    ids = [name_request(3), name_request(1), name_request(5)]
    found = find_rows(workspace, ids, [], NEWEST)
    assert (list(found.requests), opened) == ([name_request(3)], ["hour=15"])
    assert found.unread == {find_hour(name_request(1)), find_hour(name_request(5))}
    complete_ms = round(NEWEST.timestamp() * 1000)
    events = [Event(one, None, 0, 1, None, complete_ms - 1, None, one) for one in ids]
    verdicts = Judge(found, {}, complete_ms).judge(events)
    assert [kept.request_id for kept in verdicts.kept] == ids[:1]
    assert (verdicts.waiting, verdicts.unused) == (events[1:], [])


def test_only_the_columns_of_ids_are_read_from_hours_that_are_named(workspace: Workspace, opened: list[str]) -> None:
    found = find_rows(workspace, [name_request(2)], [], NEWEST)
    assert opened == ["hour=14"]
    assert found.requests[name_request(2)].rows == {0}
    assert not found.unread

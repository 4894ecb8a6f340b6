"""Labels on their way into the store, on folders instead of buckets and tables in memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest

from ml_code.errors import StorageError
from ml_code.monitoring.feedback import collection as feedback_collection
from ml_code.monitoring.feedback.collection import collect_labels
from ml_code.monitoring.feedback.counts import Counts
from ml_code.monitoring.feedback.events import Event, render_event
from ml_code.monitoring.feedback.labels import join_labels, read_labels
from ml_code.monitoring.prediction_log.blocks import Row, make_request_id
from ml_code.monitoring.prediction_log.reading import read_log
from ml_code.segments import SegmentWriter
from ml_code.workspace import Workspace
from tests.log_rows import IRIS, NOON, LogWarehouse, make_id, make_log_workspace, make_rows, write_log

DAY = timedelta(days=1)
RECEIVED_MS = round((NOON + timedelta(hours=3)).timestamp() * 1000)
REFUSED = make_id(NOON, 99)


class FeedbackWarehouse(LogWarehouse):
    """The tables of the log and of labels in memory; the log is complete until 1:30 before `complete_at`."""

    def __init__(self, complete_at: datetime) -> None:
        super().__init__()
        self.collections["one"] = (complete_at,)
        self.batches["one", "iris", "a"] = ()
        self.counts: dict[tuple[str, str], dict[str, int]] = {}
        self.tokens: list[tuple[str, str, str, datetime]] = []

    def execute(self, statement: str, values: tuple[Any, ...] = ()) -> None:
        if statement.startswith("INSERT INTO warehouse.feedback_batch"):
            self.counts.setdefault((values[0], values[1]), asdict(Counts(*values[2:])))
        elif "FROM warehouse.label_token" in statement:
            self._answer = [row[1:] for row in self.tokens if row[0] == values[0]]
        else:
            super().execute(statement, values)

    def sum_counts(self, model: str) -> dict[str, int]:
        total = Counter[str]()
        for (_, of_model), counts in self.counts.items():
            if of_model == model:
                total.update(counts)
        return {name: number for name, number in total.items() if number}


@pytest.fixture
def warehouse() -> FeedbackWarehouse:
    return FeedbackWarehouse(NOON + DAY)


@pytest.fixture
def workspace(tmp_path: Path, warehouse: FeedbackWarehouse) -> Workspace:
    """Ten requests from noon on, a second apart, of which each was answered with 1, and one that was refused."""
    workspace = make_log_workspace(tmp_path, warehouse)
    rows = make_rows([[5.1, 3.5, 1.4, 0.2]] * 10, [1] * 10)
    write_log(workspace, IRIS, rows)
    refused = Row(REFUSED, 0, int(REFUSED[:12], 16), "refused", None, 0.5, None, None, None)
    write_log(workspace, replace(IRIS, variant="refused"), [refused], "20261121T000000.000000Z-1")
    return workspace


def name_request(number: int) -> str:
    return make_id(NOON + timedelta(seconds=number), number)


def make_event(number: int, label: Any = 1, **changes: Any) -> Event:
    event = Event(name_request(number), None, 0, label, None, RECEIVED_MS, None, make_request_id())
    return event._replace(**changes)


def send(workspace: Workspace, *events: Event) -> None:
    assert workspace.settings.prediction_log_dir
    writer = SegmentWriter(workspace.settings.prediction_log_dir / "feedback", "stable-one")
    writer.write(b"".join(map(render_event, events)))
    writer.close()


def read(workspace: Workspace) -> dict[int, str]:
    """The labels of the day by the number of the request."""
    table = read_labels(workspace, "iris", NOON - DAY, NOON + DAY)
    numbers = [int.from_bytes(one[8:]) & 0xFFFF for one in table["request_id"].to_pylist()]
    return dict(zip(numbers, table["label"].to_pylist(), strict=True))


def test_labels_find_their_rows(workspace: Workspace, warehouse: FeedbackWarehouse) -> None:
    send(
        workspace,
        make_event(3, 2),
        make_event(4, "0"),
        make_event(5, 1.0, request_id=None, client_request_id="order-5"),
    )
    found = collect_labels(workspace)
    assert found
    assert "3 labels" in found.describe()
    assert read(workspace) == {3: "2", 4: "0", 5: "1"}
    assert warehouse.sum_counts("iris") == {"labels": 3}
    [log] = read_log(workspace, "iris", NOON, NOON + DAY, columns=["request_id", "row", "prediction"]).values()
    assert join_labels(log, read_labels(workspace, "iris", NOON, NOON + DAY))["label"].to_pylist() == [
        *(None, None, None, "2", "0", "1", None, None, None, None)
    ]


def test_only_labels_of_the_asked_time_of_prediction_are_read(workspace: Workspace) -> None:
    send(workspace, *(make_event(number) for number in range(10)))
    collect_labels(workspace)
    table = read_labels(workspace, "iris", NOON + timedelta(seconds=2), NOON + timedelta(seconds=4))
    assert [one.hex() for one in sorted(table["request_id"].to_pylist())] == [name_request(2), name_request(3)]


@pytest.mark.parametrize(
    ("event", "reason"),
    [
        (make_event(3, request_id=make_id(NOON, 77)), "unknown"),
        (make_event(3, row=1), "unknown"),
        (make_event(3, request_id=None, client_request_id="order-77"), "unknown"),
        (make_event(3, model="ships"), "unknown"),
        (make_event(3, 7), "mistyped"),
        (make_event(3, "setosa"), "mistyped"),
        (make_event(3, received_at=RECEIVED_MS + round(31 * DAY / timedelta(milliseconds=1))), "too_late"),
        (make_event(3, request_id=make_id(NOON - 40 * DAY, 1)), "too_late"),
        (make_event(3, observed_at=RECEIVED_MS - 4 * 3_600_000), "implausible"),
        (make_event(3, request_id=REFUSED), "refused"),
    ],
    ids=[
        *("another id", "another row", "another client's id", "another model", "another class", "a text"),
        *("a month later", "a log of long ago", "before the prediction", "a refused request"),
    ],
)
def test_a_label_without_use_is_counted_and_set_aside(
    workspace: Workspace, warehouse: FeedbackWarehouse, tmp_path: Path, event: Event, reason: str
) -> None:
    send(workspace, event, make_event(9))
    collect_labels(workspace)
    assert read(workspace) == {9: "1"}
    total = Counter({name: n for (_, _), counts in warehouse.counts.items() for name, n in counts.items() if n})
    assert total == {"labels": 1, reason: 1}
    [path] = (tmp_path / "predictions/labels/unused").iterdir()
    [kept] = map(orjson.loads, path.read_bytes().splitlines())
    assert (kept["reason"], kept["event"]) == (reason, event.event)


def test_a_repeated_label_is_counted_and_a_correction_replaces_it(
    workspace: Workspace, warehouse: FeedbackWarehouse
) -> None:
    send(workspace, make_event(3, 2), make_event(3, 2, received_at=RECEIVED_MS + 1))
    collect_labels(workspace)
    assert warehouse.sum_counts("iris") == {"labels": 2, "duplicate": 1}
    send(workspace, make_event(3, 0, received_at=RECEIVED_MS + 3), make_event(3, 2, received_at=RECEIVED_MS + 2))
    collect_labels(workspace)
    assert warehouse.sum_counts("iris") == {"labels": 4, "duplicate": 2, "corrected": 1}
    assert read(workspace) == {3: "0"}


def test_an_event_that_arrives_twice_counts_once(workspace: Workspace, warehouse: FeedbackWarehouse) -> None:
    event = make_event(3)
    for _ in range(2):
        send(workspace, event, event)
        collect_labels(workspace)
    assert warehouse.sum_counts("iris") == {"labels": 1}


def test_a_label_waits_until_the_log_is_complete(workspace: Workspace, warehouse: FeedbackWarehouse) -> None:
    warehouse.collections["one"] = (NOON,)
    later = make_rows([[5.1, 3.5, 1.4, 0.2]], [1], start=NOON + timedelta(minutes=1), first=50)
    early = make_event(3, request_id=later[0].request_id), make_event(3, request_id=None, client_request_id="order-50")
    send(workspace, *early)
    found = collect_labels(workspace)
    assert found
    assert (found.waiting, read(workspace), warehouse.sum_counts("iris")) == (2, {}, {})
    write_log(workspace, IRIS, later, "20261121T000000.000000Z-2")
    warehouse.collections["two"] = (NOON + DAY,)
    collect_labels(workspace)
    assert read(workspace) == {50: "1"}
    assert warehouse.sum_counts("iris") == {"labels": 2, "duplicate": 1}


def test_a_dropped_token_takes_its_labels_back_and_may_bring_new_ones(
    workspace: Workspace, warehouse: FeedbackWarehouse
) -> None:
    received_at = datetime.fromtimestamp(RECEIVED_MS / 1000, UTC)
    send(
        workspace,
        make_event(3, 0, token="lab"),
        make_event(3, 2, token="shop", received_at=RECEIVED_MS + 1),
        make_event(4, 2, token="shop", received_at=RECEIVED_MS + 1),
        make_event(5, 2, token="shop", received_at=RECEIVED_MS + 60_000),
    )
    collect_labels(workspace)
    assert read(workspace) == {3: "2", 4: "2", 5: "2"}
    warehouse.tokens.append(("iris", "shop", "drop", received_at + timedelta(seconds=10)))
    assert read(workspace) == {3: "0", 5: "2"}
    warehouse.tokens.append(("iris", "shop", "restore", received_at + timedelta(seconds=20)))
    assert read(workspace) == {3: "2", 4: "2", 5: "2"}


def test_a_collection_that_is_interrupted_anywhere_is_finished_by_the_next(
    workspace: Workspace, warehouse: FeedbackWarehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    unknown = make_event(1, request_id=make_id(NOON, 77))
    future = make_event(2, request_id=make_id(NOON + 2 * DAY, 78))
    events = [make_event(3, 2), make_event(4, 0), make_event(3, 0, received_at=RECEIVED_MS + 1), unknown, future]
    send(workspace, *events)

    def fail(*_: Any) -> None:
        raise StorageError("the store is away")

    for step in ("_judge", "write_events", "_set_aside", "_put_back", "record_counts", "retire"):
        for _ in range(2):
            with monkeypatch.context() as patch:
                patch.setattr(feedback_collection, step, fail)
                with pytest.raises(StorageError, match="the store is away"):
                    collect_labels(workspace)
    collect_labels(workspace)
    assert read(workspace) == {3: "0", 4: "0"}
    assert warehouse.sum_counts("iris") == {"labels": 3, "corrected": 1}
    assert warehouse.sum_counts("") == {"unknown": 1}
    assert workspace.settings.prediction_log_dir
    [waiting] = (workspace.settings.prediction_log_dir / "feedback").iterdir()
    assert waiting.read_bytes() == render_event(future)


def test_a_torn_line_and_one_of_another_form_are_counted(workspace: Workspace) -> None:
    send(workspace, make_event(3))
    folder = workspace.settings.prediction_log_dir
    assert folder
    (folder / "feedback/other-1-0.jsonl").write_bytes(b"{}\n" + render_event(make_event(4)) + b'{"format":1')
    found = collect_labels(workspace)
    assert found
    assert (found.broken, read(workspace)) == (2, {3: "1", 4: "1"})


def write_csv(workspace: Workspace, name: str, lines: Sequence[str]) -> Callable[[str], list[str]]:
    folder = Path(workspace.settings.predictions_uri) / "feedback/iris"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("\n".join(lines), encoding="utf-8-sig")
    return lambda sub: sorted(path.name for path in (folder / sub).glob("*") if path.is_file())


def test_a_csv_file_brings_labels_and_is_filed(workspace: Workspace, warehouse: FeedbackWarehouse) -> None:
    lines = [
        "request_id,row,label,observed_at",
        f"{name_request(3)},0,2,",
        f"{name_request(4)},,0,2026-11-20T12:30:00Z",
    ]
    names = write_csv(workspace, "may.csv", [*lines, f"{name_request(3)},0,1,"])
    collect_labels(workspace)
    assert read(workspace) == {3: "1", 4: "0"}
    assert warehouse.sum_counts("iris") == {"labels": 3, "corrected": 1}
    assert (names(""), names("processed"), names("rejected")) == ([], ["may.csv"], [])


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        (["id,label", "1,2"], "found the columns id, label"),
        (["request_id,label", f"{name_request(3)},2", "order 17,2"], "line 3: request_id"),
        (["request_id,label", f"{name_request(3)},2,3"], "cells without a column"),
        (["request_id,label", f"{name_request(3)},"], "line 2: label"),
    ],
    ids=["its header", "an id", "a cell too many", "no label"],
)
def test_a_csv_file_that_is_not_valid_is_rejected_with_its_reasons(
    workspace: Workspace, lines: list[str], reason: str
) -> None:
    names = write_csv(workspace, "may.csv", lines)
    collect_labels(workspace)
    assert (read(workspace), names(""), names("rejected")) == ({}, [], ["may.csv", "may.csv.reasons.txt"])
    reasons = Path(workspace.settings.predictions_uri) / "feedback/iris/rejected/may.csv.reasons.txt"
    assert reason in reasons.read_text()

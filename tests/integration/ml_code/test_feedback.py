"""Labels collected with the tables of a real Postgres, and with real segments on the disk."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import psycopg2.errors
import pytest

from ml_code.data.dropped import read_dropped
from ml_code.monitoring.feedback.collection import collect_labels
from ml_code.monitoring.feedback.counts import Counts, read_counts
from ml_code.monitoring.feedback.events import Event, render_event
from ml_code.monitoring.feedback.labels import read_labels
from ml_code.monitoring.feedback.tokens import record_token
from ml_code.monitoring.prediction_log.blocks import make_request_id
from ml_code.monitoring.prediction_log.collection import collect
from ml_code.segments import SegmentWriter
from ml_code.warehouse import Warehouse
from ml_code.workspace import Workspace
from tests.log_rows import IRIS, NOON, make_log_workspace, make_rows, render_lines
from tests.servers import PostgresServer

DAY = timedelta(days=1)


@pytest.fixture
def workspace(postgres: PostgresServer, tmp_path: Path, request: pytest.FixtureRequest) -> Workspace:
    warehouse = Warehouse(postgres.create_database(f"labels_{len(request.node.name)}"))
    warehouse.migrate()
    return make_log_workspace(tmp_path, warehouse)


def test_labels_go_from_a_segment_to_their_rows_and_a_token_takes_its_own_back(workspace: Workspace) -> None:
    home = workspace.settings.prediction_log_dir
    assert home
    rows = make_rows([[5.1, 3.5, 1.4, 0.2]] * 3, [1, 1, 1])
    log = SegmentWriter(home / "segments", "one")
    log.write(render_lines(IRIS, rows))
    log.close()
    collect(workspace)
    received_ms = rows[0].time_ms + 3_600_000
    events = [Event(row.request_id, None, 0, 2, None, received_ms, "shop", make_request_id()) for row in rows]
    of_client = events[0]._replace(request_id=None, client_request_id="order-0", label=0, event=make_request_id())
    desk = SegmentWriter(home / "feedback", "one")
    unknown = events[0]._replace(request_id=f"{rows[0].time_ms:012x}7abc8{'0' * 15}", event=make_request_id())
    desk.write(b"".join(map(render_event, [*events, unknown, of_client._replace(received_at=received_ms + 1)])))
    desk.close()
    found = collect_labels(workspace)
    assert found
    assert (found.waiting, found.broken) == (0, 0)
    assert read_counts(workspace, "iris") == Counts(labels=4, corrected=1)
    assert read_counts(workspace, "") == Counts(unknown=1)
    assert sorted(read_labels(workspace, "iris", NOON, NOON + DAY)["label"].to_pylist()) == ["0", "2", "2"]
    record_token(workspace, "iris", "shop", "drop", "ada")
    assert list(read_dropped(workspace, "iris")) == ["shop"]
    assert read_labels(workspace, "iris", NOON, NOON + DAY).num_rows == 0
    record_token(workspace, "iris", "shop", "restore", "ada")
    assert read_labels(workspace, "iris", NOON, NOON + DAY).num_rows == 3


@pytest.mark.parametrize(
    "statement", ["UPDATE warehouse.label_token SET who = 'eve'", "DELETE FROM warehouse.label_token"]
)
def test_which_tokens_were_dropped_is_history(workspace: Workspace, statement: str) -> None:
    record_token(workspace, "iris", "shop", "drop", "ada")
    with (
        pytest.raises(psycopg2.errors.InsufficientPrivilege, match="expected new rows only"),
        workspace.warehouse.transaction() as connection,
        connection.cursor() as cursor,
    ):
        cursor.execute(statement)
    assert list(read_dropped(workspace, "iris")) == ["shop"]

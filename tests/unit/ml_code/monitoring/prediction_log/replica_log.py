"""A log that a replica wrote, and its rows as they are read back."""

from __future__ import annotations

from datetime import timedelta

from ml_code.monitoring.prediction_log import collection
from ml_code.monitoring.prediction_log.reading import read_log
from ml_code.segments import SegmentWriter
from ml_code.workspace import Workspace
from tests.log_rows import IRIS, NOON, make_rows, render_lines

DAY = (NOON - timedelta(hours=12), NOON + timedelta(hours=12))


def answer(
    volume: collection.Volume, count: int, *, owner: str = "stable-a", first: int = 0, tail: bytes = b""
) -> None:
    """One replica answers this many rows, half an hour apart from noon on, and closes its segment."""
    rows = make_rows([[5.1, 3.5, 1.4, 0.2]] * count, [0] * count, pause=timedelta(minutes=30), first=first)
    writer = SegmentWriter(volume.segments, owner)
    writer.write(render_lines(IRIS, rows, dropped=2) + tail)
    writer.close()


def read_numbers(workspace: Workspace) -> list[int]:
    """The numbers of all logged requests, in order; one that is there twice comes twice."""
    tables = read_log(workspace, "iris", *DAY, columns=["client_request_id"]).values()
    return sorted(
        int(text.removeprefix("order-")) for table in tables for text in table["client_request_id"].to_pylist()
    )

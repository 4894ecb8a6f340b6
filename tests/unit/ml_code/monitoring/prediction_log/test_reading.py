"""What the collected log gives back: columns, kinds, windows."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from ml_code.monitoring.prediction_log import collection
from ml_code.monitoring.prediction_log.blocks import Head
from ml_code.monitoring.prediction_log.collection import collect
from ml_code.monitoring.prediction_log.reading import read_log
from ml_code.segments import SegmentWriter
from ml_code.workspace import Workspace
from tests.log_rows import IRIS, NOON, LogWarehouse, make_rows, render_lines
from tests.unit.ml_code.monitoring.prediction_log.replica_log import DAY, answer


def test_features_named_as_columns_and_partitions_and_a_kind_that_changes_are_read_back(
    workspace: Workspace, volume: collection.Volume
) -> None:
    names = ["hour", "date", "features", "version", "_x"]
    heads = [
        Head("iris", "4", "champion", "live", "regression", names, ["numeric", *[kind] * 4])
        for kind in ("numeric", "categorical")
    ]
    for number, (head, cells) in enumerate(zip(heads, ([1.0] * 5, [1.0, "a", "b", None, "d"]), strict=True)):
        writer = SegmentWriter(volume.segments, f"stable-{number}")
        writer.write(render_lines(head, make_rows([cells], [2.5], first=number)))
        writer.close()
    collect(workspace)
    found = read_log(workspace, "iris", *DAY)
    assert set(found) == {head.schema for head in heads}
    [row] = found[heads[1].schema].to_pylist()
    assert row["features"] == {"hour": 1.0, "date": "a", "features": "b", "version": None, "_x": "d"}
    assert (row["version"], row["prediction"], row["variant"]) == ("4", 2.5, "champion")


def test_refused_requests_and_models_without_a_logged_feature_are_read_back(
    workspace: Workspace, volume: collection.Volume, warehouse: LogWarehouse
) -> None:
    [row] = make_rows([[1.0]], [0])
    bare = Head("iris", "3", "champion", "live", "classification", [], [])
    refused = Head("iris", "3", "refused", "live", "classification", ["x"], ["numeric"])
    writer = SegmentWriter(volume.segments, "stable-a")
    writer.write(render_lines(bare, [row._replace(features=[])]))
    writer.write(render_lines(refused, [row._replace(features=None, prediction=None)]))
    writer.close()
    found = collect(workspace)
    assert found is not None
    assert found.rows == 1
    assert sum(counts[1] for counts in warehouse.batches.values()) == 1
    [table] = read_log(workspace, "iris", *DAY).values()
    assert table["features"].to_pylist() == [{}]
    [table] = read_log(workspace, "iris", *DAY, variants=["refused"]).values()
    assert table["features"].to_pylist() == [None]


def test_a_window_holds_its_first_moment_and_not_its_last(workspace: Workspace, volume: collection.Volume) -> None:
    answer(volume, 4)
    collect(workspace)
    [table] = read_log(
        workspace, "iris", NOON + timedelta(minutes=30), NOON + timedelta(minutes=90), columns=["row"]
    ).values()
    assert table.column_names == ["row"]
    assert table.num_rows == 2


def test_a_number_that_float64_does_not_hold_takes_no_other_row_along(
    workspace: Workspace, volume: collection.Volume
) -> None:
    writer = SegmentWriter(volume.segments, "stable-a")
    writer.write(render_lines(IRIS, make_rows([[2**53 + 1, 3.5, 1.4, 0.2], [5.1, 3.5, 1.4, 0.2]], [0, 1])))
    writer.close()
    found = collect(workspace)
    assert found is not None
    assert (found.rows, found.unreadable) == (2, 0)
    [table] = read_log(workspace, "iris", *DAY).values()
    assert table["features"].to_pylist()[0]["sepal_length"] == float(2**53)


def test_a_shadows_rows_are_in_the_log_and_are_no_answers(
    workspace: Workspace, volume: collection.Volume, warehouse: LogWarehouse
) -> None:
    rows = make_rows([[5.1, 3.5, 1.4, 0.2]] * 3, [0] * 3)
    writer = SegmentWriter(volume.segments, "canary-a")
    writer.write(render_lines(IRIS, rows) + render_lines(replace(IRIS, version="4", variant="shadow"), rows[:2]))
    writer.close()
    found = collect(workspace)
    assert found is not None
    assert found.rows == 3
    assert [counts[:2] for counts in warehouse.batches.values()] == [(3, 0)]
    [table] = read_log(workspace, "iris", *DAY).values()
    assert table["variant"].to_pylist() == ["champion"] * 3
    [table] = read_log(workspace, "iris", *DAY, variants=["shadow"]).values()
    assert table["version"].to_pylist() == ["4"] * 2

"""Figures out of Prometheus's text as the replicas write it."""

from __future__ import annotations

from math import inf

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from ml_code.model_file.onnx_model import OnnxModel
from serving.answering.rows import RowParser
from serving.answering.served import ServedModel, Version
from serving.answering.tally import Tally
from serving.api.metrics import PredictionMetrics
from serving.comparison.counters import Counters, Totals, read_counters
from serving.figures import LIVE, REPLAY
from tests.unit.serving.onnx_files import make_classifier


def serve(version: str, variant: str = "champion") -> ServedModel:
    model = OnnxModel(make_classifier())
    return ServedModel(Version("iris", version, "0" * 64), variant, "now", model, RowParser(model.spec))


def test_a_failed_request_is_a_request() -> None:
    assert Counters({inf: 8.0}, failures=2.0).requests == 10.0


def test_what_a_replica_counts_is_read_back() -> None:
    registry = CollectorRegistry()
    metrics = PredictionMetrics(registry)
    for seconds in (0.0004, 0.0007, 0.04):
        metrics.observe(serve("3"), LIVE, seconds, Tally(1, 0, {"0": 1}))
    metrics.observe(serve("4", "challenger"), REPLAY, 0.002, Tally(2, 1, {"1": 2}))
    metrics.count_failure(serve("4", "challenger"), REPLAY)
    found = read_counters(generate_latest(registry).decode(), "iris")
    assert set(found) == {("3", "live"), ("4", "replay")}
    live, replay = found["3", "live"], found["4", "replay"]
    assert (live.answered, live.failures, live.rows, live.classes) == (3, 0, 3, {"0": 3})
    assert (replay.answered, replay.failures, replay.rows, replay.nan_rows) == (1, 1, 2, 1)
    assert live.quantile_ms(0.99) == pytest.approx(39.7)
    assert read_counters(generate_latest(registry).decode(), "housing") == {}


def test_the_values_of_a_regression_are_read() -> None:
    registry = CollectorRegistry()
    PredictionMetrics(registry).observe(serve("3"), LIVE, 0.001, Tally(2, 0, {}, -30.0, 500.0))
    assert read_counters(generate_latest(registry).decode(), "iris")["3", "live"].values == (-30.0, 500.0)


def count(answered: float) -> Counters:
    return Counters({inf: answered}, rows=answered)


def test_only_what_came_since_the_first_reading_counts() -> None:
    totals = Totals({"a": {("3", "live"): count(100)}, "b": {}})
    totals.add({"a": {("3", "live"): count(130)}, "b": {("3", "live"): count(5)}})
    totals.add({"a": {("3", "live"): count(131)}, "b": {("3", "live"): count(6)}})
    assert totals.read("3", "live").answered == 37
    assert totals.read("4", "live").answered == 0


def test_a_restarted_replica_counts_from_zero_and_one_that_left_keeps_its_counts() -> None:
    totals = Totals({"a": {("3", "live"): count(100)}})
    totals.add({"a": {("3", "live"): count(110)}})
    totals.add({"a": {("3", "live"): count(4)}})
    totals.add({})
    assert totals.read("3", "live").answered == 14


def test_a_replica_that_joins_counts_from_then_on() -> None:
    totals = Totals({})
    totals.add({"a": {("3", "live"): count(100)}})
    totals.add({"a": {("3", "live"): count(103)}})
    assert totals.read("3", "live").answered == 3

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from ml_code.model_file.onnx_model import OnnxModel
from serving.answering.findings import ReadRows
from serving.answering.rows import RowParser
from serving.answering.served import ServedModel, Version
from serving.answering.tally import Tally
from serving.api.metrics import KEPT_SERIES, PredictionMetrics
from serving.figures import LIVE, REPLAY
from tests.unit.serving.onnx_files import make_classifier

ONE_ROW = Tally(1, 0, {"0": 1})


@pytest.fixture
def served() -> ServedModel:
    model = OnnxModel(make_classifier())
    return ServedModel(Version("iris", "7", ""), "champion", "", model, RowParser(model.spec))


def read(registry: CollectorRegistry, name: str, **labels: str) -> float | None:
    defaults = {"model": "iris", "version": "7", "variant": "champion", "traffic": "live"}
    return registry.get_sample_value(name, defaults | labels)


def test_a_latency_counts_in_its_bucket_and_all_above(served: ServedModel) -> None:
    metrics = PredictionMetrics(registry := CollectorRegistry())
    for seconds in (0.0002, 0.06, 0.0601, 99.0):
        metrics.observe(served, LIVE, seconds, ONE_ROW)
    by_bound = {
        bound: read(registry, "mlops_prediction_seconds_bucket", le=bound) for bound in ("0.05", "0.06", "0.075")
    }
    assert by_bound == {"0.05": 1, "0.06": 2, "0.075": 3}
    assert read(registry, "mlops_prediction_seconds_bucket", le="10.0") == 3
    assert read(registry, "mlops_prediction_seconds_bucket", le="+Inf") == 4
    assert read(registry, "mlops_prediction_seconds_sum") == pytest.approx(99.1203)


def test_variants_and_traffic_are_told_apart(served: ServedModel) -> None:
    metrics = PredictionMetrics(registry := CollectorRegistry())
    metrics.observe(served, LIVE, 0.001, Tally(5, 2, {"0": 5}))
    metrics.count_failure(replace(served, variant="challenger"), REPLAY)
    assert read(registry, "mlops_prediction_nan_rows_total") == 2
    assert read(registry, "mlops_prediction_failures_total") == 0
    assert read(registry, "mlops_prediction_failures_total", variant="challenger", traffic="replay") == 1


def test_mean_and_spread_of_values_can_be_had_from_two_readings(served: ServedModel) -> None:
    metrics = PredictionMetrics(registry := CollectorRegistry())
    for tally in (Tally(2, 0, {}, 6.0, 20.0), Tally(1, 0, {}, 6.0, 36.0)):
        metrics.observe(served, LIVE, 0.001, tally)
    sums = [read(registry, f"mlops_prediction_value_{name}") for name in ("sum", "squares")]
    assert sums == [12.0, 56.0]


def test_prometheus_reads_the_text(served: ServedModel) -> None:
    metrics = PredictionMetrics(registry := CollectorRegistry())
    metrics.observe(served, LIVE, 0.001, Tally(1, 0, {'a "b"\n': 1}))
    families = {family.name: family for family in text_string_to_metric_families(generate_latest(registry).decode())}
    assert families["mlops_prediction_seconds"].type == "histogram"
    assert families["mlops_prediction_classes"].samples[0].labels["class"] == 'a "b"\n'


def test_the_series_that_is_unused_for_longest_makes_room(served: ServedModel) -> None:
    metrics = PredictionMetrics(registry := CollectorRegistry())
    for version in range(KEPT_SERIES + 5):
        metrics.observe(replace(served, identity=Version("iris", str(version), "")), LIVE, 0.001, ONE_ROW)
        metrics.observe(served, LIVE, 0.001, ONE_ROW)
    metrics.observe(replace(served, identity=Version("ships", "1", "")), LIVE, 0.001, ONE_ROW)
    assert read(registry, "mlops_prediction_rows_total") == KEPT_SERIES + 6
    assert read(registry, "mlops_prediction_rows_total", version="0") is None
    rows = [sample for family in registry.collect() for sample in family.samples if sample.name.endswith("_rows_total")]
    assert len([sample for sample in rows if sample.labels["model"] == "iris"]) == 2 * KEPT_SERIES


def test_a_slow_challenger_holds_nobody_up(served: ServedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    challenger = replace(served, variant="challenger")
    monkeypatch.setattr(type(served.parser), "parse", lambda *_: time.sleep(0.5) or ReadRows([[1.0, 2.0, 3.0, 4.0]]))

    async def ask() -> tuple[int, str]:
        answer = asyncio.create_task(challenger.answer(b"[]", b"id", with_probabilities=False))
        turns = 0
        while not answer.done():
            await asyncio.sleep(0.001)
            turns += 1
        return turns, (await answer).body.decode()

    turns, body = asyncio.run(ask())
    assert turns > 10
    assert '"version":"7"' in body

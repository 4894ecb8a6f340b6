"""A prediction log whose lines stay in memory, with a disk that a test may break."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from prometheus_client import CollectorRegistry

from ml_code.model_file.onnx_model import OnnxModel, Prediction
from ml_code.model_file.spec import Value
from ml_code.monitoring.prediction_log.blocks import Block, make_request_id, read_block
from serving.answering.entries import Logged
from serving.answering.logged import Hidden, RowMaker
from serving.answering.rows import RowParser
from serving.answering.served import ServedModel, Version
from serving.api.prediction_log import PredictionLog
from tests.unit.serving.onnx_files import make_classifier


@dataclass
class FakeLines:
    """Takes lines as a segment's writer does; `error` is what a broken disk raises."""

    error: Exception | None = None
    content: list[bytes] = field(default_factory=list)
    is_free: threading.Event = field(default_factory=threading.Event)
    rotations: int = 0
    is_closed: bool = False

    def __post_init__(self) -> None:
        self.is_free.set()

    def write(self, lines: bytes) -> None:
        self.is_free.wait(60)
        if self.error is not None:
            raise self.error
        self.content.append(lines)

    def rotate(self) -> None:
        self.rotations += 1

    def close(self) -> None:
        self.is_closed = True

    def list_blocks(self) -> list[Block]:
        return [read_block(line) for line in self.content]


def make_log(
    lines: FakeLines,
    *,
    sampling: float = 1.0,
    unit_key: bytes | None = None,
    read_hidden: Hidden = lambda _: frozenset(),
) -> PredictionLog:
    """A log that writes when its test says so (`flush`), or when it is started."""
    row_maker = RowMaker(sampling=sampling, unit_key=unit_key, read_hidden=read_hidden)
    return PredictionLog(lines, row_maker, sampling=sampling, flush_seconds=0.01)


def make_served(variant: str = "champion", content: bytes | None = None) -> ServedModel:
    """A version of iris that answers."""
    model = OnnxModel(content or make_classifier())
    return ServedModel(Version("iris", "7", "0" * 64), variant, "", model, RowParser(model.spec))


def make_logged(
    served: ServedModel,
    rows: Sequence[Sequence[Value]] = ((5.1, 3.5, 1.4, 0.2),),
    *,
    size_bytes: int = 30,
    client_id: bytes | None = None,
    user: bytes | None = None,
    traceparent: bytes | None = None,
) -> Logged:
    """A request that was answered; without rows, one that was refused."""
    shares = np.array([[0.8, 0.1, 0.1]] * len(rows), dtype=np.float32)
    prediction = Prediction([0] * len(rows), shares, [0, 1, 2]) if rows else None
    numbers = (client_id, user, 0.0004, size_bytes)
    return Logged(served, "live", make_request_id(), *numbers, rows, prediction, traceparent)


def read_figures(log: PredictionLog) -> dict[str, int]:
    """Answered rows by what became of them."""
    registry = CollectorRegistry()
    registry.register(log)
    samples = [sample for metric in registry.collect() for sample in metric.samples]
    figures = {"logged": 0, "refusals": 0, "sampled_out": 0}
    names = {
        "mlops_prediction_log_rows_total": "logged",
        "mlops_prediction_log_refusals_total": "refusals",
        "mlops_prediction_log_sampled_out_rows_total": "sampled_out",
    }
    for sample in samples:
        if name := names.get(sample.name) or sample.labels.get("reason"):
            figures[name] = int(sample.value)
    return figures
